"""The feature table: the only border to `AnnData`. Rows are patches, columns SAE features."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import anndata
import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file, replaced_folder
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import FloatArray, PatchSet
from napari_bio_superposition.features.column_statistics import pool_rms
from napari_bio_superposition.features.table_files import write_h5ad, write_zarr

SPARSE_BELOW: Final = 0.25
"""Share of nonzero entries below which the table is stored as a sparse matrix."""
_IDENTITY: Final = (
    Keys.IMAGE,
    Keys.PLATE,
    Keys.WELL,
    Keys.FIELD,
    Keys.LINE,
    Keys.GENOTYPE,
    Keys.TREATMENT,
    Keys.GROUP,
)
_PLACE: Final = (Keys.Y, Keys.X)
_STATISTICS: Final = (Keys.FIRING_RATE, Keys.MEAN_ACTIVATION, Keys.MAX_ACTIVATION)
_JOINABLE: Final = (Keys.SPATIAL, Keys.CNN)
"""What keeps its meaning when tables are put together; embeddings do not."""


class Encoded(Protocol):
    """What a table needs to know of the model's output, one row per accepted patch."""

    @property
    def activations(self) -> FloatArray:
        """Mean activation, ``(n, n_latents)``."""

    @property
    def maxima(self) -> FloatArray:
        """Largest activation at any place, ``(n, n_latents)``."""

    @property
    def firing(self) -> FloatArray:
        """Share of tokens on which a latent is active, ``(n, n_latents)``."""

    @property
    def squares(self) -> FloatArray:
        """Mean squared activation, ``(n, n_latents)``."""

    @property
    def cnn(self) -> FloatArray:
        """Mean CNN features under the same preprocessing, ``(n, width)``."""


def build_table(
    patches: PatchSet, encoded: Encoded, death: pd.DataFrame | None, provenance: Provenance
) -> AnnData:
    """Join patches, features and cell death into one table.

    Parameters
    ----------
    patches
        All patches of one image; the accepted ones become rows.
    encoded
        Features of the accepted patches, in their order.
    death
        One row per patch, index the patch id; ``None`` where it was not scored.
    provenance
        What the features depend on.

    Returns
    -------
    AnnData
        Mean activations, float32 (sparse where less than a quarter is nonzero). Names of rows are
        patch ids, of columns ``latent_00042``; all further names are those of `Keys`.

    Raises
    ------
    TableError
        Where the parts do not belong to the same patches.
    """
    if len(encoded.activations) != int(patches.accepted.sum()):
        raise TableError(
            f"There are features of {len(encoded.activations)} patches and "
            f"{int(patches.accepted.sum())} accepted patches. Encode `patches.accepted_pixels`."
        )
    obs = _describe_patches(patches, death)[patches.accepted]
    adata = AnnData(
        X=_compact(np.asarray(encoded.activations, dtype=np.float32)),
        obs=as_categories(obs),
        var=pd.DataFrame(index=[feature_name(k) for k in range(encoded.activations.shape[1])]),
        obsm={
            Keys.SPATIAL: _patch_centres(patches)[patches.accepted],
            Keys.CNN: np.asarray(encoded.cnn, dtype=np.float32),
        },
        uns={Keys.PROVENANCE: provenance.to_json()},
    )
    n_latents = adata.n_vars
    adata.var[Keys.FIRING_RATE] = _mean(encoded.firing, n_latents)
    adata.var[Keys.MEAN_ACTIVATION] = _mean(encoded.activations, n_latents)
    adata.var[Keys.MAX_ACTIVATION] = np.max(encoded.maxima, axis=0, initial=0.0)
    adata.var[Keys.ACTIVE_RMS] = pool_rms(
        _mean(encoded.squares, n_latents), adata.var[Keys.FIRING_RATE].to_numpy()
    )
    return adata


