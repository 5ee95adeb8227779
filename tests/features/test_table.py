"""The feature table: keys, places, statistics, joining, refusing, files that come back equal."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import OutputError, TableError
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import Acquisition, MultichannelImage, PatchSet
from napari_bio_superposition.features.lazy_table import open_table
from napari_bio_superposition.features.table import (
    build_manifest,
    build_table,
    check_table,
    concat_tables,
    read_provenance,
    read_table,
    write_table,
)

PROVENANCE = Provenance(
    config={"model": "small"},
    versions={"python": "3.11"},
    seed=0,
    device="cpu",
    inputs={"a": "hash of a"},
    models={"small": "hash of small"},
    flags={"centring": "dataset", "l2": False},
)


@dataclass(frozen=True, eq=False)
class Features:
    """Stands for the model's output; any object with these five will do."""

    activations: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32]
    firing: npt.NDArray[np.float32]
    squares: npt.NDArray[np.float32]
    cnn: npt.NDArray[np.float32]


def make_patches(
    image_id: str = "a", *, pixel_size_um: float | None = 0.5, n_rows: int = 2
) -> PatchSet:
    """Return patches of 4 px in two columns; the second one is rejected."""
    image = MultichannelImage(
        np.zeros((1, 4 * n_rows, 8)),
        channel_names=("hoechst",),
        roles={"nuclei": "hoechst"},
        full_scale=1.0,
        pixel_size_um=pixel_size_um,
        acquisition=Acquisition(image_id, plate="P1", well="B03", field="2", genotype="SNCA"),
        translate_um=(100.0, 50.0),
    )
    origins = np.array([[y, x] for y in range(0, 4 * n_rows, 4) for x in (0, 4)])
    n = len(origins)
    accepted = np.arange(n) != 1
    return PatchSet(
        image=image,
        pixels=np.zeros((n, 1, 4, 4), np.float32),
        channel_roles=("nuclei",),
        origins=origins,
        accepted=accepted,
        reasons=tuple("" if good else "blurred" for good in accepted),
        quality={"sharpness": np.linspace(0, 1, n)},
    )


def make_features(n: int, rng: np.random.Generator, n_latents: int = 6) -> Features:
    firing = rng.uniform(size=(n, n_latents)).astype(np.float32)
    means = rng.uniform(size=(n, n_latents)).astype(np.float32)
    cnn = rng.normal(size=(n, 3)).astype(np.float32)
    return Features(means, 2 * means, firing, 3 * means**2, cnn)


def make_death(patches: PatchSet) -> pd.DataFrame:
    n = len(patches)
    return pd.DataFrame(
        {
            Keys.N_NUCLEI: np.arange(n),
            Keys.NUCLEAR_AREA: np.arange(n) * 10,
            Keys.DEATH_ELIGIBLE: np.arange(n) % 2 == 0,
            Keys.DEATH: np.where(np.arange(n) % 2 == 0, 0.25, np.nan),
            Keys.DEATH_INTENSITY: np.full(n, 0.5),
            Keys.DEATH_PER_PIXEL: np.full(n, 7.0),
            Keys.DEATH_THRESHOLD: np.full(n, 30.0),
        },
        index=list(patches.ids),
    )


def make_table(
    image_id: str = "a", *, death: bool = True, seed: int = 0, **changes: Any
) -> AnnData:
    patches = make_patches(image_id, n_rows=3)
    features = make_features(5, np.random.default_rng(seed))
    provenance = replace(PROVENANCE, **({"inputs": {image_id: "hash"}} | changes))
    return build_table(patches, features, make_death(patches) if death else None, provenance)


# --- building ------------------------------------------------------------------------------------


def test_a_table_holds_the_accepted_patches_under_their_names(rng: np.random.Generator) -> None:
    patches, features = make_patches(), make_features(3, rng)
    table = build_table(patches, features, make_death(patches), PROVENANCE)
    assert table.obs_names.tolist() == [
        "a:P1/B03/2/0/0",
        "a:P1/B03/2/4/0",
        "a:P1/B03/2/4/4",
    ]
    assert [latent_of(name) for name in table.var_names] == list(range(6))
    np.testing.assert_array_equal(table.X, features.activations)
    assert table.X.dtype == np.float32
    assert table.obs[Keys.GROUP].unique().tolist() == ["P1/B03"]
    assert table.obs[Keys.GENOTYPE].dtype == "category"
    assert table.obs[[Keys.Y, Keys.X]].to_numpy().tolist() == [[0, 0], [4, 0], [4, 4]]
    assert table.obs[Keys.N_NUCLEI].tolist() == [0, 2, 3]
    assert table.obs[Keys.DEATH_ELIGIBLE].tolist() == [True, True, False]
    np.testing.assert_array_equal(table.obsm[Keys.CNN], features.cnn)
    assert read_provenance(table) == PROVENANCE


