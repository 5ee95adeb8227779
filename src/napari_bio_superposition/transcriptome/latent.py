"""From counts to a few numbers per cell: normalisation, variable genes, PCA, scVI. No clusters."""

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.transcriptome.config import LatentConfig

if TYPE_CHECKING:
    import anndata

COUNTS = "counts"
VARIABLE = "highly_variable"


def add_latent(
    table: "anndata.AnnData",
    config: LatentConfig | None = None,
    *,
    sample_key: str = "sample",
    device: str = "cpu",
    rng: np.random.Generator,
) -> "Job[anndata.AnnData]":
    """Normalise counts, choose variable genes, and add a latent space.

    Parameters
    ----------
    table
        Raw counts in ``X``, quality-controlled. It is not changed.
    config
        Settings; the defaults where omitted.
    sample_key
        Column of obs within which variable genes are chosen.
    device
        Where scVI is trained: cpu, cuda:0, mps.
    rng
        Seeds the decomposition or the training.

    Returns
    -------
    anndata.AnnData
        ``X`` log counts per `target_sum`; ``layers["counts"]``; ``var["highly_variable"]``;
        ``obsm["X_pca"]`` always, ``obsm["X_scVI"]`` and ``obsm["denoised"]`` (log1p, one column per
        variable gene) with scVI; ``uns["notes"]``.

    Raises
    ------
    TableError
        Where there are too few cells or genes.
    MissingExtraError
        Where scVI is asked for and not installed.
    """
    config = config or LatentConfig()
    yield Progress("Normalising counts")
    result = normalize(table, config.target_sum)
    notes = [*result.uns.get("notes", [])]
    yield Progress("Choosing variable genes")
    notes += choose_variable_genes(result, config, sample_key)
    yield Progress("Decomposing")
    add_components(result, config.n_latent, rng=rng)
    if config.method == "scvi":
        from napari_bio_superposition.transcriptome.scvi_latent import add_scvi

        notes += yield from add_scvi(result, config, device=device, rng=rng)
    result.uns["notes"] = notes
    return result


def normalize(table: "anndata.AnnData", target_sum: float = 1e4) -> "anndata.AnnData":
    """Return log1p of counts per *target_sum* in ``X`` and the counts in ``layers["counts"]``."""
    import scanpy

    result = table.copy()
    result.layers[COUNTS] = result.X.copy()
    scanpy.pp.normalize_total(result, target_sum=target_sum)
    scanpy.pp.log1p(result)
    return result


def choose_variable_genes(
    table: "anndata.AnnData", config: LatentConfig, sample_key: str
) -> list[str]:
    """Mark highly variable genes in ``var``, chosen per sample; return notes.

    Where there are not more genes than asked for, all of them are marked.
    """
    import scanpy

    if config.n_top_genes >= table.n_vars:
        table.var[VARIABLE] = True
        return [f"There are {table.n_vars} genes; all of them count as variable."]
    flavor, notes = config.hvg_flavor, []
    if flavor == "seurat_v3" and importlib.util.find_spec("skmisc") is None:
        flavor = "seurat"
        notes.append(
            "scikit-misc is not installed: variable genes were chosen on log counts (seurat)."
        )
    sizes = table.obs[sample_key].value_counts()
    per_sample = sample_key if len(sizes) > 1 and sizes.min() >= _MIN_PER_SAMPLE else None
    if len(sizes) > 1 and per_sample is None:
        notes.append(
            f"A sample has {sizes.min()} cells only: variable genes were chosen over all cells."
        )
    layer = COUNTS if flavor == "seurat_v3" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas and scanpy announce their own changes
            scanpy.pp.highly_variable_genes(
                table,
                layer=layer,
                flavor=flavor,
                n_top_genes=config.n_top_genes,
                batch_key=per_sample,
            )
    except ValueError as error:
        if flavor != "seurat_v3":
            raise TableError(f"Variable genes cannot be chosen: {error}.") from error
        notes.append("The trend of the variances could not be fitted; log counts were used.")
        scanpy.pp.highly_variable_genes(table, flavor="seurat", n_top_genes=config.n_top_genes)
    return notes


def add_components(table: "anndata.AnnData", n_latent: int, *, rng: np.random.Generator) -> None:
    """Add principal components of the variable genes' log counts, ``obsm["X_pca"]``.

    Raises
    ------
    TableError
        Where there are fewer cells or genes than two, or all cells are the same.
    """
    import scanpy

    n_genes = int(table.var[VARIABLE].sum())
    n_comps = min(n_latent, table.n_obs - 1, n_genes - 1)
    if n_comps < 2:
        raise TableError(
            f"{table.n_obs} cells and {n_genes} variable genes are too few for a latent space. "
            "Give more cells, or loosen quality control."
        )
    if not _vary(table.X[:, table.var[VARIABLE].to_numpy(dtype=bool)]):
        raise TableError(
            f"All {table.n_obs} cells have the same expression, so that there is nothing to tell "
            "them apart by. Are these counts of single cells?"
        )
    scanpy.pp.pca(
        table, n_comps=n_comps, mask_var=VARIABLE, random_state=int(rng.integers(2**31 - 1))
    )
    table.obsm[Keys.PCA] = np.asarray(table.obsm[Keys.PCA], dtype=np.float32)


def _vary(values: Any) -> bool:
    """Whether any column of a sparse matrix holds more than one value."""
    mean = np.asarray(values.mean(axis=0)).ravel()
    squares = np.asarray(values.multiply(values).mean(axis=0)).ravel()
    return bool(np.any(squares - mean**2 > 1e-6 * np.maximum(1.0, squares)))


_MIN_PER_SAMPLE = 30
"""Cells a sample needs for variances of its own to mean something."""
