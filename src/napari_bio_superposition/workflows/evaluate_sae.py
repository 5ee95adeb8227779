"""What an SAE is worth on a folder of images: every measure beside its baselines and nulls."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import make_folder
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.evaluation.geometry import measure_directions
from napari_bio_superposition.evaluation.intervals import ratio_interval
from napari_bio_superposition.evaluation.probes import unit_rows
from napari_bio_superposition.evaluation.similarity import compare_features
from napari_bio_superposition.evaluation.splicing import LossRecovered, loss_recovered
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.evaluation_pass import (
    RANDOM,
    SAE,
    PatchMeasures,
    measure_patches,
)
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.token_buffer import PatchRows
from napari_bio_superposition.workflows.evaluate_config import ALIVE_THRESHOLD, EvaluateConfig
from napari_bio_superposition.workflows.evaluate_report import write_sae_report
from napari_bio_superposition.workflows.evaluate_representations import (
    compare_representations,
    recover_quantities,
    with_components,
)
from napari_bio_superposition.workflows.evaluate_spatial import agree_with_masks
from napari_bio_superposition.workflows.evaluate_stability import measure_stability
from napari_bio_superposition.workflows.evaluation_data import EvaluationData, load_evaluation_data
from napari_bio_superposition.workflows.evaluation_result import (
    Evaluation,
    describe_data,
    describe_provenance,
    explain_skipped,
    flatten,
)

RESULT: Final = "sae.json"
TABLES: Final = ("representations", "spatial", "similarity", "recovery")


@dataclass(eq=False)
class SaeEvaluation(Evaluation):
    """All figures, as they are written to ``sae.json``; see `Evaluation` for the first ones.

    Parameters
    ----------
    sparsity, loss_recovered, stability
        Figures of the SAE, each with interval, and of the random dictionary beside it.
    geometry
        Of the decoder.
    representations
        One row per representation: probe, outcome, effective rank.
    spatial
        One row per mask and representation: the best latent, and the best channel.
    similarity
        One row per representation: CKA with the SAE's features.
    recovery
        One row per planted quantity and representation; empty without truth.
    """

    sparsity: dict[str, Any] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    stability: dict[str, Any] = field(default_factory=dict)
    loss_recovered: dict[str, Any] = field(default_factory=dict)
    representations: list[dict[str, Any]] = field(default_factory=list)
    spatial: list[dict[str, Any]] = field(default_factory=list)
    similarity: list[dict[str, Any]] = field(default_factory=list)
    recovery: list[dict[str, Any]] = field(default_factory=list)

    def as_lines(self) -> list[str]:
        """Return the main figures as a person reads them."""
        sparsity = self.sparsity
        lines = [
            f"{self.model['name']}: {self.data['n_patches']} patches of {self.data['n_groups']} "
            f"wells; L0 {sparsity['l0']:.2f}, alive {sparsity['n_alive']} of "
            f"{self.model['n_latents']}, FVU {sparsity['fvu']:.3f} (random dictionary "
            f"{self.sparsity['random_fvu']:.3f})."
        ]
        return lines + self.probe_lines(self.representations)


def evaluate_sae(
    model: str | Path,
    folder: str | Path,
    config: EvaluateConfig | None = None,
    out: str | Path = "evaluation",
    *,
    table: str | Path | None = None,
) -> Job[SaeEvaluation]:
    """Measure an SAE on images, beside the baselines that have to be beaten.

    Parameters
    ----------
    model
        Name or folder of a model with an SAE.
    folder
        Images, a simulated study (its truth is then used), or a store of patches.
    config
        Settings; the defaults where omitted.
    out
        Folder for ``sae.json``, one CSV per table, ``report.html`` and ``figures``.
    table
        CSV with lines, genotypes, plates and wells.

    Returns
    -------
    SaeEvaluation
        Also written as ``sae.json``.
    """
    config, out = config or EvaluateConfig(), make_folder(Path(out))
    yield Progress("Loading the model")
    loaded = load_model(model, choose_device(config.device))
    data = yield from load_evaluation_data(folder, table, loaded.card, config, out)
    patches = PatchRows(data.store.pixels, data.rows)
    rng = np.random.default_rng([config.seed, 1])
    measures = yield from measure_patches(loaded, patches, rng=rng)
    result = SaeEvaluation(_describe_model(loaded), describe_data(data))
    device = str(loaded.device)
    result.provenance = describe_provenance(
        loaded.card, data, config, device=device, seed=config.seed
    )
    result.sparsity = measure_sparsity(measures, data, rng)
    alive = measures.dictionaries[SAE].firing_rate >= ALIVE_THRESHOLD
    decoder = _decoder(loaded)
    result.geometry = dataclasses.asdict(measure_directions(decoder[alive], rng=rng))
    yield from _attempt(result, "loss_recovered", lambda: _loss(measures, data, rng))
    features = with_components(measures.representations, data.train)
    features[SAE] = features[SAE][:, alive]
    job = compare_representations(features, data, config, rng=rng)
    result.representations = yield from job
    maps = {"CNN channels": measures.channels, **measures.activations}
    maps = {name: maps[name] for name in (SAE, "CNN channels", RANDOM)}
    result.spatial = yield from agree_with_masks(maps, measures, data, rng=rng)
    yield from _attempt(result, "similarity", lambda: _similarities(features, data, rng))
    result.recovery = yield from recover_quantities(features, data, config, rng=rng)
    if config.n_seeds:
        l0 = result.sparsity["l0"]
        result.stability = yield from measure_stability(loaded, patches, decoder[alive], l0, config)
    else:
        result.skipped["stability"] = "n_seeds is 0"
    result.skipped |= explain_skipped(data)
    result.write(out / RESULT, TABLES)
    write_sae_report(result, out)
    return result


def _attempt(result: SaeEvaluation, name: str, measure: Callable[[], Any]) -> Job[None]:
    """Fill one field of the result; what the data cannot give is said and stops nothing."""
    yield Progress(f"Measuring: {name.replace('_', ' ')}")
    try:
        setattr(result, name, measure())
    except TableError as error:
        result.skipped[name] = str(error)


def measure_sparsity(
    measures: PatchMeasures, data: EvaluationData, rng: np.random.Generator
) -> dict[str, Any]:
    """Return L0, alive latents and FVU, and those of the random dictionary beside them."""
    rows = np.arange(len(data.obs))
    own = measure_dictionary(measures, SAE, rows, data, rng=rng)
    random = measure_dictionary(measures, RANDOM, rows, data, rng=rng)
    beside = {f"random_{name}": random[name] for name in ("l0", "fvu", "fvu_interval")}
    return own | {"variance_explained": 1 - own["fvu"]} | beside


def measure_dictionary(
    measures: PatchMeasures,
    name: str,
    rows: IntArray,
    data: EvaluationData,
    *,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return L0, alive latents and FVU on some patches (specification, section 9), with intervals.

    Alive is what fires on any patch of the pass.
    """
    found, wells = measures.dictionaries[name], data.groups[rows]
    tokens = np.full(len(rows), float(measures.n_tokens))
    n_active, error, variation = found.n_active[rows], found.error[rows], measures.variation[rows]
    n_active_tokens = found.n_active_tokens[rows].sum()
    return {
        "l0": float(n_active.sum() / tokens.sum()),
        "l0_interval": ratio_interval(n_active, tokens, wells, rng=rng),
        "l0_of_active_tokens": float(n_active.sum() / max(1.0, n_active_tokens)),
        "active_token_share": float(n_active_tokens / tokens.sum()),
        "n_alive": int((found.firing_rate >= ALIVE_THRESHOLD).sum()),
        "alive_threshold": ALIVE_THRESHOLD,
        "n_alive_at_5e-4": int((found.firing_rate >= 5e-4).sum()),
        "fvu": float(error.sum() / variation.sum()),
        "fvu_interval": ratio_interval(error, variation, wells, rng=rng),
    }


