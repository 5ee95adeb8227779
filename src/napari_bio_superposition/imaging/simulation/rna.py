"""A simulated scRNA-seq count matrix whose linked modules follow the factors that images show.

Negative-binomial counts with library size, dropout and sample effects. All names are synthetic.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from napari_bio_superposition.imaging.simulation.states import (
    FACTORS,
    GENOTYPES,
    CellStates,
    sample_states,
)
from napari_bio_superposition.imaging.simulation_config import RnaConfig

if TYPE_CHECKING:
    import anndata

FloatMatrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Module:
    """Genes that rise (or, a third of them, fall) together with one latent."""

    name: str
    latent: str
    linked: bool
    share: float
    """Of all linked (or of all unlinked) genes."""


MODULES: Final = (
    _Module("MITO", "fragmentation", True, 0.20),
    _Module("TMRM", "depolarization", True, 0.12),
    _Module("LYSO", "lysosome_size", True, 0.20),
    _Module("TRAF", "perinuclear", True, 0.14),
    _Module("STRESS", "progression", True, 0.16),
    _Module("SNCA", "SNCA", True, 0.06),
    _Module("GBA", "GBA", True, 0.06),
    _Module("LRRK2", "LRRK2", True, 0.06),
    _Module("CLOCK", "clock", False, 0.5),
    _Module("LAYER", "layer", False, 0.5),
)
HOUSEKEEPING: Final = "HOUSE"


def simulate_rna(config: RnaConfig, *, rng: np.random.Generator) -> "anndata.AnnData":
    """Draw cells of the same kind as the imaged ones, and their counts.

    Parameters
    ----------
    config
        Size and noise of the matrix.
    rng
        Source of all randomness.

    Returns
    -------
    anndata.AnnData
        As `simulate_rna_of`; the cells are independent of every image.
    """
    genotype = np.sort(np.arange(config.n_cells) % len(GENOTYPES))
    sample = _assign_samples(genotype, config, rng)
    offsets = 0.3 * rng.standard_normal(sample.max(initial=0) + 1)
    states = sample_states(genotype, rng=rng, well_offset=offsets[sample])
    return _measure(states, sample, config, rng)


def simulate_rna_of(
    states: CellStates, config: RnaConfig, *, rng: np.random.Generator
) -> "anndata.AnnData":
    """Draw the counts of given cells, for instance of those in an image (row i is cell i).

    Parameters
    ----------
    states
        Latent states of the cells.
    config
        Genes and noise; ``n_cells`` is not used.
    rng
        Source of all randomness.

    Returns
    -------
    anndata.AnnData
        ``X`` int32 CSR counts; ``obs``: ``genotype``, ``sample``, the states and the latents of the
        unlinked modules; ``var``: ``module``, ``latent``, ``linked``, ``loading``.
    """
    return _measure(states, _assign_samples(states.genotype, config, rng), config, rng)


def _measure(
    states: CellStates, sample: npt.NDArray[np.int64], config: RnaConfig, rng: np.random.Generator
) -> "anndata.AnnData":
    import anndata

    genes = _design_genes(config, rng)
    latents = _collect_latents(states, rng)
    log_rate = rng.normal(0.0, 1.1, len(genes)) + config.effect_size * (
        _standardize(latents[genes.loc[genes["latent"] != "", "latent"].unique()])
        .reindex(columns=genes["latent"])
        .fillna(0.0)
        .to_numpy()
        * genes["loading"].to_numpy()
    )
    shifts = rng.standard_normal((sample.max(initial=0) + 1, len(genes)))
    share = _share_of_library(log_rate + config.batch_effect * shifts[sample], genes)
    counts = _draw_counts(share, config, rng)
    obs = states.to_frame().join(latents[["clock", "layer"]])
    obs["sample"] = [
        f"SIM-{GENOTYPES[g]}-{s + 1}" for g, s in zip(states.genotype, sample, strict=True)
    ]
    obs.index = pd.Index([f"SIM-CELL-{i + 1:05d}" for i in range(len(obs))])
    for name in ("genotype", "sample"):
        obs[name] = pd.Categorical(obs[name])
    return anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=genes)


def _assign_samples(
    genotype: npt.NDArray[np.int64], config: RnaConfig, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Give each cell a culture; cultures are nested in genotypes."""
    within = rng.integers(0, config.samples_per_genotype, len(genotype))
    return np.asarray(genotype * config.samples_per_genotype + within)


