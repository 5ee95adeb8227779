"""Fields: the same each time, and the truth that is saved is what was drawn."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import label as connected_components
from sklearn.metrics import roc_auc_score

from napari_bio_superposition.core.types import ROLES
from napari_bio_superposition.imaging.simulate import (
    FieldSpec,
    SimulatedField,
    SimulationConfig,
    sample_image,
    simulate_field,
)

CONFIG = SimulationConfig(side_px=512)
SPEC = FieldSpec(
    plate="plate1", well="B03", site="2", genotype="SNCA", line="SIM-SNCA-1", well_offset=0.5
)


@pytest.fixture(scope="module")
def field() -> SimulatedField:
    return simulate_field(SPEC, CONFIG, np.random.default_rng(7))


def test_the_image_carries_its_meaning(field: SimulatedField) -> None:
    image = field.image
    assert image.pixels.shape == (4, 512, 512)
    assert image.pixels.dtype == np.uint16
    assert image.channel_names == ("TMRM", "LysoTracker", "Hoechst", "Sytox")
    assert set(image.roles) == set(ROLES)
    assert image.id == "plate1_B03_site2"
    place = image.acquisition
    assert (place.plate, place.well, place.field, place.genotype) == ("plate1", "B03", "2", "SNCA")
    assert image.pixel_size_um == 0.6


def test_the_same_generator_gives_the_same_field(field: SimulatedField) -> None:
    again = simulate_field(SPEC, CONFIG, np.random.default_rng(7))
    np.testing.assert_array_equal(again.image.pixels, field.image.pixels)
    np.testing.assert_array_equal(again.labels, field.labels)
    pd.testing.assert_frame_equal(again.cells, field.cells)
    other = simulate_field(SPEC, CONFIG, np.random.default_rng(8))
    assert (other.image.pixels != field.image.pixels).mean() > 0.5


def test_labels_and_cells_name_each_other(field: SimulatedField) -> None:
    labels, cells = field.labels, field.cells
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.unique(labels), np.arange(len(cells) + 1))
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], cells["area_px"])
    inside = cells[cells["y"].between(10, 501) & cells["x"].between(10, 501)]
    at_centre = labels[inside["y"].round().astype(int), inside["x"].round().astype(int)]
    assert (at_centre == inside["id"]).mean() > 0.99


def test_nuclei_have_the_promised_size_and_are_in_one_piece(field: SimulatedField) -> None:
    alive = field.cells[~field.cells["dead"] & field.cells["y"].between(20, 491)]
    alive = alive[alive["x"].between(20, 491)]
    diameter = 2 * np.sqrt(alive["area_px"] / np.pi)
    assert 18 < diameter.quantile(0.1) < diameter.median() < diameter.quantile(0.9) < 27
    pieces = [connected_components(field.labels == i)[1] for i in field.cells["id"]]
    assert np.mean(np.array(pieces) == 1) > 0.98


def test_some_nuclei_touch_and_the_density_is_uneven(field: SimulatedField) -> None:
    right, left = field.labels[:, 1:], field.labels[:, :-1]
    touching = (right != left) & (right > 0) & (left > 0)
    assert 0.02 < len(np.unique(right[touching])) / len(field.cells) < 0.6
    counts = np.histogram2d(field.cells["y"], field.cells["x"], bins=4, range=[[0, 512]] * 2)[0]
    assert counts.max() > 1.6 * counts.min()
    assert 7 < counts.mean() < 13


def test_the_death_dye_marks_dead_nuclei(field: SimulatedField) -> None:
    sytox = field.image.channel("death")
    means = [float(sytox[field.labels == i].mean()) for i in field.cells["id"]]
    assert roc_auc_score(field.cells["dead"], means) > 0.97
    expected = np.isin(field.labels, field.cells.loc[field.cells["dead"], "id"])
    np.testing.assert_array_equal(field.dead, expected)


def test_dead_nuclei_are_small_and_bright(field: SimulatedField) -> None:
    hoechst = field.image.channel("nuclei").astype(float)
    cells = field.cells.assign(mean=[hoechst[field.labels == i].mean() for i in field.cells["id"]])
    dead, alive = cells[cells["dead"]], cells[~cells["dead"]]
    assert dead["area_px"].median() < 0.65 * alive["area_px"].median()
    assert dead["mean"].median() > 1.4 * alive["mean"].median()


def test_channels_show_what_the_masks_say(field: SimulatedField) -> None:
    masks = {
        "nuclei": field.labels > 0,
        "mitochondria": field.mitochondria,
        "lysosomes": field.lysosomes,
    }
    for role, mask in masks.items():
        own = field.image.channel(role)[::3, ::3].ravel()
        own_auroc = roc_auc_score(mask[::3, ::3].ravel(), own)
        assert own_auroc > (0.98 if role == "nuclei" else 0.85), role
        for other in masks.keys() - {role}:
            foreign = field.image.channel(other)[::3, ::3].ravel()
            assert roc_auc_score(mask[::3, ::3].ravel(), foreign) < own_auroc - 0.1


def test_patch_truth_agrees_with_counting_by_hand(field: SimulatedField) -> None:
    origins = np.array([[0, 0], [128, 256]])
    truth = field.patch_truth(origins, 128)
    cells = field.cells
    inside = cells[
        cells["y"].ge(128) & cells["y"].lt(256) & cells["x"].ge(256) & cells["x"].lt(384)
    ]
    row = truth.iloc[1]
    assert row["n_nuclei"] == len(inside)
    assert row["progression"] == pytest.approx(inside["progression"].mean())
    assert row["fragmentation"] == pytest.approx(inside["fragmentation"].mean())
    cut = np.s_[128:256, 256:384]
    assert row["nuclear_area_px"] == (field.labels[cut] > 0).sum()
    assert row["dead_area_rate"] == field.dead[cut].sum() / (field.labels[cut] > 0).sum()


def test_a_patch_without_nuclei_has_no_rate(field: SimulatedField) -> None:
    occupied = field.labels.reshape(64, 8, 64, 8).any(axis=(1, 3))
    origin = 8 * np.argwhere(~occupied)[:1]
    empty = field.patch_truth(origin, 8).iloc[0]
    assert empty["n_nuclei"] == 0
    assert np.isnan(empty["progression"])
    assert np.isnan(empty["dead_area_rate"])


def test_patches_of_one_field_differ_in_progression() -> None:
    field = simulate_field(SPEC, SimulationConfig(), np.random.default_rng(1))
    grid = np.array([[y, x] for y in range(0, 1024, 128) for x in range(0, 1024, 128)])
    progression = field.patch_truth(grid, 128)["progression"]
    assert progression.std() > 0.1  # without neighbourhoods it would be 0.2 / sqrt(10)


def test_noise_can_be_switched_off() -> None:
    quiet = SimulationConfig(side_px=128, noise=0.0)
    clean = simulate_field(SPEC, quiet, np.random.default_rng(2)).image.pixels[0].astype(float)
    noisy = simulate_field(SPEC, SimulationConfig(side_px=128), np.random.default_rng(2))
    difference = noisy.image.pixels[0] - clean
    assert abs(difference.mean()) < 0.02 * clean.mean()
    assert difference.std() == pytest.approx(np.sqrt(12 * (clean - 300).mean() + 25**2), rel=0.1)


def test_the_smallest_field_at_the_lowest_density_is_valid() -> None:
    config = SimulationConfig(side_px=128, nuclei_per_patch=0.5)
    field = simulate_field(SPEC, config, np.random.default_rng(4))
    assert len(field.cells) == field.labels.max()
    assert len(field.states) == len(field.cells)


def test_the_sample_is_always_the_same() -> None:
    image, field = sample_image()
    assert image.pixels.shape == (4, 1024, 1024)
    assert field.image is image
    assert 500 < len(field.cells) < 800
    again, _ = sample_image()
    np.testing.assert_array_equal(again.pixels, image.pixels)
