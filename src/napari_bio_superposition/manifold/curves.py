"""A smooth curve of an outcome along pseudotime: generalised additive model, band over wells."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.manifold.resampling import Wells
from napari_bio_superposition.manifold.statistics import percentiles

Numbers = npt.NDArray[np.float64]
_N_POINTS: Final = 100
_PATCHES_PER_SPLINE: Final = 50
_FEWEST_SPLINES: Final = 5
_FOLDS: Final = 5


@dataclass(frozen=True, eq=False)
class TrendCurve:
    """A smooth curve, to be drawn as a line with a band.

    Parameters
    ----------
    x, y
        Pseudotime and fitted outcome, ``(100,)`` each.
    low, high
        95 % band over draws of whole wells; ``nan`` where there is one well, or no draw.
    model_low, model_high
        The model's own 95 % interval, as published: takes patches as independent, so too narrow.
    adjusted_r2
        In sample, adjusted for the effective degrees of freedom.
    r2_held_out
        On wells that the curve was not fitted to; ``nan`` with fewer than two wells. Below 0: the
        mean of the other wells would have been a better guess.
    n_splines, degrees_of_freedom
        Of the model.
    n_patches
        Fitted, those beyond the trimmed ends left out.
    """

    x: Numbers
    y: Numbers
    low: Numbers
    high: Numbers
    model_low: Numbers
    model_high: Numbers
    adjusted_r2: float
    r2_held_out: float
    n_splines: int
    degrees_of_freedom: float
    n_patches: int


def fit_curve(  # noqa: PLR0913 (x, y, wells, and four settings of one fit)
    pseudotime: Numbers,
    outcome: Numbers,
    wells: Wells,
    *,
    n_splines: int = 8,
    n_draws: int = 60,
    trim: tuple[float, float] = (0.05, 0.95),
    rng: np.random.Generator,
) -> Job[TrendCurve]:
    """Fit one cubic penalised spline of an outcome along pseudotime.

    Parameters
    ----------
    pseudotime, outcome
        One finite value per patch.
    wells
        Of the patches.
    n_splines
        At most; one for every 50 patches, and at least 5.
    n_draws
        Draws of wells behind the band.
    trim
        Shares of pseudotime between which the curve is fitted.
    rng
        Behind the band.

    Notes
    -----
    Section 14 of the method specification: fixed default smoothing, no search.
    """
    low, high = np.quantile(pseudotime, trim)
    inside = (pseudotime >= low) & (pseudotime <= high)
    x, y = pseudotime[inside], outcome[inside]
    n_splines = min(n_splines, max(_FEWEST_SPLINES, len(x) // _PATCHES_PER_SPLINE))
    grid = np.linspace(low, high, _N_POINTS)
    model = _fit(x, y, n_splines)
    interval = model.confidence_intervals(grid[:, np.newaxis], width=0.95)
    freedom = float(model.statistics_["edof"])
    drawn = np.full((n_draws, _N_POINTS), np.nan)
    for draw in range(n_draws if wells.n_wells > 1 else 0):
        yield Progress("Bands over wells", draw, n_draws, "draws")
        rows = wells.resample(rng)
        rows = rows[inside[rows]]
        if len(rows) > _N_POINTS // 2 and np.ptp(pseudotime[rows]) > 0:
            refit = _fit(pseudotime[rows], outcome[rows], n_splines)
            drawn[draw] = _within(refit, pseudotime[rows], grid)
    band = np.array([percentiles(column) for column in drawn.T]).reshape(-1, 2)
    return TrendCurve(
        x=grid,
        y=np.asarray(model.predict(grid[:, np.newaxis])),
        low=band[:, 0],
        high=band[:, 1],
        model_low=interval[:, 0],
        model_high=interval[:, 1],
        adjusted_r2=adjusted_r2(y, model.predict(x[:, np.newaxis]), freedom),
        r2_held_out=_held_out(x, y, wells.codes[inside], n_splines),
        n_splines=n_splines,
        degrees_of_freedom=freedom,
        n_patches=len(x),
    )


def adjusted_r2(y: Numbers, fitted: Numbers, degrees_of_freedom: float) -> float:
    """Return the share of variance explained, adjusted; ``nan`` where nothing is left to explain.

    Notes
    -----
    ``1 - (SSR / (n - p - 1)) / (SST / (n - 1))`` with p the effective degrees of freedom.
    """
    n = len(y)
    total, left = float(((y - y.mean()) ** 2).sum()), float(((y - fitted) ** 2).sum())
    if total == 0 or n - degrees_of_freedom - 1 <= 0:
        return float("nan")
    return 1 - (left / (n - degrees_of_freedom - 1)) / (total / (n - 1))


def _fit(x: Numbers, y: Numbers, n_splines: int) -> Any:
    import pygam

    return pygam.LinearGAM(pygam.s(0, n_splines=n_splines, spline_order=3)).fit(x[:, np.newaxis], y)


def _within(model: Any, x: Numbers, grid: Numbers) -> Numbers:
    """Predict where the draw has patches; beyond, a spline would only be guessing."""
    predicted = np.asarray(model.predict(grid[:, np.newaxis]), np.float64)
    margin = 0.02 * (grid[-1] - grid[0])
    predicted[(grid < x.min() - margin) | (grid > x.max() + margin)] = np.nan
    return predicted


def _held_out(x: Numbers, y: Numbers, wells: npt.NDArray[Any], n_splines: int) -> float:
    """Return R2 of predictions for wells that took no part in the fit."""
    names = np.unique(wells)
    if len(names) < 2:
        return float("nan")
    fold_of = np.arange(len(names)) % min(_FOLDS, len(names))
    left = total = 0.0
    for fold in np.unique(fold_of):
        test = np.isin(wells, names[fold_of == fold])
        if (~test).sum() <= n_splines or np.ptp(x[~test]) == 0:
            return float("nan")
        ends = x[~test].min(), x[~test].max()
        predicted = _fit(x[~test], y[~test], n_splines).predict(
            np.clip(x[test], *ends)[:, np.newaxis]
        )
        left += float(((y[test] - predicted) ** 2).sum())
        total += float(((y[test] - y[~test].mean()) ** 2).sum())
    return 1 - left / total if total > 0 else float("nan")