def build_manifest(patches: PatchSet, death: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per patch of an image, rejected ones included: nothing is moved or lost.

    Parameters
    ----------
    patches
        All patches of one image.
    death
        One row per patch, index the patch id.

    Returns
    -------
    pandas.DataFrame
        ``patch_id``, identity and place (`Keys`), ``accepted``, ``reason`` (empty where
        accepted), the values that the quality control measured, and cell death.
    """
    table = _describe_patches(patches, None)
    table["accepted"] = patches.accepted
    table["reason"] = list(patches.reasons)
    for name, values in patches.quality.items():
        table[name] = values
    if death is not None:
        table = table.join(_rows_of(death, patches.ids))
    return table.rename_axis("patch_id").reset_index()


def concat_tables(tables: Sequence[AnnData]) -> AnnData:
    """Put tables of different images into one.

    Statistics of the columns are computed anew, weighted by the number of patches. Embeddings are
    left out, since those of different tables have nothing to do with each other.

    Raises
    ------
    TableError
        Where there is no table, a patch occurs twice, or the tables were made by different models
        or with different preprocessing.
    """
    if not tables:
        raise TableError("There is no table to put together. Give at least one.")
    provenances = [read_provenance(table) for table in tables]
    for table, provenance in zip(tables[1:], provenances[1:], strict=True):
        check_comparable(provenances[0], provenance)
        if not table.var_names.equals(tables[0].var_names):
            raise TableError("The tables hold different features. Keep the same features in each.")
    names = pd.Index(np.concatenate([table.obs_names for table in tables]))
    if not names.is_unique:
        raise TableError(
            f"Patch {names[names.duplicated()][0]} occurs in more than one table. "
            "Leave one of them out, or give the images different acquisition ids."
        )
    shared = [key for key in _JOINABLE if all(key in table.obsm for table in tables)]
    values = _stack([table.X for table in tables])
    return AnnData(
        X=values,
        obs=as_categories(_stack_rows([table.obs for table in tables])),
        var=_pool_statistics(tables, values),
        obsm={key: np.concatenate([np.asarray(t.obsm[key]) for t in tables]) for key in shared},
        uns={Keys.PROVENANCE: merge_provenance(provenances).to_json()},
    )


def write_table(adata: AnnData, path: str | Path) -> Path:
    """Write a table whole or not at all, as ``.h5ad`` or ``.zarr`` by its name.

    Raises
    ------
    TableError
        Where the name ends otherwise.
    OutputError
        Where it cannot be written.
    """
    path = Path(path)
    if path.suffix == ".h5ad":
        with replaced_file(path) as part:
            write_h5ad(adata, part)
    elif path.suffix == ".zarr":
        with replaced_folder(path) as part:
            write_zarr(adata, part)
    else:
        raise TableError(f"{path.name} is no name of a table. End it in .h5ad or .zarr.")
    return path


def read_table(path: str | Path) -> AnnData:
    """Read a table that `write_table` wrote.

    Raises
    ------
    TableError
        Where it is missing, damaged, or no feature table.
    """
    path = Path(path)
    readers = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr}
    if path.suffix not in readers:
        raise TableError(f"{path.name} is no name of a table. Choose a .h5ad or .zarr.")
    try:
        adata = readers[path.suffix](path)
    except Exception as error:  # h5py, zarr and anndata raise whatever a damaged byte leads to
        raise TableError(
            f"{path.name} cannot be read as a table ({type(error).__name__}: {error}). "
            "Choose a table that `analyze` wrote."
        ) from error
    check_table(adata, path.name)
    return adata


def check_table(adata: AnnData, name: str = "This table") -> None:
    """Check that a table is one of ours.

    Raises
    ------
    TableError
        Naming what is missing.
    """
    read_provenance(adata, name)
    missing = [key for key in (*_IDENTITY, *_PLACE) if key not in adata.obs]
    missing += [key for key in _STATISTICS if key not in adata.var]
    if missing:
        raise TableError(
            f"{name} lacks the columns {list_choices(missing)}. "
            "Choose a table that `analyze` wrote."
        )


def read_provenance(adata: AnnData, name: str = "This table") -> Provenance:
    """Return what the features of a table depend on.

    Raises
    ------
    TableError
        Where the table does not say.
    """
    try:
        return Provenance.from_json(adata.uns[Keys.PROVENANCE])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise TableError(
            f"{name} does not say how its features were made (no `uns[{Keys.PROVENANCE!r}]`). "
            "Choose a table that `analyze` wrote."
        ) from error


# --- rows ----------------------------------------------------------------------------------------


def _describe_patches(patches: PatchSet, death: pd.DataFrame | None) -> pd.DataFrame:
    """Return identity and place, and cell death where it is known, of all patches."""
    acquisition = patches.image.acquisition
    identity = (
        acquisition.id,
        acquisition.plate,
        acquisition.well,
        acquisition.field,
        acquisition.line,
        acquisition.genotype,
        acquisition.treatment,
        acquisition.group,
    )
    columns: dict[str, Any] = {
        key: [value] * len(patches) for key, value in zip(_IDENTITY, identity, strict=True)
    }
    columns |= {key: patches.origins[:, axis] for axis, key in enumerate(_PLACE)}
    obs = pd.DataFrame(columns, index=pd.Index(patches.ids, dtype=object))
    return obs if death is None else obs.join(_rows_of(death, patches.ids))


def _rows_of(death: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    missing = pd.Index(ids).difference(death.index)
    if len(missing):
        raise TableError(
            f"Cell death is not known for {len(missing)} patches, for instance {missing[0]}. "
            "Score the same patches."
        )
    return death.loc[list(ids)]


def _patch_centres(patches: PatchSet) -> npt.NDArray[np.float64]:
    """Return ``(x, y)`` of the centre of each patch, micrometre (pixels where unknown)."""
    image = patches.image
    centres = patches.origins[:, ::-1] + (patches.side - 1) / 2
    if image.pixel_size_um is None:
        return np.asarray(centres, dtype=np.float64)
    offset = np.array(image.translate_um[::-1])
    return np.asarray(centres * image.pixel_size_um + offset, dtype=np.float64)


def as_categories(obs: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the columns of their identity as categories."""
    text = {key: obs[key].astype(str).astype("category") for key in _IDENTITY if key in obs}
    return obs.assign(**text)


def _stack_rows(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate rows; where a part lacks a measurement it is nan, and no patch is eligible."""
    plain = [part.astype({key: object for key in _IDENTITY if key in part}) for part in parts]
    rows = pd.concat(plain)
    if Keys.DEATH_ELIGIBLE in rows:
        rows[Keys.DEATH_ELIGIBLE] = rows[Keys.DEATH_ELIGIBLE].eq(True)
    return rows


# --- values and columns --------------------------------------------------------------------------


def _compact(values: FloatArray) -> FloatArray | sparse.csr_matrix:
    is_sparse = values.size > 0 and np.count_nonzero(values) < SPARSE_BELOW * values.size
    return sparse.csr_matrix(values) if is_sparse else values


def _stack(parts: Sequence[Any]) -> FloatArray | sparse.csr_matrix:
    if all(sparse.issparse(part) for part in parts):
        return sparse.csr_matrix(sparse.vstack(parts, format="csr"))
    dense = [part.toarray() if sparse.issparse(part) else np.asarray(part) for part in parts]
    return _compact(np.concatenate(dense))


def _mean(values: Any, n_columns: int) -> npt.NDArray[np.float64]:
    """Return the mean of each column; 0 where there is no row."""
    if values.shape[0] == 0:
        return np.zeros(n_columns)
    return np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()


def _pool_statistics(tables: Sequence[AnnData], values: Any) -> pd.DataFrame:
    n_patches = np.array([table.n_obs for table in tables], dtype=float)
    weights = n_patches / max(n_patches.sum(), 1.0)
    var = pd.DataFrame(index=tables[0].var_names.copy())
    rates = np.stack([table.var[Keys.FIRING_RATE] for table in tables])
    var[Keys.FIRING_RATE] = weights @ rates
    var[Keys.MEAN_ACTIVATION] = _mean(values, len(var))
    var[Keys.MAX_ACTIVATION] = np.max([t.var[Keys.MAX_ACTIVATION] for t in tables], axis=0)
    if all(Keys.ACTIVE_RMS in table.var for table in tables):
        rms = np.stack([table.var[Keys.ACTIVE_RMS] for table in tables])
        var[Keys.ACTIVE_RMS] = pool_rms(weights @ (rates * rms**2), weights @ rates)
    return var


# --- provenance ----------------------------------------------------------------------------------


def check_comparable(first: Provenance, other: Provenance) -> None:
    """Refuse to put features together that were made differently.

    Raises
    ------
    TableError
        Naming the models or the preprocessing flags that differ.
    """
    for what, one, two in (
        ("models", first.models, other.models),
        ("preprocessing", first.flags, other.flags),
    ):
        keys = [key for key in sorted({*one, *two}) if one.get(key) != two.get(key)]
        if keys:
            raise TableError(
                f"The tables were made with different {what}: "
                + "; ".join(f"{key} {one.get(key)} and {two.get(key)}" for key in keys)
                + ". Features of the one mean nothing in the other: analyse all images alike."
            )


def merge_provenance(parts: Sequence[Provenance]) -> Provenance:
    """Return the first provenance with the inputs of all; settings that differ are all listed."""
    first = parts[0]
    configs = [dict(part.config) for part in parts]
    different = [config for n, config in enumerate(configs) if config not in configs[:n]]
    return Provenance(
        config=first.config if len(different) == 1 else {"differing": different},
        versions=first.versions,
        seed=first.seed,
        device=first.device,
        inputs={image: digest for part in parts for image, digest in part.inputs.items()},
        models=first.models,
        flags=first.flags,
    )
