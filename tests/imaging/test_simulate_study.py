"""Studies: design, independence of order, and writing that resumes."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.simulate import (
    GENOTYPES,
    RnaConfig,
    SimulationConfig,
    Study,
    StudyFolder,
    simulate_study,
    write_study,
)

SMALL = SimulationConfig(
    n_plates=1, wells_per_class=1, side_px=128, rna=RnaConfig(n_cells=40, n_genes=120)
)


def plan(config: SimulationConfig = SMALL, seed: int = 0) -> Study:
    return simulate_study(config, rng=np.random.default_rng(seed))


def test_a_field_does_not_depend_on_which_were_drawn_before() -> None:
    forwards = [field.image.pixels for field in plan()]
    study = plan()
    backwards = [study.field(i).image.pixels for i in reversed(range(len(study)))]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (forwards[0] != forwards[1]).mean() > 0.5
    np.testing.assert_array_equal(study.rna().X.toarray(), plan().rna().X.toarray())


def test_another_seed_gives_another_study() -> None:
    assert plan(seed=0).entropy != plan(seed=1).entropy
    assert (plan(seed=0).field(0).image.pixels != plan(seed=1).field(0).image.pixels).mean() > 0.5


def test_a_study_has_no_field_beyond_its_last_one() -> None:
    with pytest.raises(IndexError, match="4 fields"):
        plan().field(4)
    with pytest.raises(IndexError):
        plan().field(-1)


def test_classes_are_balanced_on_every_plate() -> None:
    table = plan(SimulationConfig(n_plates=3, wells_per_class=4, fields_per_well=2)).table
    assert not table["image"].duplicated().any()
    wells = table.drop_duplicates(["plate", "well"])
    counts = pd.crosstab(wells["plate"], wells["genotype"])
    assert set(counts.columns) == set(GENOTYPES)
    assert (counts == 4).all(axis=None)
    assert wells.groupby("plate")["genotype"].apply(tuple).nunique() == 3  # shuffled on each
    assert table.groupby("genotype")["line"].nunique()["Control"] == 2


def test_a_confounded_study_nests_the_class_in_the_plate() -> None:
    table = plan(SimulationConfig(n_plates=4, wells_per_class=1, confounded=True)).table
    assert (table.groupby("plate")["genotype"].nunique() == 1).all()
    assert table["genotype"].nunique() == 4


def test_plates_differ_in_staining_unless_told_otherwise() -> None:
    config = SimulationConfig(n_plates=20, wells_per_class=1)
    gains = np.log([spec.gain for spec in plan(config).specs])
    assert gains.std() == pytest.approx(np.hypot(0.25, 0.15), rel=0.3)
    even = plan(SimulationConfig(staining_variation=0.0))
    assert {spec.gain for spec in even.specs} == {(1.0, 1.0, 1.0, 1.0)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return run(write_study(plan(), tmp_path_factory.mktemp("study")))


def test_a_written_study_holds_everything(written: StudyFolder) -> None:
    assert [path.name for path in written.images] == [
        f"plate1_{row}01_site1.ome.tif" for row in "ABCD"
    ]
    pd.testing.assert_frame_equal(written.table, plan().table)
    assert "SYNTHETIC" in (written.path / "README.txt").read_text()
    pd.testing.assert_index_equal(anndata.read_h5ad(written.rna).var_names, plan().rna().var_names)
    assert not list(written.path.rglob("*.partial*"))


def test_files_give_back_what_was_drawn(written: StudyFolder) -> None:
    field = plan().field(2)
    nuclei, masks, cells = written.truth_paths(field.image.id)
    np.testing.assert_array_equal(tifffile.imread(written.images[2]), field.image.pixels)
    np.testing.assert_array_equal(tifffile.imread(nuclei), field.labels)
    with np.load(masks) as arrays:
        for name in ("dead", "mitochondria", "lysosomes"):
            np.testing.assert_array_equal(arrays[name], getattr(field, name))
    pd.testing.assert_frame_equal(pd.read_csv(cells), field.cells)


def test_the_reader_finds_channels_roles_and_place(written: StudyFolder) -> None:
    drawn = plan().field(1).image
    image = read_image(written.images[1])
    np.testing.assert_array_equal(np.asarray(image.pixels), drawn.pixels)
    assert (image.channel_names, dict(image.roles)) == (drawn.channel_names, dict(drawn.roles))
    assert image.pixel_size_um == pytest.approx(0.6)
    place, expected = image.acquisition, drawn.acquisition
    assert place.group == expected.group == "plate1/B01"
    assert (place.id, place.field) == (expected.id, expected.field)


def test_a_cancelled_study_goes_on_where_it_stopped(tmp_path: Path) -> None:
    job = write_study(plan(), tmp_path)
    for _ in range(3):  # the third report comes when two fields are written
        next(job)
    job.close()
    folder = StudyFolder(tmp_path)
    present = [path for path in folder.images if path.exists()]
    assert len(present) == 2
    assert not list(tmp_path.rglob("*.partial*"))
    stamps = [path.stat().st_mtime_ns for path in present]
    folder.truth_paths("plate1_B01_site1")[1].unlink()  # half a field is drawn again
    run(write_study(plan(), tmp_path))
    assert all(folder.is_complete(name) for name in folder.table["image"])
    assert present[0].stat().st_mtime_ns == stamps[0]
    assert present[1].stat().st_mtime_ns > stamps[1]


@pytest.mark.parametrize("other", [plan(seed=1), plan(SimulationConfig(n_plates=1))])
def test_a_folder_of_another_study_is_left_alone(written: StudyFolder, other: Study) -> None:
    with pytest.raises(BioSuperpositionError, match="another configuration or seed"):
        run(write_study(other, written.path))


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BioSuperpositionError, match="cannot be written"):
        run(write_study(plan(), tmp_path / "file" / "study"))


def test_a_study_without_rna_writes_none(tmp_path: Path) -> None:
    config = SimulationConfig(n_plates=1, wells_per_class=1, side_px=128, rna=RnaConfig(n_cells=0))
    assert not run(write_study(plan(config), tmp_path)).rna.exists()
