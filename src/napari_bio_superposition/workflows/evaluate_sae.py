"""What an SAE is worth on a folder of images: every measure beside its baselines and nulls."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import Provenance, package_versions
from napari_bio_superposition.core.types import BoolArray, FloatArray
from napari_bio_superposition.evaluation.geometry import measure_directions
from napari_bio_superposition.evaluation.intervals import ratio_interval
from napari_bio_superposition.evaluation.probes import unit_rows
from napari_bio_superposition.evaluation.recovery import Places, best_agreeing
from napari_bio_superposition.evaluation.similarity import compare_features
from napari_bio_superposition.evaluation.splicing import loss_recovered
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.evaluation_pass import (
    RANDOM,
    SAE,
    DictionaryMeasures,
    PatchMeasures,
    measure_patches,
)
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.token_buffer import PatchRows
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.evaluate_config import ALIVE_THRESHOLD, EvaluateConfig
from napari_bio_superposition.workflows.evaluate_report import write_sae_report
from napari_bio_superposition.workflows.evaluate_representations import (
    compare_representations,
    recover_quantities,
    with_components,
)
from napari_bio_superposition.workflows.evaluate_stability import measure_stability
from napari_bio_superposition.workflows.evaluation_data import (
    EvaluationData,
    load_evaluation_data,
    spatial_masks,
)

RESULT: Final = "sae.json"
_FOREIGN_MASKS: Final = 20


@dataclass(eq=False)
class SaeEvaluation:
    """All figures, as they are written to ``sae.json``.

    Parameters
    ----------
    model
        Name, kind, size and origin of the weights.
    data
        Patches, wells, split, and notes.
    sparsity, loss_recovered, stability
        Figures of the SAE, each with interval, and of the random dictionary beside it.
    geometry
        Of the decoder.
    representations
        One row per representation: probe, outcome, effective rank.
    spatial
        One row per mask: the best latent and the best channel.
    similarity
        One row per representation: CKA with the SAE's features.
    recovery
        One row per planted quantity and representation; empty without truth.
    skipped
        Measure to why it is missing.
    provenance
        What everything depends on.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    sparsity: dict[str, Any] = field(default_factory=dict)
    geometry: dict[str, Any] = field(default_factory=dict)
    stability: dict[str, Any] = field(default_factory=dict)
    loss_recovered: dict[str, Any] = field(default_factory=dict)
    representations: list[dict[str, Any]] = field(default_factory=list)
    spatial: list[dict[str, Any]] = field(default_factory=list)
    similarity: list[dict[str, Any]] = field(default_factory=list)
    recovery: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dataclasses.asdict(self)

    def as_lines(self) -> list[str]:
        """Return the main figures as a person reads them."""
        sparsity = self.sparsity
        lines = [
            f"{self.model['name']}: {self.data['n_patches']} patches of {self.data['n_groups']} "
            f"wells; L0 {sparsity['l0']:.2f}, alive {sparsity['n_alive']} of "
            f"{self.model['n_latents']}, FVU {sparsity['fvu']:.3f} (random dictionary "
            f"{self.sparsity['random_fvu']:.3f})."
        ]
        lines += [
            f"{row['name']}: probe {row['accuracy']:.1%} ({row['accuracy_low']:.1%} to "
            f"{row['accuracy_high']:.1%}, null {row['accuracy_null']:.1%})"
            for row in self.representations
            if row.get("accuracy") is not None
        ]
        lines += [f"warning: {note}" for note in self.data["notes"]]
        return lines + [f"not measured, {name}: {why}" for name, why in self.skipped.items()]


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
    result.provenance = _provenance(loaded, data, config)
    result.sparsity = measure_sparsity(measures, data, rng)
    alive = measures.dictionaries[SAE].firing_rate >= ALIVE_THRESHOLD
    decoder = _decoder(loaded)
    result.geometry = dataclasses.asdict(measure_directions(decoder[alive], rng=rng))
    yield from _attempt(result, "loss_recovered", lambda: _loss(measures, data, rng))
    features = with_components(measures.representations, alive, data.train)
    job = compare_representations(features, data, config, rng=rng)
    result.representations = yield from job
    result.spatial = yield from _agree_with_masks(measures, data, rng)
    yield from _attempt(result, "similarity", lambda: _similarities(features, data, rng))
    result.recovery = yield from recover_quantities(features, data, config, rng=rng)
    if config.n_seeds:
        l0 = result.sparsity["l0"]
        result.stability = yield from measure_stability(loaded, patches, decoder[alive], l0, config)
    result.skipped |= explain_skipped(data, config)
    write_evaluation(result, out)
    return result


def explain_skipped(data: EvaluationData, config: EvaluateConfig) -> dict[str, str]:
    """Return what the data or the settings leave out, and why."""
    skipped = {}
    if not data.has_classes:
        skipped["probe"] = "the patches have one class or none (--table, --class-column)"
    if data.outcome is None:
        skipped["outcome"] = "no table gives an outcome per patch (--outcome)"
    if data.truth is None:
        skipped["recovery"] = "the images are no simulated study, so no truth is known"
    if not config.n_seeds:
        skipped["stability"] = "n_seeds is 0"
    return skipped