def _design_genes(config: RnaConfig, rng: np.random.Generator) -> pd.DataFrame:
    """Return one row per gene; what no module claims is housekeeping."""
    totals = {True: config.linked_share, False: config.unlinked_share}
    sizes = [int(module.share * totals[module.linked] * config.n_genes) for module in MODULES]
    names = [module.name for module in MODULES]
    linked = [module.linked for module in MODULES]
    latent = [module.latent for module in MODULES]
    n_free = config.n_genes - sum(sizes)
    module = np.repeat([*names, HOUSEKEEPING], [*sizes, n_free])
    number = np.concatenate([np.arange(1, size + 1) for size in [*sizes, n_free]])
    sign = np.where(rng.random(config.n_genes) < 1 / 3, -1.0, 1.0)
    loading = sign * rng.uniform(0.5, 1.3, config.n_genes)
    return pd.DataFrame(
        {
            "module": pd.Categorical(module),
            "latent": np.repeat([*latent, ""], [*sizes, n_free]),
            "linked": np.repeat([*linked, False], [*sizes, n_free]),
            "loading": np.where(module == HOUSEKEEPING, 0.0, loading),
        },
        index=[f"SIM-{m}-{i:03d}" for m, i in zip(module, number, strict=True)],
    )


def _collect_latents(states: CellStates, rng: np.random.Generator) -> pd.DataFrame:
    """Return the value of every latent that can drive a module, one row per cell."""
    latents = states.to_frame()[[*FACTORS, "progression"]]
    for index, name in enumerate(GENOTYPES[1:], start=1):
        latents[name] = (states.genotype == index) * (0.35 + 0.65 * states.progression)
    latents["clock"] = np.sin(rng.uniform(0, 2 * np.pi, len(states)))
    latents["layer"] = rng.standard_normal(len(states))
    return latents


def _standardize(latents: pd.DataFrame) -> pd.DataFrame:
    spread = latents.std(ddof=0)
    return (latents - latents.mean()) / spread.where(spread > 0, 1.0)


def _share_of_library(log_rate: FloatMatrix, genes: pd.DataFrame) -> FloatMatrix:
    """Return the share of each gene in its cell's RNA, rows summing to 1.

    Linked, unlinked and housekeeping genes each keep their part of the library in every cell.
    Otherwise linked genes, when they rise, would push all others down: normalised to library size,
    the unlinked ones would then follow the image, too.
    """
    rate = np.exp(np.clip(log_rate, -12, 12))
    block = np.where(genes["linked"], "linked", np.where(genes["latent"] == "", "house", "other"))
    for name in np.unique(block):
        members = block == name
        total = rate[:, members].sum(axis=1, keepdims=True)
        rate[:, members] *= total.mean() / total
    return np.asarray(rate / rate.sum(axis=1, keepdims=True))


def _draw_counts(
    share: FloatMatrix, config: RnaConfig, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Draw negative-binomial counts as a Poisson of gamma rates, then lose some to dropout."""
    rate = share * (config.library_size * np.exp(0.3 * rng.standard_normal(len(share))))[:, None]
    if config.dispersion > 0:
        rate *= rng.gamma(1 / config.dispersion, config.dispersion, rate.shape)
    counts: npt.NDArray[np.int32] = rng.poisson(rate).astype(np.int32)
    counts[rng.random(counts.shape) < config.dropout] = 0
    return counts
