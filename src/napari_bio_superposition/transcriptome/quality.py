"""Which cells and genes are kept, judged within each sample. No reading, no figures."""

import re
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.transcriptome.config import RnaQualityConfig
from napari_bio_superposition.transcriptome.reading import genes_of

if TYPE_CHECKING:
    import anndata

ACCEPTED = "accepted"
FEW_GENES = "few genes"
MITOCHONDRIAL = "mitochondrial"
DOUBLET = "doublet"
VERDICTS = (ACCEPTED, FEW_GENES, MITOCHONDRIAL, DOUBLET)

_SEX_GENES = re.compile(
    r"^(XIST|TSIX|TTTY.*|SRY|UTY|ZFY.*|DDX3Y|USP9Y|KDM5D|EIF1AY|EIF2S3Y|RPS4Y[12]|TMSB4Y|NLGN4Y"
    r"|PRKY|TXLNGY|TBL1Y|PCDH11Y|AMELY|BCORP1|TSPY.*|DAZ\d.*|RBMY.*|CDY\d.*|VCY.*|HSFY.*|BPY2.*"
    r"|XKRY.*|PRY\d?|LINC00278)$"
)
"""XIST, TTTY* and the genes of the male-specific part of the Y chromosome, human and mouse."""


def judge_cells(
    table: "anndata.AnnData", config: RnaQualityConfig | None = None, sample_key: str = "sample"
) -> pd.DataFrame:
    """Measure every cell and judge it; the first rule that fails gives the reason.

    Few genes and mitochondrial counts come first; the percentiles of genes and counts are then
    taken among the remaining cells of each sample (method specification, section 16.1).

    Parameters
    ----------
    table
        Raw counts in ``X``.
    config
        Thresholds; the defaults where omitted.
    sample_key
        Column of obs with the sample.

    Returns
    -------
    pandas.DataFrame
        One row per cell: ``n_genes``, ``n_counts``, ``mitochondrial``, ``ribosomal`` (shares),
        the sample, ``verdict``.
    """
    config = config or RnaQualityConfig()
    cells = _measure(table, config)
    cells[sample_key] = table.obs[sample_key].to_numpy()
    verdict = np.full(len(cells), ACCEPTED, dtype=object)
    verdict[cells["mitochondrial"].to_numpy() > config.max_mitochondrial] = MITOCHONDRIAL
    verdict[cells["n_genes"].to_numpy() < config.min_genes] = FEW_GENES
    if config.doublet_rule != "none":
        for name in pd.unique(cells[sample_key]):
            rows = np.flatnonzero((cells[sample_key] == name).to_numpy() & (verdict == ACCEPTED))
            verdict[rows[find_doublets(cells.iloc[rows], config)]] = DOUBLET
    cells["verdict"] = pd.Categorical(verdict, categories=VERDICTS)
    return cells


def find_doublets(cells: pd.DataFrame, config: RnaQualityConfig) -> npt.NDArray[np.bool_]:
    """Return which cells of one sample lie above its percentile of genes and (or) of counts."""
    if not len(cells):
        return np.zeros(0, dtype=bool)
    above = [
        cells[name].to_numpy() > np.percentile(cells[name], config.doublet_percentile)
        for name in ("n_genes", "n_counts")
    ]
    combine = np.logical_and if config.doublet_rule == "both" else np.logical_or
    return np.asarray(combine(*above))


def filter_cells(
    table: "anndata.AnnData", cells: pd.DataFrame, config: RnaQualityConfig | None = None
) -> "anndata.AnnData":
    """Return the accepted cells, and the genes that are left to tell them apart.

    Parameters
    ----------
    table
        Raw counts in ``X``.
    cells
        From `judge_cells`; its measurements become columns of obs.
    config
        Thresholds; the defaults where omitted.

    Raises
    ------
    TableError
        Where no cell or no gene is left.
    """
    config = config or RnaQualityConfig()
    accepted = (cells["verdict"] == ACCEPTED).to_numpy()
    if not accepted.any():
        counts = cells["verdict"].value_counts()
        reasons = ", ".join(f"{name}: {n}" for name, n in counts.items() if n)
        raise TableError(
            f"None of {len(cells)} cells passed quality control ({reasons}; median genes "
            f"{cells['n_genes'].median():g}). Lower --quality.min-genes or raise "
            "--quality.max-mitochondrial."
        )
    kept = table[accepted].copy()
    genes = _choose_genes(kept, config)
    if not genes.any():
        raise TableError(
            f"No gene is in {config.min_cells} or more of the {kept.n_obs} kept cells. Lower "
            "--quality.min-cells."
        )
    kept = kept[:, genes].copy()
    for column in ("n_genes", "n_counts", "mitochondrial", "ribosomal"):
        kept.obs[column] = cells.loc[accepted, column].to_numpy()
    return kept


def _choose_genes(table: "anndata.AnnData", config: RnaQualityConfig) -> npt.NDArray[np.bool_]:
    n_cells = np.asarray((table.X > 0).sum(axis=0)).ravel()
    keep = n_cells >= max(1, config.min_cells)
    if config.drop_sex_genes:
        keep &= ~find_sex_genes(table)
    return np.asarray(keep)


def find_sex_genes(table: "anndata.AnnData") -> npt.NDArray[np.bool_]:
    """Return which genes are XIST, TTTY* or of the Y chromosome, by name or by ``chromosome``."""
    found = np.array([bool(_SEX_GENES.match(name)) for name in genes_of(table)], dtype=bool)
    for column in ("chromosome", "chr"):
        if column in table.var:
            on = table.var[column].astype(str).str.upper().str.removeprefix("CHR") == "Y"
            found |= on.to_numpy(dtype=bool)
    return found


def _measure(table: "anndata.AnnData", config: RnaQualityConfig) -> pd.DataFrame:
    counts = table.X
    total = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    names = genes_of(table)
    mitochondrial = np.char.startswith(names, config.mitochondrial_prefix.upper())
    ribosomal = np.zeros(len(names), dtype=bool)
    for prefix in config.ribosomal_prefixes:
        ribosomal |= np.char.startswith(names, prefix.upper())
    shares = {
        name: np.asarray(counts[:, members].sum(axis=1)).ravel() / np.maximum(total, 1.0)
        for name, members in (("mitochondrial", mitochondrial), ("ribosomal", ribosomal))
    }
    n_genes = np.asarray((counts > 0).sum(axis=1)).ravel()
    return pd.DataFrame({"n_genes": n_genes, "n_counts": total} | shares, index=table.obs_names)