def write_evaluation(result: SaeEvaluation, out: Path) -> None:
    """Write JSON, one CSV per table, and the page."""
    with replaced_file(out / RESULT) as part:
        part.write_text(to_json(result.as_plain(), indent=2), encoding="utf-8")
    for name in ("representations", "spatial", "similarity", "recovery"):
        rows = getattr(result, name)
        if rows:
            with replaced_file(out / f"{name}.csv") as part:
                pd.DataFrame(rows).to_csv(part, index=False)
    write_sae_report(result, out)


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
    """Return L0, alive latents and FVU (specification, section 9), with intervals over wells."""
    own, random = measures.dictionaries[SAE], measures.dictionaries[RANDOM]
    tokens = np.full(len(data.obs), float(measures.n_tokens))
    return {
        "l0": float(own.n_active.sum() / tokens.sum()),
        "l0_interval": ratio_interval(own.n_active, tokens, data.groups, rng=rng),
        "l0_of_active_tokens": float(own.n_active.sum() / max(1.0, own.n_active_tokens.sum())),
        "active_token_share": float(own.n_active_tokens.sum() / tokens.sum()),
        "n_alive": int((own.firing_rate >= ALIVE_THRESHOLD).sum()),
        "alive_threshold": ALIVE_THRESHOLD,
        "n_alive_at_5e-4": int((own.firing_rate >= 5e-4).sum()),
        "fvu": _fvu(own, measures),
        "fvu_interval": ratio_interval(own.error, measures.variation, data.groups, rng=rng),
        "variance_explained": 1 - _fvu(own, measures),
        "random_l0": float(random.n_active.sum() / tokens.sum()),
        "random_fvu": _fvu(random, measures),
        "random_fvu_interval": ratio_interval(
            random.error, measures.variation, data.groups, rng=rng
        ),
    }


def _fvu(dictionary: DictionaryMeasures, measures: PatchMeasures) -> float:
    return float(dictionary.error.sum() / measures.variation.sum())


def _loss(
    measures: PatchMeasures, data: EvaluationData, rng: np.random.Generator
) -> dict[str, Any]:
    if not data.has_classes:
        raise TableError("there are no classes to read out behind the splice")
    found = {}
    for name, dictionary in measures.dictionaries.items():
        score = loss_recovered(
            (measures.original, dictionary.spliced, measures.ablated),
            data.classes,
            data.train,
            data.test,
            groups=data.groups,
            rng=rng,
        )
        key = "sae" if name == SAE else "random_dictionary"
        found[key] = dataclasses.asdict(score)
    return found


def _agree_with_masks(
    measures: PatchMeasures, data: EvaluationData, rng: np.random.Generator
) -> Job[list[dict[str, Any]]]:
    """Return, for each mask, how well the best latent and the best channel follow it in space."""
    masks = yield from spatial_masks(data, measures.sampled)
    n_sampled, per_patch = measures.places.shape
    patch = np.repeat(np.arange(n_sampled), per_patch)
    groups, plates = (x[measures.sampled][patch] for x in (data.groups, data.plates))
    in_test = np.isin(measures.sampled, data.test)[patch]
    places = Places(np.flatnonzero(~in_test), np.flatnonzero(in_test), groups, plates)
    others = [rng.permutation(n_sampled) for _ in range(_FOREIGN_MASKS)]
    rows = []
    for done, (name, mask) in enumerate(masks.items()):
        at = mask[patch, measures.places.ravel()]
        foreign = np.stack([mask[order[patch], measures.places.ravel()] for order in others])
        for kind, values in ((SAE, measures.activations), ("CNN channels", measures.channels)):
            best = best_agreeing(values, at, foreign, places, rng=rng)
            rows.append(
                {
                    "mask": name,
                    "share_of_places": float(at.mean()),
                    "representation": kind,
                    **flatten(dataclasses.asdict(best), "auroc", "score"),
                    "top_share_inside": _share_inside(
                        values[places.score, best.feature], at[places.score]
                    ),
                }
            )
        yield Progress("Comparing maps with masks", done + 1, len(masks), "masks")
    return rows


def _share_inside(activation: FloatArray, mask: BoolArray) -> float:
    """Return the share of the one percent of places with the strongest activation in a mask.

    A latent that is silent on most of a mask has an AUROC near one half however well its few
    active places are chosen; this tells the two apart.
    """
    n = max(1, len(activation) // 100)
    strongest = np.argpartition(activation, -n)[-n:]
    return float(mask[strongest].mean())


def flatten(values: Mapping[str, Any], name: str, main: str) -> dict[str, Any]:
    """Return a score as columns: the figure by *name*, its interval as two columns."""
    low, high = values["interval"]
    others = {k: v for k, v in values.items() if k not in (main, "interval")}
    return {name: values[main], f"{name}_low": low, f"{name}_high": high, **others}


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


def describe_data(data: EvaluationData) -> dict[str, Any]:
    """Return how many patches and wells there are, and how they were split."""
    return {
        "n_patches": len(data.obs),
        "n_groups": len(set(data.groups)),
        "n_plates": len(set(data.plates)),
        "classes": sorted(set(data.classes)),
        "n_train": len(data.train),
        "n_test": len(data.test),
        "n_test_groups": len(set(data.groups[data.test])),
        "split_unit": data.split.unit,
        "leaking": data.split.leaking,
        "simulated": data.study is not None,
        "notes": list(data.notes),
    }


def _provenance(
    model: FeatureModel, data: EvaluationData, config: EvaluateConfig
) -> dict[str, Any]:
    provenance = Provenance(
        config=config_to_plain(config),
        versions=package_versions(),
        seed=config.seed,
        device=str(model.device),
        inputs=dict(data.store.info.inputs),
        models={model.card.name: model.card.weights_sha256},
        flags=model.card.flags,
    )
    return dataclasses.asdict(provenance)
