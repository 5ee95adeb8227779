"""Representations side by side, all by one protocol: probe, outcome, rank, planted quantities."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from sklearn.decomposition import PCA

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.evaluation.geometry import effective_rank, effective_rank_interval
from napari_bio_superposition.evaluation.nulls import permutation_p, permute_groups
from napari_bio_superposition.evaluation.probes import linear_probe, unit_rows
from napari_bio_superposition.evaluation.recovery import Places, best_correlated
from napari_bio_superposition.evaluation.regression import predict_by_wells
from napari_bio_superposition.evaluation.splits import split_groups
from napari_bio_superposition.imaging.patch_store import CLASS
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig
from napari_bio_superposition.workflows.evaluation_data import QUANTITIES, EvaluationData

_COMPONENTS: Final = 50


def with_components(
    representations: Mapping[str, FloatArray], train: IntArray
) -> dict[str, FloatArray]:
    """Return the representations with the PCA of the CNN channels behind these."""
    channels = representations["CNN channels"]
    n = min(_COMPONENTS, len(train) - 1, channels.shape[1])
    components = PCA(n, svd_solver="full").fit(channels[train])
    features = {}
    for name, values in representations.items():
        features[name] = values
        if name == "CNN channels":
            features["PCA of CNN"] = components.transform(channels).astype(np.float32)
    return features


def compare_representations(
    features: Mapping[str, FloatArray],
    data: EvaluationData,
    config: EvaluateConfig,
    *,
    rng: np.random.Generator,
) -> Job[list[dict[str, Any]]]:
    """Return one row per representation; rows of features are made unit vectors for all alike."""
    rows = []
    for done, (name, values) in enumerate(features.items()):
        yield Progress("Comparing representations", done, len(features), "representations")
        unit = unit_rows(values)
        row: dict[str, Any] = {"name": name, "n_features": values.shape[1]}
        if data.has_classes:
            row |= probe(unit, data, config, rng=rng)
        row |= rank(unit, data, rng=rng)
        if data.outcome is not None:
            score = predict_by_wells(
                unit,
                data.outcome,
                data.groups,
                data.plates,
                rng=rng,
                n_permutations=config.n_permutations,
            )
            row |= {f"outcome_{key}": value for key, value in dataclasses.asdict(score).items()}
        rows.append(row)
    yield Progress("Comparing representations", len(features), len(features), "representations")
    return rows


def probe(
    features: FloatArray, data: EvaluationData, config: EvaluateConfig, *, rng: np.random.Generator
) -> dict[str, Any]:
    """Return accuracy with interval and null, and beside it that of a split which leaks."""
    train, test = (rows[data.classes[rows] != ""] for rows in (data.train, data.test))
    found = linear_probe(features, data.classes, train, test, rng=rng, groups=data.groups)
    null = []
    for _ in range(config.n_probe_nulls):
        classes = permute_groups(data.classes, data.groups, data.plates, rng=rng)
        null.append(linear_probe(features, classes, train, test, rng=rng).accuracy)
    shares = (1 - config.test_share, 0.0, config.test_share)
    mixed = split_groups(data.obs, "patch", CLASS, shares=shares, rng=rng)
    leaking = linear_probe(
        features,
        data.classes,
        mixed.rows(data.obs, "train"),
        mixed.rows(data.obs, "test"),
        rng=rng,
    )
    low, high = found.interval if found.interval is not None else (np.nan, np.nan)
    return {
        "accuracy": found.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_null": float(np.mean(null)) if null else float("nan"),
        "accuracy_p": permutation_p(found.accuracy, np.array(null)),
        "chance": found.chance,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
        "class_names": list(found.class_names),
        "confusion": found.confusion.tolist(),
        "leaking_accuracy": leaking.accuracy,
    }


def rank(features: FloatArray, data: EvaluationData, *, rng: np.random.Generator) -> dict[str, Any]:
    """Return effective ranks in both definitions, and of columns permuted one by one (null)."""
    low, high = effective_rank_interval(features, data.groups)
    shuffled = rng.permuted(features, axis=0)
    spread = features.std(0)
    scaled = (features - features.mean(0))[:, spread > 1e-8] / spread[spread > 1e-8]
    return {
        "erank_singular_values": effective_rank(features),
        "erank_low": low,
        "erank_high": high,
        "erank_covariance_eigenvalues": effective_rank(
            features, definition="covariance_eigenvalues"
        ),
        "erank_null": effective_rank(shuffled),
        "erank_standardised": effective_rank(scaled),
        "erank_by_class": {
            name: effective_rank(features[data.classes == name])
            for name in sorted(set(data.classes) - {""})
        },
    }


def recover_quantities(
    features: Mapping[str, FloatArray],
    data: EvaluationData,
    config: EvaluateConfig,
    *,
    rng: np.random.Generator,
) -> Job[list[dict[str, Any]]]:
    """Return how well the best single feature of each representation follows planted quantities."""
    if data.truth is None:
        return []
    places = Places(data.train, data.test, data.groups, data.plates)
    rows = []
    for done, (name, values) in enumerate(features.items()):
        unit = unit_rows(values)
        for quantity in QUANTITIES:
            best = best_correlated(
                unit,
                data.truth[quantity].to_numpy(float),
                places,
                rng=rng,
                n_permutations=config.n_permutations,
            )
            rows.append(
                {
                    "quantity": quantity,
                    "representation": name,
                    "spearman": best.score,
                    "spearman_low": best.interval.low,
                    "spearman_high": best.interval.high,
                    "null": best.null,
                    "p_value": best.p_value,
                    "feature": best.feature,
                }
            )
        yield Progress("Looking for planted factors", done + 1, len(features), "representations")
    return rows
