"""A table of SAEs over sizes and sparsity, at a fixed lambda and at a matched L0."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.core.errors import ConfigError, TableError, list_choices
from napari_bio_superposition.core.files import make_folder, replaced_file
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.evaluation.geometry import effective_rank, measure_directions
from napari_bio_superposition.evaluation.intervals import ratio_interval
from napari_bio_superposition.evaluation.nulls import permute_groups
from napari_bio_superposition.evaluation.probes import linear_probe, unit_rows
from napari_bio_superposition.models.card import SAE_KINDS
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_training import fit_sae
from napari_bio_superposition.models.splice import Dictionary
from napari_bio_superposition.models.token_buffer import PatchRows, TokensInMemory
from napari_bio_superposition.models.token_pool import (
    PatchTokens,
    pool_dictionary,
    sample_patch_tokens,
)
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.evaluate_config import ALIVE_THRESHOLD, SweepConfig
from napari_bio_superposition.workflows.evaluate_sae import describe_data
from napari_bio_superposition.workflows.evaluation_data import EvaluationData, load_evaluation_data
from napari_bio_superposition.workflows.report import Picture, Report, Section, write_report

RESULT: Final = "sweep.json"
CNN: Final = "CNN channels"


@dataclass(eq=False)
class Sweep:
    """The table, as it is written to ``sweep.json`` and ``sweep.csv``.

    Parameters
    ----------
    model, data
        The encoder, and the patches.
    rows
        One per SAE, and the CNN channels first.
    provenance
        Settings and versions.
    """

    model: dict[str, Any]
    data: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return dataclasses.asdict(self)

    def as_lines(self) -> list[str]:
        """Return the table as text."""
        columns = ["kind", "n_latents", "asked", "l0", "n_alive", "fvu", "accuracy"]
        shown = pd.DataFrame(self.rows).reindex(columns=columns)
        text: str = shown.to_string(index=False, float_format=lambda value: f"{value:.3f}")
        return text.splitlines()


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
    same L0.

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
    yield Progress("Loading the model")
    loaded = load_model(model, choose_device(config.evaluation.device))
    data = yield from load_evaluation_data(folder, table, loaded.card, config.evaluation, out)
    if not data.has_classes:
        raise TableError("A sweep compares probe accuracies: the patches need two classes.")
    rng = np.random.default_rng([config.evaluation.seed, 3])
    patches = PatchRows(data.store.pixels, data.rows)
    tokens = yield from sample_patch_tokens(
        loaded, patches, n_per_patch=config.tokens_per_patch, rng=rng
    )
    result = Sweep({"name": loaded.card.name, "tap": loaded.card.tap}, describe_data(data))
    result.rows.append(
        {"kind": CNN, "asked": "", "n_latents": tokens.width, **_score(tokens.mean(), data, rng)}
    )
    settings = list_settings(config)
    for done, (asked, one) in enumerate(settings):
        yield Progress("Training and measuring SAEs", done, len(settings), "SAEs")
        row = yield from _measure(one, tokens, data, config, rng)
        result.rows.append({"kind": one.kind, "asked": asked, "n_latents": one.n_latents, **row})
    yield Progress("Training and measuring SAEs", len(settings), len(settings), "SAEs")
    result.provenance = {"config": config_to_plain(config), "versions": package_versions()}
    _write(result, out)
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


def _measure(
    settings: SaeConfig,
    tokens: PatchTokens,
    data: EvaluationData,
    config: SweepConfig,
    rng: np.random.Generator,
) -> Job[dict[str, Any]]:
    """Train one SAE on tokens of training wells, and measure it on the others."""
    train = tokens.of(data.train, config.n_tokens)
    trained = yield from fit_sae(
        TokensInMemory(train), settings, train[:8192], seed=config.evaluation.seed
    )
    pooled = pool_dictionary(Dictionary.of(trained.sae), tokens)
    alive = pooled.firing_rate >= ALIVE_THRESHOLD
    decoder = trained.sae.W_dec.cpu().numpy()[alive]
    test, wells = data.test, data.groups[data.test]
    per_patch = np.full(len(test), float(tokens.scale.shape[1]))
    errors, variation = pooled.error[test], pooled.variation[test]
    row: dict[str, Any] = {
        "l0": float(pooled.n_active[test].sum() / per_patch.sum()),
        "n_alive": int(alive.sum()),
        "fvu": float(errors.sum() / variation.sum()),
    }
    intervals = {
        "l0": ratio_interval(pooled.n_active[test], per_patch, wells, rng=rng),
        "fvu": ratio_interval(errors, variation, wells, rng=rng),
    }
    for name, (low, high) in intervals.items():
        row |= {f"{name}_low": low, f"{name}_high": high}
    if len(decoder) > 1:
        shape = measure_directions(decoder, rng=rng)
        row |= {
            "mean_abs_cosine": shape.mean_abs_cosine,
            "random_mean_abs_cosine": shape.random_mean_abs_cosine,
            "welch_rms_cosine": shape.welch_rms_cosine,
        }
    return row | (_score(pooled.pooled[:, alive], data, rng) if alive.any() else {})


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


def _write(result: Sweep, out: Path) -> None:
    with replaced_file(out / RESULT) as part:
        part.write_text(to_json(result.as_plain(), indent=2), encoding="utf-8")
    table = pd.DataFrame(result.rows)
    with replaced_file(out / "sweep.csv") as part:
        table.to_csv(part, index=False)
    columns = [
        *("n_latents", "asked", "l0", "n_alive", "fvu", "accuracy", "accuracy_low"),
        *("accuracy_high", "accuracy_null", "mean_abs_cosine", "random_mean_abs_cosine"),
        *("welch_rms_cosine", "erank_singular_values", "erank_covariance_eigenvalues"),
    ]
    shown = table.set_index("kind").reindex(columns=columns).astype(object)
    shown["n_alive"] = ["" if value != value else str(int(value)) for value in table["n_alive"]]
    data = result.data
    section = Section(
        title="Size against sparsity",
        paragraphs=[
            "A fixed lambda is averaged over features as published, so that it weakens as the "
            "dictionary grows: along a line of equal lambda the sparsity relaxes too. At a "
            "matched L0 only the size changes."
        ],
        pictures=[Picture("sweep", draw_sweep(table), "Lines: 95 % intervals over wells.")],
        table=shown,
    )
    report = Report(
        title=f"SAEs on the encoder {result.model['name']}",
        lead=(
            f"Tap {result.model['tap']}; trained on tokens of training wells, measured on "
            f"{data['n_test']} patches of {data['n_test_groups']} other wells."
        ),
        cards=[],
        sections=[section],
        notices=list(data["notes"]),
        details={"Settings": to_json(result.provenance, indent=2)},
    )
    write_report(report, out)


def draw_sweep(table: pd.DataFrame) -> Figure:
    """Draw L0, FVU and probe accuracy against the size, one line per way of asking."""
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    axes = figure.subplots(1, 3)
    saes = table[table["kind"] != CNN]
    labels = {"l0": "L0", "fvu": "FVU", "accuracy": "probe accuracy"}
    for axis, (name, label) in zip(axes, labels.items(), strict=True):
        for (kind, asked), part in saes.groupby(["kind", "asked"], sort=False):
            low, high = part[name] - part[f"{name}_low"], part[f"{name}_high"] - part[name]
            spread = np.maximum([low, high], 0)
            axis.errorbar(
                part["n_latents"], part[name], spread, marker="o", label=f"{kind}, {asked}"
            )
        axis.set_xscale("log", base=2)
        axis.set_xlabel("latents")
        axis.set_ylabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    if len(table) > len(saes):
        axes[2].axhline(table["accuracy"].iloc[0], color="#888888", linestyle=":", label=CNN)
    axes[2].legend(fontsize=7, frameon=False)
    return figure