def _loss(
    measures: PatchMeasures, data: EvaluationData, rng: np.random.Generator
) -> dict[str, Any]:
    if not data.has_classes:
        raise TableError("there are no classes to read out behind the splice")
    keys = {SAE: "sae", RANDOM: "random_dictionary"}
    return {
        key: dataclasses.asdict(measure_loss(measures, name, data, rng=rng))
        for name, key in keys.items()
    }


def measure_loss(
    measures: PatchMeasures, name: str, data: EvaluationData, *, rng: np.random.Generator
) -> LossRecovered:
    """Return what a class read-out behind the splice keeps of its use."""
    return loss_recovered(
        (measures.original, measures.dictionaries[name].spliced, measures.ablated),
        data.classes,
        data.train,
        data.test,
        groups=data.groups,
        rng=rng,
    )


def _similarities(
    features: Mapping[str, FloatArray], data: EvaluationData, rng: np.random.Generator
) -> list[dict[str, Any]]:
    own = unit_rows(features[SAE])
    rows = []
    for name, others in features.items():
        if name != SAE:
            score = compare_features(
                own, unit_rows(others), data.groups, data.plates, rng=rng, n_permutations=20
            )
            rows.append(
                {"name": name, **flatten(dataclasses.asdict(score), "debiased", "debiased")}
            )
    return rows


def _decoder(model: FeatureModel) -> FloatArray:
    directions: FloatArray = model.sae.W_dec.detach().cpu().numpy()
    return directions


def _describe_model(model: FeatureModel) -> dict[str, Any]:
    card = model.card
    return {
        "name": card.name,
        "kind": card.sae_kind,
        "n_latents": card.n_latents,
        "width": card.width,
        "training_data": card.training_data,
        **card.flags,
    }
