"""Which layer to train an SAE on: one probe and one death regression on each tap. No SAE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.evaluation.intervals import share_interval
from napari_bio_superposition.evaluation.probes import linear_probe, unit_rows
from napari_bio_superposition.evaluation.regression import predict_by_wells
from napari_bio_superposition.imaging.patch_store import CLASS, PatchStore
from napari_bio_superposition.models.card import TAPS
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.pooling import pool_features
from napari_bio_superposition.models.training_config import NormalizationConfig
from napari_bio_superposition.workflows.compare_layers_config import CompareLayersConfig
from napari_bio_superposition.workflows.train_sae import load_base, open_store
from napari_bio_superposition.workflows.train_sae_config import TrainSaeConfig


def compare_layers(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    config: CompareLayersConfig | None = None,
    out: str | Path = "layers",
    *,
    table: str | Path | None = None,
    death: pd.Series | None = None,
) -> Job[pd.DataFrame]:
    """Measure each tap of an encoder by the same protocol (grouped folds, row-L2 pooled maps).

    Parameters
    ----------
    model, images, table
        As for `train_sae_model`.
    config
        Settings.
    out
        Folder for ``layers.csv``, and for the patches where images are given.
    death
        Death rate by patch id, for instance ``adata.obs["dead_area_rate"]`` of an analysis.

    Returns
    -------
    DataFrame
        One row per tap: accuracy with interval and chance, macro-F1, and with *death* the R2 with
        interval, its null and p value. Intervals resample wells.

    Raises
    ------
    TableError
        Where there are neither two classes nor a death rate to compare by.
    """
    config, out = config or CompareLayersConfig(), Path(out)
    base = load_base(model, choose_device(config.device))
    store = yield from open_store(images, table, base.card, TrainSaeConfig(data=config.data), out)
    rows = _draw_rows(store, config)
    obs = store.obs.iloc[rows]
    rates = None if death is None else death.reindex(obs.index).to_numpy(dtype=float)
    if obs[CLASS].nunique() < 2 and (rates is None or not np.isfinite(rates).any()):
        raise TableError(
            "There are neither two classes nor death rates of these patches to compare layers by. "
            "Give a table with classes, or an analysis of the same images."
        )
    normalization = NormalizationConfig.of(base.card)
    results: list[dict[str, Any]] = []
    for tap in TAPS:
        pooled = yield from pool_features(base.encoder, store.pixels, rows, normalization, tap=tap)
        yield Progress(f"Testing {tap}", len(results), len(TAPS), "layers")
        features = unit_rows(pooled)
        measured = _probe(features, obs, config) | _regress(features, rates, obs, config)
        results.append({"tap": tap, "n_patches": len(rows), **measured})
    layers = pd.DataFrame(results).set_index("tap")
    with replaced_file(out / "layers.csv") as part:
        layers.to_csv(part)
    return layers


def describe_layers(layers: pd.DataFrame) -> list[str]:
    """Return one line per layer, and which intervals overlap said in words."""
    lines = []
    for tap, row in layers.iterrows():
        text = f"{tap}:"
        if "accuracy" in row:
            text += (
                f" accuracy {row.accuracy:.3f} ({row.accuracy_low:.3f} to {row.accuracy_high:.3f}, "
                f"chance {row.chance:.3f})"
            )
        if "death_r2" in row:
            text += (
                f" death R2 {row.death_r2:.3f} ({row.death_r2_low:.3f} to "
                f"{row.death_r2_high:.3f}, null {row.death_null:.3f}, p {row.death_p:.3g})"
            )
        lines.append(text)
    measure = "accuracy" if "accuracy" in layers else "death_r2"
    best = layers[measure].idxmax()
    near = [str(tap) for tap in layers.index if tap != best and _overlaps(layers, tap, best)]
    tied = f"; its interval overlaps with {list_choices(near)}" if near else ""
    return [*lines, f"Highest {measure}: {best}{tied}."]


def _overlaps(layers: pd.DataFrame, tap: Any, best: Any) -> bool:
    measure = "accuracy" if "accuracy" in layers else "death_r2"
    return bool(layers.loc[tap, f"{measure}_high"] >= layers.loc[best, f"{measure}_low"])


def _draw_rows(store: PatchStore, config: CompareLayersConfig) -> IntArray:
    rng = np.random.default_rng(config.seed)
    if len(store) <= config.most_patches:
        return np.arange(len(store))
    return np.sort(rng.choice(len(store), config.most_patches, replace=False))


def _probe(
    features: FloatArray, obs: pd.DataFrame, config: CompareLayersConfig
) -> dict[str, float]:
    """Probe each fold of wells once; the share of all patches whose class is found."""
    from sklearn.model_selection import StratifiedGroupKFold

    classes, wells = obs[CLASS].to_numpy(str), obs[Keys.GROUP].to_numpy(str)
    if len(np.unique(classes)) < 2:
        return {}
    known = np.flatnonzero(classes != "")
    folds = StratifiedGroupKFold(config.n_folds, shuffle=True, random_state=config.seed)
    hits, f1 = np.zeros(len(obs), bool), []
    for train, test in folds.split(known, classes[known], wells[known]):
        rng = np.random.default_rng(config.seed)
        result = linear_probe(features, classes, known[train], known[test], rng=rng, groups=wells)
        hits[known[test]] = result.predicted == classes[known[test]]
        f1.append(result.macro_f1)
    rng = np.random.default_rng(config.seed)
    interval = share_interval(hits[known], wells[known], rng=rng)
    counts = np.unique(classes[known], return_counts=True)[1]
    return {
        "accuracy": float(hits[known].mean()),
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "chance": float(counts.max() / counts.sum()),
        "macro_f1": float(np.mean(f1)),
        "n_wells": float(len(np.unique(wells))),
    }


def _regress(
    features: FloatArray,
    rates: FloatArray | None,
    obs: pd.DataFrame,
    config: CompareLayersConfig,
) -> dict[str, float]:
    """Regress the death rate on the features, in folds of wells."""
    if rates is None or not np.isfinite(rates).any():
        return {}
    result = predict_by_wells(
        features,
        rates,
        obs[Keys.GROUP],
        obs[Keys.PLATE],
        rng=np.random.default_rng(config.seed),
        n_permutations=config.n_permutations,
    )
    return {
        "death_r2": result.r2,
        "death_r2_low": result.interval.low,
        "death_r2_high": result.interval.high,
        "death_null": result.null,
        "death_p": result.p_value,
    }
