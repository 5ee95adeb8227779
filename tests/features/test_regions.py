"""Regions on patches and tokens by hand, random regions keep their form, errors say what to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import RegionError
from napari_bio_superposition.features.regions import (
    NOWHERE,
    TokenGrid,
    nuclei_region,
    patches_in_region,
    patches_region,
    split_regions,
    tokens_in_region,
)

ORIGINS = np.array([[0, 0], [0, 8], [8, 0], [8, 8]])


def make_mask(rows: slice, columns: slice, shape: tuple[int, int] = (16, 16)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def test_the_share_of_each_patch_that_a_region_covers() -> None:
    mask = make_mask(slice(0, 4), slice(4, 16))
    assert patches_in_region(ORIGINS, 8, mask).tolist() == [0.25, 0.5, 0, 0]


def test_a_token_belongs_to_a_region_that_covers_half_of_it() -> None:
    mask = make_mask(slice(8, 10), slice(3, 6))  # half of token column 1, all of column 2
    covered = tokens_in_region(ORIGINS, 8, (4, 4), mask)
    assert np.argwhere(covered).tolist() == [[2, 1], [2, 2]]
    thin = make_mask(slice(8, 9), slice(3, 4))  # a quarter of a token
    assert not tokens_in_region(ORIGINS, 8, (4, 4), thin).any()


@given(st.integers(0, 2**32 - 1))
def test_tokens_and_patches_count_the_same_pixels(seed: int) -> None:
    mask = np.random.default_rng(seed).random((16, 16)) < 0.3
    mask[0, 0] = True
    shares = patches_in_region(ORIGINS, 8, mask)
    for (y, x), share in zip(ORIGINS, shares, strict=True):
        assert share == pytest.approx(mask[y : y + 8, x : x + 8].mean())


def test_nuclei_and_patches_become_regions() -> None:
    labels = np.zeros((4, 4), np.int32)
    labels[0, :2], labels[3, 3] = 1, 7
    assert np.argwhere(nuclei_region(labels, [7])).tolist() == [[3, 3]]
    assert nuclei_region(labels, [1, 7]).sum() == 3
    with pytest.raises(RegionError, match="no nucleus 5 in this image; the nuclei are 1 to 7"):
        nuclei_region(labels, [1, 5])
    with pytest.raises(RegionError, match="Click one"):
        nuclei_region(labels, [0])
    chosen = np.array([False, True, False, False])
    region = patches_region(ORIGINS, 8, chosen, (16, 20))
    assert region[:8, 8:16].all()
    assert region.sum() == 64
    with pytest.raises(RegionError, match="No patch is chosen"):
        patches_region(ORIGINS, 8, ~chosen & chosen, (16, 20))


def test_each_colour_of_a_labels_layer_is_a_region() -> None:
    painted = np.array([[0, 2], [5, 5]])
    regions = split_regions(painted, {5: "soma"})
    assert list(regions) == ["ROI 2", "soma"]
    assert regions["soma"].sum() == 2
    with pytest.raises(RegionError, match="Paint on a Labels layer"):
        split_regions(np.zeros((3, 3), int))


def test_regions_that_do_not_fit_are_refused_with_a_hint() -> None:
    with pytest.raises(RegionError, match="The region is empty"):
        patches_in_region(ORIGINS, 8, np.zeros((16, 16), bool))
    with pytest.raises(RegionError, match="12x16 px, and the patches reach to 16x16"):
        patches_in_region(ORIGINS, 8, np.ones((12, 16), bool))
    with pytest.raises(RegionError, match="one plane"):
        patches_in_region(ORIGINS, 8, np.ones((2, 16, 16), bool))


def test_the_grid_knows_where_each_token_lies() -> None:
    grid = TokenGrid.of_patches(ORIGINS[[0, 3]], 8, (4, 4), (17, 16))
    assert grid.rows.shape == (8, 8)
    assert grid.rows[1, 2] == 6
    assert grid.rows[4, 4] == 16
    assert grid.rows[0, 7] == NOWHERE
    assert grid.places_of(np.array([6, 16])).tolist() == [[1, 2], [4, 4]]


def test_random_regions_keep_size_and_form(rng: np.random.Generator) -> None:
    """Three tokens in a row stay neighbours, along or across, and come everywhere."""
    grid = TokenGrid.of_patches(ORIGINS, 8, (4, 4), (16, 16))
    moved = grid.move_randomly(np.array([[2, 2], [2, 3], [2, 4]]), 400, rng=rng)
    assert moved.shape == (400, 3)
    assert (moved != NOWHERE).all()
    place = np.zeros((64, 2), int)
    place[grid.rows.ravel()] = np.argwhere(grid.rows >= 0)
    steps = np.diff(place[moved], axis=1) % 8
    assert {tuple(step) for step in steps[:, 0].tolist()} == {(0, 1), (0, 7), (1, 0), (7, 0)}
    assert (steps[:, 0] == steps[:, 1]).all()
    assert len(np.unique(moved)) == 64
