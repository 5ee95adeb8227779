"""What each layer of an encoder is worth, beside an untrained one and plain intensities."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.files import make_folder
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.evaluation.probes import unit_rows
from napari_bio_superposition.evaluation.similarity import compare_features
from napari_bio_superposition.models.card import TAPS, Card
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.encoder import Encoder, create_network
from napari_bio_superposition.models.encoder_checkpoint import holds_encoder, load_encoder
from napari_bio_superposition.models.optimization import torch_generator
from napari_bio_superposition.models.pooling import pool_features
from napari_bio_superposition.models.training_config import NormalizationConfig
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig
from napari_bio_superposition.workflows.evaluate_report import (
    describe_representations,
    describe_similarity,
    page_recovery,
)
from napari_bio_superposition.workflows.evaluate_representations import (
    compare_representations,
    recover_quantities,
)
from napari_bio_superposition.workflows.evaluation_data import EvaluationData, load_evaluation_data
from napari_bio_superposition.workflows.evaluation_result import (
    Evaluation,
    describe_data,
    describe_provenance,
    explain_skipped,
    flatten,
)
from napari_bio_superposition.workflows.report import Report, write_report

RESULT: Final = "encoder.json"
TABLES: Final = ("layers", "similarity", "recovery")
UNTRAINED: Final = "untrained encoder"
INTENSITIES: Final = "intensities"


@dataclass(eq=False)
class EncoderEvaluation(Evaluation):
    """All figures, as they are written to ``encoder.json``; see `Evaluation` for the first ones.

    Parameters
    ----------
    layers
        One row per layer and baseline: probe, outcome, effective rank.
    similarity
        CKA of each with the last layer.
    recovery
        Planted quantities by single channels; empty without truth.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    similarity: list[dict[str, Any]] = field(default_factory=list)
    recovery: list[dict[str, Any]] = field(default_factory=list)

    def as_lines(self) -> list[str]:
        """Return the main figures as a person reads them."""
        data = self.data
        first = f"{self.model['name']}: {data['n_patches']} patches of {data['n_groups']} wells."
        return [first, *self.probe_lines(self.layers)]


def evaluate_encoder(
    model: str | Path,
    folder: str | Path,
    config: EvaluateConfig | None = None,
    out: str | Path = "evaluation",
    *,
    table: str | Path | None = None,
) -> Job[EncoderEvaluation]:
    """Measure the taps of an encoder by one protocol, to choose the one an SAE is trained on.

    Parameters
    ----------
    model
        Name or folder of a model, or the folder of an encoder without SAE.
    folder, config, out, table
        As in `evaluate_sae`; writes ``encoder.json``, CSV tables and ``report.html``.

    Returns
    -------
    EncoderEvaluation
        Also written as ``encoder.json``.
    """
    config, out = config or EvaluateConfig(), make_folder(Path(out))
    yield Progress("Loading the model")
    encoder, card = _load(model, choose_device(config.device))
    data = yield from load_evaluation_data(folder, table, card, config, out)
    rng = np.random.default_rng([config.seed, 1])
    features = yield from _pool_layers(encoder, card, data, rng)
    about = {"name": card.name, "width": card.width, "training_data": card.training_data}
    result = EncoderEvaluation(about, describe_data(data))
    result.layers = yield from compare_representations(features, data, config, rng=rng)
    for name, values in features.items():
        if name != TAPS[-1]:
            score = compare_features(
                unit_rows(features[TAPS[-1]]),
                unit_rows(values),
                data.groups,
                data.plates,
                rng=rng,
                n_permutations=20,
            )
            row = flatten(dataclasses.asdict(score), "debiased", "debiased")
            result.similarity.append({"name": name, **row})
    result.recovery = yield from recover_quantities(features, data, config, rng=rng)
    result.skipped = explain_skipped(data)
    result.provenance = describe_provenance(
        card, data, config, device=config.device, seed=config.seed
    )
    result.write(out / RESULT, TABLES)
    _write_report(result, out)
    return result


def _load(model: str | Path, device: str) -> tuple[Encoder, Card]:
    """Return an encoder and its card, of a model with SAE or without."""
    if holds_encoder(Path(model)):
        loaded = load_encoder(model, device)
        return loaded.encoder, loaded.card
    whole = load_model(model, device)
    return whole.encoder, whole.card


def _pool_layers(
    encoder: Encoder, card: Card, data: EvaluationData, rng: np.random.Generator
) -> Job[dict[str, FloatArray]]:
    """Return pooled features of each tap, of an untrained encoder, and plain intensities."""
    normalization = NormalizationConfig.of(card)
    pixels, features = data.store.pixels, {}
    for tap in TAPS:
        features[tap] = yield from pool_features(encoder, pixels, data.rows, normalization, tap=tap)
    untrained = create_network(encoder.config, rng=torch_generator(rng)).encoder.eval()
    untrained = untrained.to(next(encoder.parameters()).device)
    features[UNTRAINED] = yield from pool_features(untrained, pixels, data.rows, normalization)
    features[INTENSITIES] = yield from _intensities(data)
    return features


def _intensities(data: EvaluationData) -> Job[FloatArray]:
    """Return mean, spread and percentiles of each channel: what needs no network."""
    rows = []
    for done, row in enumerate(data.rows):
        patch = data.store.batch(slice(int(row), int(row) + 1))[0].reshape(
            len(data.store.roles), -1
        )
        levels = np.percentile(patch, (5, 25, 50, 75, 95, 99), axis=1)
        rows.append(np.concatenate([patch.mean(1), patch.std(1), levels.ravel()]))
        if done % 64 == 0:
            yield Progress("Measuring intensities", done, len(data.rows), "patches")
    return np.asarray(rows, dtype=np.float32)


def _write_report(result: EncoderEvaluation, out: Path) -> None:
    data = result.data
    sections = [describe_representations(result.layers, "Layers side by side")]
    if result.recovery:
        sections.append(page_recovery(result.recovery, [row["name"] for row in result.layers]))
    sections.append(describe_similarity(result.similarity, "the last layer's features"))
    best = max(result.layers, key=lambda row: row.get("accuracy") or 0.0)
    report = Report(
        title=f"What the encoder {result.model['name']} is worth",
        lead=(
            f"Layers of {result.model['width']} channels, measured on {data['n_patches']} patches "
            f"of {data['n_groups']} wells; scores come from {data['n_test_groups']} wells that "
            "nothing was fitted on here."
        ),
        cards=[(f"{row.get('accuracy', float('nan')):.1%}", row["name"]) for row in result.layers]
        if best.get("accuracy") is not None
        else [],
        sections=sections,
        notices=result.notices(),
        details={"Provenance": json.dumps(result.provenance, indent=2, default=str)},
    )
    write_report(report, out)