def test_places_are_centres_in_micrometre(rng: np.random.Generator) -> None:
    """A patch of 4 px at row 4, column 0: centre at row 5.5, column 1.5, of 0.5 um each."""
    table = build_table(make_patches(), make_features(3, rng), None, PROVENANCE)
    assert table.obsm[Keys.SPATIAL][1].tolist() == [50 + 0.75, 100 + 2.75]
    in_pixels = build_table(
        make_patches(pixel_size_um=None), make_features(3, rng), None, PROVENANCE
    )
    assert in_pixels.obsm[Keys.SPATIAL][1].tolist() == [1.5, 5.5]


def test_columns_say_how_often_and_how_strongly_a_feature_fires(rng: np.random.Generator) -> None:
    features = make_features(3, rng)
    var = build_table(make_patches(), features, None, PROVENANCE).var
    np.testing.assert_allclose(var[Keys.FIRING_RATE], features.firing.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(var[Keys.MEAN_ACTIVATION], features.activations.mean(axis=0))
    np.testing.assert_array_equal(var[Keys.MAX_ACTIVATION], features.maxima.max(axis=0))
    squared = features.squares.mean(axis=0) / features.firing.mean(axis=0)
    np.testing.assert_allclose(var[Keys.ACTIVE_RMS], np.sqrt(squared), rtol=1e-6)


def test_mostly_empty_tables_are_sparse(rng: np.random.Generator) -> None:
    features = make_features(3, rng)
    features.activations[:, 1:] = 0
    table = build_table(make_patches(), features, None, PROVENANCE)
    assert isinstance(table.X, sparse.csr_matrix)
    np.testing.assert_array_equal(table.X.toarray(), features.activations)


def test_an_image_without_a_good_patch_gives_an_empty_table(rng: np.random.Generator) -> None:
    patches = replace(make_patches(), accepted=np.zeros(4, bool))
    table = build_table(patches, make_features(0, rng), None, PROVENANCE)
    assert table.shape == (0, 6)
    assert not table.var[Keys.MAX_ACTIVATION].any()


def test_parts_of_different_patches_are_refused(rng: np.random.Generator) -> None:
    patches = make_patches()
    with pytest.raises(TableError, match="features of 4 patches and 3 accepted"):
        build_table(patches, make_features(4, rng), None, PROVENANCE)
    foreign = make_death(make_patches("b"))
    with pytest.raises(TableError, match="not known for 4 patches, for instance a:P1/B03/2/0/0"):
        build_table(patches, make_features(3, rng), foreign, PROVENANCE)


def test_the_manifest_lists_every_patch_with_its_reason() -> None:
    patches = make_patches()
    manifest = build_manifest(patches, make_death(patches))
    assert manifest["patch_id"].tolist() == list(patches.ids)
    assert manifest["reason"].tolist() == ["", "blurred", "", ""]
    assert manifest["accepted"].tolist() == [True, False, True, True]
    assert manifest["sharpness"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert manifest[Keys.DEATH_THRESHOLD].tolist() == [30.0] * 4
    assert "reason" in build_manifest(patches)


# --- joining -------------------------------------------------------------------------------------


def test_joined_tables_are_as_one_large_table() -> None:
    parts = [make_table("a", seed=1), make_table("b", seed=2)[:2].copy()]
    joined = concat_tables(parts)
    assert joined.shape == (7, 6)
    np.testing.assert_array_equal(joined.X, np.concatenate([part.X for part in parts]))
    assert joined.obs[Keys.IMAGE].tolist() == ["a"] * 5 + ["b"] * 2
    assert joined.obs[Keys.IMAGE].dtype == "category"
    assert joined.obsm[Keys.SPATIAL].shape == (7, 2)
    np.testing.assert_allclose(joined.var[Keys.MEAN_ACTIVATION], joined.X.mean(axis=0), rtol=1e-6)
    weighted = (5 * parts[0].var[Keys.FIRING_RATE] + 2 * parts[1].var[Keys.FIRING_RATE]) / 7
    np.testing.assert_allclose(joined.var[Keys.FIRING_RATE], weighted)
    assert joined.var[Keys.MAX_ACTIVATION].tolist() == [
        max(pair) for pair in zip(*(part.var[Keys.MAX_ACTIVATION] for part in parts), strict=True)
    ]
    assert set(read_provenance(joined).inputs) == {"a", "b"}
    check_table(joined)


def test_embeddings_are_left_out_when_tables_are_joined() -> None:
    parts = [make_table("a"), make_table("b")]
    for part in parts:
        part.obsm[Keys.UMAP] = np.zeros((5, 2))
    assert set(concat_tables(parts).obsm) == {Keys.SPATIAL, Keys.CNN}


def test_cell_death_may_be_missing_in_some_images() -> None:
    joined = concat_tables([make_table("a"), make_table("b", death=False)])
    assert joined.obs[Keys.DEATH].isna().sum() == 2 + 5
    assert joined.obs[Keys.DEATH_ELIGIBLE].dtype == bool
    assert joined.obs[Keys.DEATH_ELIGIBLE].sum() == 3


def test_settings_that_differ_are_all_kept() -> None:
    joined = concat_tables([make_table("a"), make_table("b", config={"model": "big"})])
    assert read_provenance(joined).config == {"differing": [{"model": "small"}, {"model": "big"}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flags": {"centring": "image", "l2": False}}, "centring dataset and image"),
        ({"models": {"small": "retrained"}}, "small hash of small and retrained"),
    ],
)
def test_tables_of_different_models_or_flags_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TableError, match=message):
        concat_tables([make_table("a"), make_table("b", **changes)])


def test_other_mismatches_are_refused() -> None:
    with pytest.raises(TableError, match="more than one table"):
        concat_tables([make_table("a"), make_table("a")])
    with pytest.raises(TableError, match="different features"):
        concat_tables([make_table("a"), make_table("b")[:, :3].copy()])
    with pytest.raises(TableError, match="at least one"):
        concat_tables([])


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["patches.h5ad", "patches.zarr"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_table_comes_back_as_it_was(name: str, is_sparse: bool, tmp_path: Path) -> None:
    table = make_table()
    if is_sparse:
        table.X = sparse.csr_matrix(table.X)
    path = write_table(table, tmp_path / name)
    write_table(table, path)  # an existing table is replaced
    loaded = read_table(path)
    pd.testing.assert_frame_equal(loaded.obs, table.obs)
    pd.testing.assert_frame_equal(loaded.var, table.var)
    assert (loaded.X != table.X).sum() == 0
    assert loaded.X.dtype == np.float32
    np.testing.assert_array_equal(loaded.obsm[Keys.SPATIAL], table.obsm[Keys.SPATIAL])
    assert read_provenance(loaded) == read_provenance(table)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_nothing_half_written_remains(tmp_path: Path) -> None:
    table = make_table()
    table.uns["bad"] = object()  # anndata cannot write this
    with pytest.raises(Exception, match="object"):
        write_table(table, tmp_path / "patches.h5ad")
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"\.h5ad or \.zarr"):
        write_table(make_table(), tmp_path / "patches.csv")
    with pytest.raises(TableError, match=r"\.h5ad or \.zarr"):
        read_table(tmp_path / "patches.csv")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_table(make_table(), tmp_path / "file" / "patches.h5ad")


@pytest.mark.parametrize("name", ["missing.h5ad", "missing.zarr"])
def test_missing_and_damaged_tables_are_one_clear_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(TableError, match="cannot be read as a table"):
        read_table(path)
    path.write_bytes(b"not a table")
    with pytest.raises(TableError, match="cannot be read as a table"):
        read_table(path)


def test_foreign_tables_are_refused(tmp_path: Path) -> None:
    foreign = AnnData(np.zeros((2, 2), np.float32))
    foreign.write_h5ad(tmp_path / "foreign.h5ad")
    with pytest.raises(TableError, match=r"foreign\.h5ad does not say how"):
        read_table(tmp_path / "foreign.h5ad")
    table = make_table()
    del table.obs[Keys.WELL]
    with pytest.raises(TableError, match="lacks the columns well"):
        check_table(table)


def test_a_table_opens_in_scanpy(tmp_path: Path) -> None:
    parts = [make_table(str(number), seed=number) for number in range(6)]
    table = read_table(write_table(concat_tables(parts), tmp_path / "patches.h5ad"))
    sc.pp.pca(table, n_comps=3)
    sc.pp.neighbors(table, n_neighbors=5, method="gauss")  # "umap" compiles for half a minute
    assert table.obsm[Keys.PCA].shape == (30, 3)
    assert table.obsp["connectivities"].shape == (30, 30)


def test_a_written_file_holds_what_anndatas_own_does(tmp_path: Path) -> None:
    adata = AnnData(np.eye(3, dtype=np.float32), uns={"nothing": None, "text": "a"})
    adata.obs["class"] = ["a", "b", "a"]
    write_table(adata, tmp_path / "ours.h5ad")
    adata.write_h5ad(tmp_path / "own.h5ad")
    names: list[list[str]] = [[], []]
    for found, name in zip(names, ("ours", "own"), strict=True):
        with h5py.File(tmp_path / f"{name}.h5ad") as file:
            file.visit(found.append)
    assert sorted(names[0]) == sorted(names[1])
    assert run(open_table(tmp_path / "ours.h5ad")).uns["text"] == "a"
