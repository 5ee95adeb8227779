"""Whether other seeds find the same dictionary: SAEs trained anew and matched. No files."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.evaluation.geometry import match_directions
from napari_bio_superposition.evaluation.intervals import bootstrap_groups
from napari_bio_superposition.models.evaluation_pass import sample_tokens
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_training import fit_sae
from napari_bio_superposition.models.token_buffer import PatchRows, TokensInMemory
from napari_bio_superposition.workflows.evaluate_config import ALIVE_THRESHOLD, EvaluateConfig


def measure_stability(
    model: FeatureModel,
    patches: PatchRows,
    decoder: FloatArray,
    l0: float,
    config: EvaluateConfig,
) -> Job[dict[str, Any]]:
    """Train the same kind of SAE from other seeds and match the directions (Hungarian).

    The model itself is matched with each of them as well. The null is a set of random directions.
    """
    rng = np.random.default_rng([config.seed, 2])
    tokens = yield from sample_tokens(model, patches, rng=rng, n_tokens=config.seed_tokens)
    settings = SaeConfig(
        kind=model.card.sae_kind,
        n_latents=model.card.n_latents,
        target_l0=max(0.05, l0),
        batch_tokens=1024,
        n_epochs=16,
        learning_rate=_learning_rate(model.card.training),
    )
    twins, unexplained = [], []
    for seed in range(config.n_seeds):
        trained = yield from fit_sae(
            TokensInMemory(tokens), settings, tokens[:8192], seed=config.seed + 1000 + seed
        )
        kept = (trained.metrics.firing_rate >= ALIVE_THRESHOLD).numpy()
        twins.append(trained.sae.W_dec.cpu().numpy()[kept])
        unexplained.append(trained.metrics.fvu)
    random = rng.standard_normal((len(decoder), decoder.shape[1])).astype(np.float32)
    pairs = [(a, b) for i, a in enumerate(twins) for b in twins[i + 1 :]]
    between = [match_directions(a, b) for a, b in pairs]
    with_model = [match_directions(decoder, twin) for twin in twins]
    yield Progress("Matching directions of other seeds", len(twins), len(twins), "seeds")
    return {
        "n_seeds": len(twins),
        "kind": settings.kind,
        "n_tokens": len(tokens),
        "fvu_of_seeds": unexplained,
        "matched_cosine_between_seeds": _summary(between, rng),
        "matched_cosine_with_model": _summary(with_model, rng),
        "random_matched_cosine": float(match_directions(decoder, random).mean()),
    }


def _learning_rate(training: Mapping[str, Any]) -> float:
    """Return the rate that a card says its SAE was trained with; `train_sae_model` nests it."""
    settings = training.get("sae", {})
    return float(settings.get("sae", settings).get("learning_rate", SaeConfig().learning_rate))


def _summary(matched: list[Any], rng: np.random.Generator) -> dict[str, Any] | None:
    if not matched:
        return None
    values = np.concatenate(matched)
    interval = bootstrap_groups(
        lambda rows: float(values[rows].mean()), np.arange(len(values)), rng=rng, n_resamples=200
    )
    shares = {f"share_above_{c}": float((values > c).mean()) for c in (0.7, 0.9)}
    return {"mean": float(values.mean()), "interval": interval, **shares}
