"""What a feature does: class, death and place of patches when it is taken away or pushed. No Qt."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from anndata import AnnData
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.features.rank_sum import dense
from napari_bio_superposition.models.steering import LinearReadOut, steer
from napari_bio_superposition.workflows.analyze import ImageAnalysis
from napari_bio_superposition.workflows.loading import LoadedModels

CLASS: Final = "class"
DEATH: Final = "death"
PLACE: Final = "embedding"
_FEWEST_ROWS: Final = 6
_PENALTY: Final = 0.1
_RIDGE: Final = 10.0
_STEP: Final = "Steering the feature"


@dataclass(frozen=True, eq=False)
class FeatureEffect:
    """What changes when one feature is multiplied.

    Parameters
    ----------
    latent, factor
        The feature, and what it was multiplied with.
    outputs
        One row per output of each read-out: ``read_out``, ``output``, ``before``, ``after``,
        ``change``, ``low``, ``high`` (the middle 95 % of patches' changes).
    missing
        Read-outs that the table does not allow, with the reason.
    n_patches
        How many patches were changed.
    """

    latent: int
    factor: float
    outputs: pd.DataFrame
    missing: dict[str, str]
    n_patches: int


def measure_effect(
    analysis: ImageAnalysis,
    models: LoadedModels,
    table: AnnData,
    latent: int,
    *,
    factor: float = 0.0,
    patches: IntArray | None = None,
) -> Job[FeatureEffect]:
    """Change a feature in patches of an image, and read what linear read-outs make of it.

    The read-outs are fitted on *table*: they describe it, and their changes are no proof of a
    cause in the cell.

    Parameters
    ----------
    analysis
        Of one image, with tokens.
    models
        Those of the analysis.
    table
        On which the read-outs are fitted.
    latent
        The feature.
    factor
        0 takes it away, 1 changes nothing, 2 doubles it.
    patches
        Positions among the accepted patches; all where ``None``.

    Raises
    ------
    TableError
        Where the table allows no read-out at all.
    """
    if analysis.tokens is None:
        raise ValueError("This analysis holds no tokens. Call restore_tokens first.")
    yield Progress(_STEP)
    read_outs, missing = fit_read_outs(table)
    rows = np.arange(len(analysis.tokens)) if patches is None else np.asarray(patches)
    parts = []
    for done, row in enumerate(rows):
        yield Progress(_STEP, done, len(rows), "patches")
        one = np.array([row])
        parts.append(
            steer(models.features, analysis.tokens, latent, read_outs, factor=factor, patches=one)
        )
    records: list[dict[str, Any]] = []
    for name, read_out in read_outs.items():
        before = np.concatenate([part.before[name] for part in parts])
        after = np.concatenate([part.after[name] for part in parts])
        records += _summarize(name, read_out.names, before, after)
    return FeatureEffect(latent, factor, pd.DataFrame(records), missing, len(rows))


def fit_read_outs(table: AnnData) -> tuple[dict[str, LinearReadOut], dict[str, str]]:
    """Fit class, death and the plane of largest spread on the features of a table.

    Returns
    -------
    tuple of dict
        The read-outs by name, and the reasons for those that are missing.

    Raises
    ------
    TableError
        Where there are too few patches for any.
    """
    if table.n_obs < _FEWEST_ROWS:
        raise TableError(
            f"{table.n_obs} patches are too few for a read-out; {_FEWEST_ROWS} are needed. "
            "Analyse more images first."
        )
    values = np.asarray(dense(table.X), np.float64)
    offset, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale == 0] = 1.0
    standard = (values - offset) / scale
    found: dict[str, LinearReadOut] = {}
    missing: dict[str, str] = {}

    def keep(name: str, weights: npt.NDArray[Any], bias: npt.NDArray[Any], names: Any) -> None:
        found[name] = LinearReadOut(
            weights=np.asarray(weights, np.float32),
            bias=np.asarray(bias, np.float32),
            names=tuple(map(str, names)),
            offset=offset.astype(np.float32),
            scale=scale.astype(np.float32),
            probabilities=name == CLASS,
        )

    _fit_class(table, standard, keep, missing)
    _fit_death(table, standard, keep, missing)
    plane = PCA(n_components=2, svd_solver="full").fit(standard)
    keep(PLACE, plane.components_.T, -plane.mean_ @ plane.components_.T, ("PC1", "PC2"))
    return found, missing


def _fit_class(table: AnnData, standard: Any, keep: Any, missing: dict[str, str]) -> None:
    classes = table.obs[Keys.GENOTYPE].astype(str).to_numpy()
    names = np.unique(classes)
    if len(names) < 2:
        missing[CLASS] = "all patches are of one genotype"
        return
    probe = LogisticRegression(C=_PENALTY, max_iter=500).fit(standard, classes)
    weights, bias = probe.coef_, probe.intercept_
    if len(names) == 2:  # one logit; the first class has the logit 0
        weights, bias = np.concatenate([0 * weights, weights]), np.array([0.0, bias[0]])
    keep(CLASS, weights.T, bias, probe.classes_)


def _fit_death(table: AnnData, standard: Any, keep: Any, missing: dict[str, str]) -> None:
    if Keys.DEATH not in table.obs:
        missing[DEATH] = "cell death was not scored"
        return
    rates = pd.to_numeric(table.obs[Keys.DEATH], errors="coerce").to_numpy(float)
    known = np.isfinite(rates)
    if known.sum() < _FEWEST_ROWS or np.ptp(rates[known]) == 0:
        missing[DEATH] = "too few patches with a death rate, or all alike"
        return
    regression = Ridge(alpha=_RIDGE).fit(standard[known], rates[known])
    keep(DEATH, regression.coef_[:, None], np.array([regression.intercept_]), ("dead area rate",))


def _summarize(
    name: str, outputs: tuple[str, ...], before: FloatArray, after: FloatArray
) -> list[dict[str, Any]]:
    change = after - before
    low, high = np.percentile(change, [2.5, 97.5], axis=0)
    return [
        {
            "read_out": name,
            "output": output,
            "before": float(before[:, place].mean()),
            "after": float(after[:, place].mean()),
            "change": float(change[:, place].mean()),
            "low": float(low[place]),
            "high": float(high[place]),
        }
        for place, output in enumerate(outputs)
    ]
