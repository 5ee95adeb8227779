"""The page of a sweep: the table, and figures against the size. No measuring."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.workflows.report import Picture, Report, Section, write_report

_LABELS: Final = {
    "l0": "L0",
    "fvu": "FVU",
    "accuracy": "probe accuracy",
    "loss_recovered": "loss recovered",
}


def write_sweep_report(
    rows: Sequence[Mapping[str, Any]],
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    provenance: Mapping[str, Any],
    out: Path,
) -> Path:
    """Write ``report.html`` of a sweep."""
    table = pd.DataFrame(rows)
    figures = Section(
        title="Size against sparsity",
        paragraphs=[
            "A fixed lambda is averaged over features as published, so that it weakens as the "
            "dictionary grows: along a line of equal lambda the sparsity relaxes too. At a "
            "matched L0 only the size changes."
        ],
        pictures=[Picture("sweep", draw_sweep(table), "Lines: 95 % intervals over wells.")],
        table=_worth(table),
    )
    shape = Section(
        title="Geometry and rank",
        paragraphs=[
            "Mean absolute cosine of alive directions beside that of as many random ones, and the "
            "Welch bound on the root mean square. Seeds: mean cosine of directions matched one to "
            "one with those of a training from another seed. Effective ranks of the pooled "
            "features in both definitions, which must not be compared with one another."
        ],
        table=_geometry(table),
    )
    report = Report(
        title=f"SAEs on the encoder {model['name']}",
        lead=(
            f"Tap {model['tap']}; trained on tokens of training wells, measured on "
            f"{data['n_test']} patches of {data['n_test_groups']} other wells."
        ),
        cards=[],
        sections=[figures, shape],
        notices=list(data["notes"]),
        details={"Settings": to_json(dict(provenance), indent=2)},
    )
    return write_report(report, out)


def _worth(table: pd.DataFrame) -> pd.DataFrame:
    shown = _head(table)
    shown["L0"] = _spread(table, "l0")
    shown["alive"] = ["" if value != value else str(int(value)) for value in table["n_alive"]]
    shown["FVU"] = _spread(table, "fvu")
    shown["probe"] = _spread(table, "accuracy")
    shown["null"] = _round(table, "accuracy_null")
    shown["loss recovered"] = _spread(table, "loss_recovered")
    shown["AUROC, mean of masks"] = _round(table, "auroc")
    return shown


def _geometry(table: pd.DataFrame) -> pd.DataFrame:
    shown = _head(table)
    names = {
        "mean_abs_cosine": "mean abs. cosine",
        "random_mean_abs_cosine": "random directions",
        "welch_rms_cosine": "Welch bound",
        "seed_cosine": "seeds",
        "erank_singular_values": "rank, singular values",
        "erank_covariance_eigenvalues": "rank, eigenvalues",
    }
    for name, label in names.items():
        shown[label] = _round(table, name)
    return shown


def _head(table: pd.DataFrame) -> pd.DataFrame:
    columns = {"n_latents": table["n_latents"], "asked": table["asked"]}
    return pd.DataFrame(columns).set_index(table["kind"]).astype(object)


def _round(table: pd.DataFrame, name: str) -> list[str]:
    values = table[name] if name in table else [np.nan] * len(table)
    return ["" if value != value else f"{value:.3g}" for value in values]


def _spread(table: pd.DataFrame, name: str) -> list[str]:
    parts = (table[name], table[f"{name}_low"], table[f"{name}_high"])
    return [
        "" if value != value else f"{value:.3g} ({low:.3g} to {high:.3g})"
        for value, low, high in zip(*parts, strict=True)
    ]


def draw_sweep(table: pd.DataFrame) -> Figure:
    """Draw L0, FVU, probe and loss recovered against the size, one line per way of asking."""
    figure = Figure(figsize=(11.5, 3.4), layout="constrained")
    axes = figure.subplots(1, len(_LABELS))
    dictionaries = table[table["l0"].notna()]
    for axis, (name, measure) in zip(axes, _LABELS.items(), strict=True):
        groups = list(dictionaries.groupby(["kind", "asked"], sort=False))
        for number, ((kind, asked), part) in enumerate(groups):
            low, high = part[name] - part[f"{name}_low"], part[f"{name}_high"] - part[name]
            spread = np.nan_to_num(np.maximum([low, high], 0))
            beside = 2 ** (0.07 * (number - (len(groups) - 1) / 2))  # so that no line hides another
            style = {"color": "#999999", "ls": "--"} if kind == "random dictionary" else {}
            at, label = part["n_latents"] * beside, f"{kind}, {asked}"
            axis.errorbar(at, part[name], spread, marker="o", ms=4, label=label, **style)
        axis.set_xscale("log", base=2)
        axis.set_xlabel("latents")
        axis.set_ylabel(measure)
        axis.spines[["top", "right"]].set_visible(False)
    channels = table.loc[table["kind"] == "CNN channels", "accuracy"]
    if len(channels):
        accuracy = axes[list(_LABELS).index("accuracy")]
        accuracy.axhline(channels.iloc[0], color="#888888", linestyle=":", label="CNN channels")
    handles, labels = axes[list(_LABELS).index("accuracy")].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
