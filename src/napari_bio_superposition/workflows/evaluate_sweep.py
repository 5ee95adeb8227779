"""A table of SAEs over sizes and sparsity, at a fixed lambda and at a matched L0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import ConfigError, TableError, list_choices
from napari_bio_superposition.core.files import make_folder
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.evaluation.geometry import (
    effective_rank,
    match_directions,
    measure_directions,
)
from napari_bio_superposition.evaluation.nulls import permute_groups
from napari_bio_superposition.evaluation.probes import linear_probe, unit_rows
from napari_bio_superposition.models.card import SAE_KINDS
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.evaluation_pass import (
    RANDOM,
    WORDS,
    PatchMeasures,
    measure_dictionaries,
    sample_tokens,
)
from napari_bio_superposition.models.optimization import torch_generator
from napari_bio_superposition.models.sae_config import TOPK_KINDS, SaeConfig
from napari_bio_superposition.models.sae_training import TrainedSae, fit_sae
from napari_bio_superposition.models.splice import Dictionary
from napari_bio_superposition.models.token_baselines import cluster_tokens, random_dictionary
from napari_bio_superposition.models.token_buffer import PatchRows, TokensInMemory
from napari_bio_superposition.workflows.evaluate_config import ALIVE_THRESHOLD, SweepConfig
from napari_bio_superposition.workflows.evaluate_representations import with_components
from napari_bio_superposition.workflows.evaluate_sae import measure_dictionary, measure_loss
from napari_bio_superposition.workflows.evaluate_spatial import agree_with_masks
from napari_bio_superposition.workflows.evaluate_sweep_report import write_sweep_report
from napari_bio_superposition.workflows.evaluation_data import EvaluationData, load_evaluation_data
from napari_bio_superposition.workflows.evaluation_result import (
    Evaluation,
    describe_data,
    describe_provenance,
)

RESULT: Final = "sweep.json"
CNN: Final = "CNN channels"
_MISSED: Final = 0.15
"""A training that ends farther from its target L0 is pointed out."""


@dataclass(eq=False)
class Sweep(Evaluation):
    """The table, as it is written to ``sweep.json`` and ``sweep.csv``; see `Evaluation`.

    Parameters
    ----------
    sweep
        One row per representation without a dictionary, per SAE, and per baseline of its size.
    """

    sweep: list[dict[str, Any]] = field(default_factory=list)

    def as_lines(self) -> list[str]:
        """Return the table as text."""
        columns = ["kind", "n_latents", "asked", "l0", "n_alive", "fvu", "accuracy"]
        columns += ["loss_recovered", "seed_cosine", "auroc"]
        shown = pd.DataFrame(self.sweep).reindex(columns=columns)
        text: str = shown.to_string(
            index=False, float_format=lambda value: f"{value:.3f}", na_rep=""
        )
        return [*text.splitlines(), *(f"warning: {note}" for note in self.data["notes"])]


@dataclass(frozen=True, eq=False)
class _Entry:
    """A dictionary of the sweep, and what is known of it before it is measured."""

    row: dict[str, Any]
    dictionary: Dictionary
    others: tuple[FloatArray, ...] = ()
    """Alive directions of trainings from other seeds."""


def sweep_sae(
    model: str | Path,
    folder: str | Path,
    config: SweepConfig | None = None,
    out: str | Path = "sweep",
    *,
    table: str | Path | None = None,
) -> Job[Sweep]:
    """Train SAEs of several sizes on one encoder and measure them on wells that none of them saw.

    The published table varies the size at a fixed lambda that is a mean over features, and so
    relaxes the sparsity with the size (specification, 7.3). Here each size is also trained for the
    same L0, and stands beside a random dictionary and words of the same size.

    Parameters
    ----------
    model
        Name or folder of a model; its encoder, tap and centring are used.
    folder, out, table
        As in `evaluate_sae`; writes ``sweep.json``, ``sweep.csv`` and ``report.html``.
    config
        Sizes, kinds and sparsities.

    Returns
    -------
    Sweep
        Also written.
    """
    config, out = config or SweepConfig(), make_folder(Path(out))
    settings = list_settings(config)
    yield Progress("Loading the model")
    loaded = load_model(model, choose_device(config.evaluation.device))
    data = yield from load_evaluation_data(folder, table, loaded.card, config.evaluation, out)
    if not data.has_classes:
        raise TableError("A sweep compares probe accuracies: the patches need two classes.")
    rng = np.random.default_rng([config.evaluation.seed, 3])
    train = PatchRows(data.store.pixels, data.rows[data.train])
    tokens = yield from sample_tokens(loaded, train, rng=rng, n_tokens=config.n_tokens)
    source = TokensInMemory(tokens)
    random, words = _baselines(source, config, rng)
    entries = (yield from _train(settings, source, config)) | random
    patches = PatchRows(data.store.pixels, data.rows)
    dictionaries = {name: entry.dictionary for name, entry in entries.items()}
    measures = yield from measure_dictionaries(loaded, patches, dictionaries, words, rng=rng)
    result = Sweep({"name": loaded.card.name, "tap": loaded.card.tap}, describe_data(data))
    result.sweep = yield from _compare(entries, measures, data, rng)
    result.data["notes"] += _missed(result.sweep)
    device = str(loaded.device)
    result.provenance = describe_provenance(
        loaded.card, data, config, device=device, seed=config.evaluation.seed
    )
    result.write(out / RESULT, ("sweep",))
    write_sweep_report(result.sweep, result.model, result.data, result.provenance, out)
    return result


def list_settings(config: SweepConfig) -> list[tuple[str, SaeConfig]]:
    """Return what is trained: each size at each published lambda, and of each kind at each L0."""
    for kind in config.kinds:
        if kind not in SAE_KINDS:
            raise ConfigError(f"No kind of SAE {kind!r}. Choose among: {list_choices(SAE_KINDS)}.")
    found: list[tuple[str, SaeConfig]] = []
    common: dict[str, Any] = {
        "n_epochs": config.n_epochs,
        "batch_tokens": 1024,
        "learning_rate": config.learning_rate,
    }
    for size in config.sizes:
        for weight in config.paper_lambdas:
            one = SaeConfig(kind="gated", n_latents=size, paper_lambda=weight, **common)
            found.append((f"lambda {weight:g}", one))
        for kind in config.kinds:
            for l0 in config.target_l0s:
                one = SaeConfig(kind=kind, n_latents=size, target_l0=l0, **common)  # type: ignore[arg-type]
                found.append((f"L0 {l0:g}", one))
    return found


def _train(
    settings: list[tuple[str, SaeConfig]], source: TokensInMemory, config: SweepConfig
) -> Job[dict[str, _Entry]]:
    """Train each SAE, and again from other seeds."""
    entries, some = {}, source.unit[:8192]
    for done, (asked, one) in enumerate(settings):
        yield Progress("Training SAEs", done, len(settings), "SAEs")
        trainings = []
        for number in range(config.n_seeds):
            seed = config.evaluation.seed + 1000 * number
            trainings.append((yield from fit_sae(source, one, some, seed=seed)))
        first = trainings[0]
        row: dict[str, Any] = {"kind": one.kind, "asked": asked, "n_latents": one.n_latents}
        if one.request.target_l0 is not None and one.kind not in TOPK_KINDS:
            n_last = max(1, len(first.losses) // 20)
            row["trained_l0"] = float(first.curves["l0"][-n_last:].mean())
            row["target_l0"] = one.request.target_l0
        others = tuple(_alive_directions(other) for other in trainings[1:])
        name = f"{one.kind}, {asked}, {one.n_latents}"
        entries[name] = _Entry(row, Dictionary.of(first.sae), others)
    return entries


def _alive_directions(trained: TrainedSae) -> FloatArray:
    kept = (trained.metrics.firing_rate >= ALIVE_THRESHOLD).numpy()
    directions: FloatArray = trained.sae.W_dec.cpu().numpy()[kept]
    return directions


def _baselines(
    source: TokensInMemory, config: SweepConfig, rng: np.random.Generator
) -> tuple[dict[str, _Entry], dict[str, Any]]:
    """Return random dictionaries of each size and L0, and words of each size."""
    chance, some = torch_generator(rng), source.unit[:32_768]
    random: dict[str, _Entry] = {}
    words: dict[str, Any] = {}
    for size in config.sizes:
        words[f"{WORDS}, {size}"] = cluster_tokens(some, size, rng=chance)
        for l0 in config.target_l0s:
            row = {"kind": RANDOM, "asked": f"L0 {l0:g}", "n_latents": size}
            found = random_dictionary(some, size, l0=l0, rng=chance)
            random[f"{RANDOM}, L0 {l0:g}, {size}"] = _Entry(row, found)
    return random, words


def _compare(
    entries: Mapping[str, _Entry],
    measures: PatchMeasures,
    data: EvaluationData,
    rng: np.random.Generator,
) -> Job[list[dict[str, Any]]]:
    """Return the table: the CNN and its PCA first, SAEs, then random dictionaries and words."""
    maps = {CNN: measures.channels, **measures.activations}
    spatial = pd.DataFrame((yield from agree_with_masks(maps, measures, data, rng=rng)))
    areas = spatial.pivot(index="representation", columns="mask", values="auroc")
    plain = {name: x for name, x in measures.representations.items() if name not in entries}
    rows: list[dict[str, Any]] = []
    features = with_components(plain, data.train)
    for name, values in features.items():
        kind, _, size = name.partition(", ")
        n_features = int(size) if size else values.shape[1]
        row = {"kind": kind, "asked": "", "n_latents": n_features}
        rows.append(row | _score(values, data, rng) | _spatial(areas, name))
        yield Progress("Comparing", len(rows), len(entries) + len(features), "representations")
    n_first = sum(row["kind"] != WORDS for row in rows)
    found = []
    for name, entry in entries.items():
        figures = _measure(name, entry, measures, data, rng)
        found.append(entry.row | figures | _spatial(areas, name))
        done = len(rows) + len(found)
        yield Progress("Comparing", done, len(entries) + len(features), "representations")
    return [*rows[:n_first], *found, *rows[n_first:]]


def _measure(
    name: str,
    entry: _Entry,
    measures: PatchMeasures,
    data: EvaluationData,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the figures of one dictionary, on test wells."""
    found = measure_dictionary(measures, name, data.test, data, rng=rng)
    row = {key: found[key] for key in ("l0", "n_alive", "fvu")}
    for key in ("l0", "fvu"):
        row[f"{key}_low"], row[f"{key}_high"] = found[f"{key}_interval"]
    alive = measures.dictionaries[name].firing_rate >= ALIVE_THRESHOLD
    directions = entry.dictionary.W_dec.cpu().numpy()[alive]
    if len(directions) > 1:
        shape = measure_directions(directions, rng=rng)
        row |= {
            "mean_abs_cosine": shape.mean_abs_cosine,
            "random_mean_abs_cosine": shape.random_mean_abs_cosine,
            "welch_rms_cosine": shape.welch_rms_cosine,
        }
    matched = [match_directions(directions, other) for other in entry.others if len(other)]
    if matched and len(directions):
        row["seed_cosine"] = float(np.concatenate(matched).mean())
    loss = measure_loss(measures, name, data, rng=rng)
    row["loss_recovered"] = loss.recovered
    row["loss_recovered_low"], row["loss_recovered_high"] = loss.interval
    pooled = measures.dictionaries[name].pooled[:, alive]
    return row | (_score(pooled, data, rng) if alive.any() else {})


