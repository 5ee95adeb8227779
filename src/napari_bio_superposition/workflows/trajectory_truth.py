"""How well pseudotime follows a known progression: from SAE and from CNN features, side by side."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.workflows.embed import embed_table
from napari_bio_superposition.workflows.embed_config import EmbedConfig

if TYPE_CHECKING:
    from anndata import AnnData

Numbers = npt.NDArray[np.float64]
SOURCES = ("features", "cnn")
_NAMES = {"features": "SAE features", "cnn": "CNN features"}


@dataclass(frozen=True, eq=False)
class SourceComparison:
    """Rank correlation of pseudotime with a known progression, from two kinds of features.

    Parameters
    ----------
    table
        One row per kind of features: ``spearman``, ``low`` and ``high`` (95 % over draws of
        wells), ``null_low`` and ``null_high``, ``n_patches``, ``n_wells``.
    difference
        SAE less CNN, over the same patches.
    low, high
        95 % of the difference over the same draws of wells for both.
    """

    table: pd.DataFrame
    difference: float
    low: float
    high: float

    def as_plain(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "sources": self.table.to_dict(orient="index"),
            "difference": self.difference,
            "difference_low": self.low,
            "difference_high": self.high,
            "verdict": self.verdict,
        }

    @property
    def verdict(self) -> str:
        """What the comparison says, in one sentence."""
        span = f"difference {self.difference:+.2f} [{self.low:.2f}, {self.high:.2f}]"
        better = self.difference >= 0
        how = "at least as well from SAE as" if better else "less well from SAE than"
        sure = "" if self.low > 0 or self.high < 0 else ", which may be chance"
        return f"Pseudotime follows the true progression {how} from CNN: {span}{sure}."


def compare_sources(
    adata: "AnnData", progression: Numbers, config: EmbedConfig | None = None
) -> Job[SourceComparison]:
    """Order patches by SAE and by CNN features, prepared alike, and ask which follows the truth.

    Parameters
    ----------
    adata
        A feature table with ``obsm["X_cnn"]``.
    progression
        What is true of each patch; ``nan`` where it is not known.
    config
        Settings of both; its source, layouts and statistics are not used.

    Raises
    ------
    TableError
        Where no trajectory can be made, or few patches have a truth.

    Notes
    -----
    No step is told the truth, the groups other than the reference, or anything of the wells. Where
    the model was trained on other wells, all wells here are held out.
    """
    from napari_bio_superposition.manifold.resampling import Wells
    from napari_bio_superposition.manifold.statistics import correlate, percentiles, spearman

    config = config or EmbedConfig()
    times = {}
    for source in SOURCES:
        times[source] = yield from _order(adata, config, source)
    known = np.isfinite(progression) & np.isfinite(np.stack(list(times.values()))).all(axis=0)
    if known.sum() < 10:
        raise TableError(f"Only {int(known.sum())} patches have a pseudotime and a truth.")
    names = adata.obs[config.unit].astype(str).to_numpy(dtype=str)[known]
    plates = None
    if config.block in adata.obs:
        plates = adata.obs[config.block].astype(str).to_numpy(dtype=str)[known]
    draws = (config.trend.n_bootstraps, config.trend.n_permutations)
    rows = {}
    for source, time in times.items():
        rng = np.random.default_rng(config.seed)
        found = yield from correlate(
            time[known], progression[known], names, plates, draws=draws, rng=rng
        )
        rows[_NAMES[source]] = found["spearman"].as_plain()
    yield Progress("Comparing SAE with CNN")
    wells, rng = Wells(names), np.random.default_rng(config.seed)
    both, truth = [times[source][known] for source in SOURCES], progression[known]
    differences = np.empty(draws[0])
    for draw in range(draws[0]):
        chosen = wells.resample(rng)
        sae, cnn = (spearman(time[chosen], truth[chosen]) for time in both)
        differences[draw] = sae - cnn
    table = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"value": "spearman"})
    kept = ["spearman", "low", "high", "null_low", "null_high", "n_patches", "n_wells"]
    observed = spearman(both[0], truth) - spearman(both[1], truth)
    return SourceComparison(table[kept], observed, *percentiles(differences))


def _order(adata: "AnnData", config: EmbedConfig, source: str) -> Job[Numbers]:
    """Return pseudotime of all patches from one kind of features; no layout, no statistics."""
    embedding = dataclasses.replace(
        config.embedding,
        source=source,  # type: ignore[arg-type]
        umap=False,
        phate="never",
    )
    trajectory = dataclasses.replace(config.trajectory, n_roots=0)
    trend = dataclasses.replace(
        config.trend, n_bootstraps=0, n_permutations=0, n_curves=0, robustness=False
    )
    one = dataclasses.replace(
        config, scope="all", embedding=embedding, trajectory=trajectory, trend=trend
    )
    result = yield from embed_table(adata, one)
    if Keys.PSEUDOTIME not in result.table.obs or result.table.n_obs != adata.n_obs:
        raise TableError("; ".join(result.notices) or "No pseudotime of all patches.")
    time: Numbers = result.table.obs[Keys.PSEUDOTIME].to_numpy(np.float64)
    return time
