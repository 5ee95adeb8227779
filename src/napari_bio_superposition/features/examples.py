"""Which patches stand for a feature: strongest, per quantile, and at random. No pictures."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.features.similarity import column_of

QUANTILES = (0.95, 0.75, 0.5, 0.25)
TOP, RANDOM, NONE = "top", "random", "inactive"


def choose_examples(
    adata: AnnData,
    feature: str,
    *,
    n_each: int = 4,
    per_image: int = 2,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Choose patches that stand for a feature, over all images and classes of a table.

    The strongest patches alone make any feature look pure. So there are also patches around the
    quantiles of its activation, patches drawn at random from all in which it is active, and some in
    which it is not.

    Parameters
    ----------
    adata
        A feature table.
    feature
        Name of a column.
    n_each
        Patches of each kind.
    per_image
        At most so many patches of one image among the strongest, as long as there are enough
        images.
    rng
        Draws the random ones; seed 0 where omitted.

    Returns
    -------
    pandas.DataFrame
        Index the patch id: ``kind`` (``top``, ``q95`` and so on, ``random``, ``inactive``), ``row``
        of the table, ``activation``, and the identity of the patch. A patch may occur twice.
    """
    values = column_of(adata, feature)
    rng = rng or np.random.default_rng(0)
    active = np.flatnonzero(values > 0)
    order = active[np.argsort(-values[active], kind="stable")]
    chosen: dict[str, IntArray] = {TOP: _spread(adata, order, n_each, per_image)}
    for quantile in QUANTILES:
        middle = round((1 - quantile) * (len(order) - 1)) if len(order) else 0
        start = max(0, min(middle - n_each // 2, len(order) - n_each))
        chosen[f"q{100 * quantile:.0f}"] = order[start : start + n_each]
    chosen[RANDOM] = _draw(active, n_each, rng)
    chosen[NONE] = _draw(np.flatnonzero(values <= 0), n_each, rng)
    return _describe(adata, chosen).assign(
        activation=lambda table: values[table["row"].to_numpy(int)]
    )


def _spread(adata: AnnData, order: IntArray, n_each: int, per_image: int) -> IntArray:
    """Return the first of *order*, at most some of each image unless there are too few images."""
    images = adata.obs[Keys.IMAGE].astype(str).to_numpy()[order]
    nth = pd.Series(images).groupby(images).cumcount().to_numpy()
    spread = np.concatenate([np.flatnonzero(nth < per_image), np.flatnonzero(nth >= per_image)])
    chosen: IntArray = order[np.sort(spread[:n_each])]
    return chosen


def _draw(rows: IntArray, n_each: int, rng: np.random.Generator) -> IntArray:
    return np.sort(rng.choice(rows, min(n_each, len(rows)), replace=False))


def _describe(adata: AnnData, chosen: Mapping[str, IntArray]) -> pd.DataFrame:
    rows = np.concatenate([np.asarray(part, np.int64) for part in chosen.values()])
    kinds = np.repeat(list(chosen), [len(part) for part in chosen.values()])
    shown = (Keys.IMAGE, Keys.GROUP, Keys.GENOTYPE, Keys.PLATE, Keys.Y, Keys.X)
    table = adata.obs.iloc[rows][[key for key in shown if key in adata.obs]].copy()
    table.insert(0, "kind", kinds)
    table.insert(1, "row", rows)
    return table