def _score(features: FloatArray, data: EvaluationData, rng: np.random.Generator) -> dict[str, Any]:
    unit = unit_rows(features)
    train, test = (rows[data.classes[rows] != ""] for rows in (data.train, data.test))
    found = linear_probe(unit, data.classes, train, test, rng=rng, groups=data.groups)
    low, high = found.interval if found.interval is not None else (np.nan, np.nan)
    permuted = permute_groups(data.classes, data.groups, data.plates, rng=rng)
    return {
        "accuracy": found.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_null": linear_probe(unit, permuted, train, test, rng=rng).accuracy,
        "erank_singular_values": effective_rank(unit),
        "erank_covariance_eigenvalues": effective_rank(unit, definition="covariance_eigenvalues"),
    }


def _spatial(areas: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return the AUROC of the best single feature for each mask, and their mean."""
    if name not in areas.index:
        return {}
    row = areas.loc[name]
    return {"auroc": float(row.mean())} | {f"auroc, {mask}": float(row[mask]) for mask in row.index}


def _missed(rows: list[dict[str, Any]]) -> list[str]:
    """Say which trainings ended away from their target L0; thresholds did the rest."""
    missed = [
        f"{row['kind']} with {row['n_latents']} latents (L0 {row['trained_l0']:.1f})"
        for row in rows
        if "target_l0" in row and abs(row["trained_l0"] / row["target_l0"] - 1) > _MISSED
    ]
    if not missed:
        return []
    return [
        f"The training did not reach its target L0 for {', '.join(missed)}: thresholds were "
        "shifted to meet it. Train longer (--n-epochs) before comparing these."
    ]
