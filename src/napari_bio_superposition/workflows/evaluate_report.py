"""The page of an evaluation: tables and figures in words. No measuring."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.workflows.report import Picture, Report, Section, write_report

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.evaluate_sae import SaeEvaluation

_COLORS = {
    "SAE": "#3b6ea5",
    "CNN channels": "#d97a7a",
    "PCA of CNN": "#eea363",
    "CNN mean and SD": "#c9a0dc",
    "CNN rectified": "#b79ad6",
    "k-means words": "#8cbf88",
    "random dictionary": "#a6a6a6",
}


def write_sae_report(result: "SaeEvaluation", out: Path) -> Path:
    """Write ``report.html`` of an SAE's evaluation."""
    rows = result.representations
    sections = [_sparsity(result), describe_representations(rows, "Representations side by side")]
    if result.recovery:
        sections.append(page_recovery(result.recovery, [row["name"] for row in rows]))
    sections += [_spatial(result), _geometry(result), describe_ranks(rows)]
    if result.similarity:
        sections.append(describe_similarity(result.similarity, "the SAE's features"))
    data = result.data
    report = Report(
        title=f"What the SAE {result.model['name']} is worth",
        lead=(
            f"{result.model['kind']}, {result.model['n_latents']} latents on "
            f"{result.model['width']} channels of {result.model['tap']}; measured on "
            f"{data['n_patches']} patches of {data['n_groups']} wells and {data['n_plates']} "
            f"plates. Scores come from {data['n_test_groups']} wells that nothing was fitted on "
            "here; whether the model's own training saw them only you can know."
        ),
        cards=_cards(result),
        sections=sections,
        notices=result.notices(),
        details={"Provenance": json.dumps(result.provenance, indent=2, default=str)},
    )
    return write_report(report, out)


def _cards(result: "SaeEvaluation") -> list[tuple[str, str]]:
    sparsity = result.sparsity
    cards = [
        (f"{sparsity['l0']:.1f}", "active latents per token (L0)"),
        (f"{sparsity['n_alive']} of {result.model['n_latents']}", "latents alive"),
        (f"{sparsity['variance_explained']:.0%}", "of the tokens' variance explained"),
    ]
    own = result.representations[0] if result.representations else {}
    if own.get("accuracy") is not None:
        cards.append((f"{own['accuracy']:.1%}", "classes found by a probe on SAE features"))
    if result.loss_recovered:
        cards.append((f"{result.loss_recovered['sae']['recovered']:.0%}", "loss recovered"))
    return cards


def _sparsity(result: "SaeEvaluation") -> Section:
    sparsity = result.sparsity
    rows: dict[str, dict[str, Any]] = {
        "active latents per token (L0)": {
            "SAE": _with(sparsity["l0"], sparsity["l0_interval"]),
            "random dictionary": f"{sparsity['random_l0']:.3g}",
        },
        "fraction of variance unexplained": {
            "SAE": _with(sparsity["fvu"], sparsity["fvu_interval"]),
            "random dictionary": _with(sparsity["random_fvu"], sparsity["random_fvu_interval"]),
        },
    }
    names = {
        "recovered": "loss recovered by the reconstruction",
        "accuracy": "read-out accuracy, original",
        "spliced_accuracy": "read-out accuracy, spliced",
        "ablated_accuracy": "read-out accuracy, ablated",
    }
    for key, label in names.items():
        if result.loss_recovered:
            both = (result.loss_recovered[k] for k in ("sae", "random_dictionary"))
            own, random = (
                _with(v[key], v["interval"]) if key == "recovered" else f"{v[key]:.3f}"
                for v in both
            )
            rows[label] = {"SAE": own, "random dictionary": random}
    return Section(
        title="Sparsity and faithfulness",
        paragraphs=[
            "The random dictionary has as many directions, none of them learnt, and thresholds "
            "that leave as many of them active. Loss recovered puts the reconstruction back into "
            "the encoder: 1 would be as good as the original, 0 no better than the mean token. "
            "In brackets, 95 % intervals over wells."
        ],
        table=_frame(rows),
    )


def describe_representations(rows: Sequence[Mapping[str, Any]], title: str) -> Section:
    """Return the section that compares representations: probe, outcome, effective rank."""
    table = {}
    for row in rows:
        shown: dict[str, Any] = {"features": row["n_features"]}
        if row.get("accuracy") is not None:
            shown["probe accuracy"] = _with(
                row["accuracy"], (row["accuracy_low"], row["accuracy_high"])
            )
            shown["null"] = row["accuracy_null"]
            shown["macro-F1"] = row["macro_f1"]
            shown["leaking split"] = row["leaking_accuracy"]
        if "outcome_r2" in row:
            shown["outcome R2"] = _with(row["outcome_r2"], row["outcome_interval"])
            shown["R2 null, 95th"] = row["outcome_null_upper"]
        table[row["name"]] = shown
    return Section(
        title=title,
        paragraphs=[
            "All are pooled from the same patches and go through the same steps. The null of the "
            "probe gives the wells of a plate each other's classes; that of R2 permutes the "
            "outcome within plates. A split by patches leaks, as the published one did; its "
            "accuracy is shown to tell how much."
        ],
        pictures=_probe_pictures(rows),
        table=_frame(table),
        side_by_side=True,
    )


def describe_ranks(rows: Sequence[Mapping[str, Any]]) -> Section:
    """Return the section of effective ranks, in both definitions."""
    table = {
        row["name"]: {
            "features": row["n_features"],
            "of singular values": _with(
                row["erank_singular_values"], (row["erank_low"], row["erank_high"])
            ),
            "null": row["erank_null"],
            "of eigenvalues": row["erank_covariance_eigenvalues"],
            "standardised": row["erank_standardised"],
        }
        for row in rows
    }
    return Section(
        title="Effective ranks",
        paragraphs=[
            "The exponential of the entropy of the spectrum: of the singular values, as in the "
            "published code and figures, or of the covariance's eigenvalues, as in its text. The "
            "null permutes each column. Ranks grow with the number of features: compare a rank "
            "with its null, and never between the definitions."
        ],
        table=_frame(table),
    )


def _probe_pictures(rows: Sequence[Mapping[str, Any]]) -> list[Picture]:
    measured = [row for row in rows if row.get("accuracy") is not None]
    pictures = []
    if measured:
        bars = [
            (r["name"], r["accuracy"], r["accuracy_low"], r["accuracy_high"], r["accuracy_null"])
            for r in measured
        ]
        pictures.append(
            Picture(
                "probe",
                draw_bars(bars, "accuracy on held-out wells"),
                "Classes found by a linear probe; line: 95 % interval over wells, diamond: null.",
                "Probe",
            )
        )
    if rows and "outcome_r2" in rows[0]:
        bars = [
            (r["name"], r["outcome_r2"], *r["outcome_interval"], r["outcome_null_upper"])
            for r in rows
        ]
        pictures.append(
            Picture(
                "outcome",
                draw_bars(bars, "R2 on held-out wells"),
                "Outcome by ridge regression; diamond: 95th percentile of the null.",
                "Outcome",
            )
        )
    return pictures


def page_recovery(rows: Sequence[Mapping[str, Any]], order: Sequence[str]) -> Section:
    """Return the section of planted quantities."""
    table = pd.DataFrame(rows)
    wide = table.pivot(index="quantity", columns="representation", values="spearman")
    wide = wide.loc[list(dict.fromkeys(table["quantity"])), list(order)]
    wide.loc["mean"] = wide.mean()
    wide.index.name = "rank correlation"
    return Section(
        title="Single features against planted factors",
        paragraphs=[
            "For each quantity of the simulated cells, the one feature that follows it best on "
            "training wells, and its rank correlation with the quantity on the other wells, in "
            "the direction that was chosen."
        ],
        pictures=[
            Picture(
                "recovery",
                draw_recovery(table, order),
                "Line: 95 % interval over wells; the small diamonds are the null.",
            )
        ],
        table=wide.round(2),
    )


def _spatial(result: "SaeEvaluation") -> Section:
    rows = {}
    for mask in dict.fromkeys(row["mask"] for row in result.spatial):
        both = {row["representation"]: row for row in result.spatial if row["mask"] == mask}
        shown: dict[str, Any] = {"of all places": f"{both['SAE']['share_of_places']:.0%}"}
        for name, row in both.items():
            shown[f"{name}: AUROC"] = _with(row["auroc"], (row["auroc_low"], row["auroc_high"]))
            if name != "random dictionary":
                shown[f"{name}: null"] = f"{row['null']:.2f}"
                shown[f"{name}: strongest inside"] = f"{row['top_share_inside']:.0%}"
        rows[mask] = shown
    return Section(
        title="Maps against masks",
        paragraphs=[
            "How well the activation of the best single feature tells places inside a mask from "
            "those outside, on wells that it was not chosen on. The null takes the masks of other "
            "patches. A sparse latent is silent on most of any mask, so that its AUROC stays near "
            "0.5 however well its few active places are chosen: 'strongest inside' is the share "
            "of its strongest 1 % of places that lie in the mask, to compare with the share of all "
            "places. Receptive fields are 67 to 83 px wide; 1 cannot be expected."
        ],
        table=_frame(rows),
    )


def _geometry(result: "SaeEvaluation") -> Section:
    g = result.geometry
    rows: dict[str, dict[str, Any]] = {
        "mean absolute cosine": {
            "decoder": _with(g["mean_abs_cosine"], g["interval"]),
            "random directions": _with(g["random_mean_abs_cosine"], g["random_interval"]),
        },
        "root mean square cosine": {
            "decoder": f"{g['rms_cosine']:.3g}",
            "random directions": f"{g['welch_rms_cosine']:.3g} (Welch bound)",
        },
        "largest cosine of a direction, mean": {
            "decoder": f"{g['mean_largest_cosine']:.3g}",
            "random directions": "",
        },
        "effective rank of the decoder": {
            "decoder": f"{g['effective_rank']:.3g} of {g['width']}",
            "random directions": "",
        },
    }
    if result.stability:
        s = result.stability
        for key, label in (
            ("matched_cosine_between_seeds", "matched cosine between seeds"),
            ("matched_cosine_with_model", "matched cosine of the model with other seeds"),
        ):
            if s[key] is not None:
                rows[label] = {
                    "decoder": _with(s[key]["mean"], s[key]["interval"]),
                    "random directions": f"{s['random_matched_cosine']:.3g}",
                }
    return Section(
        title="Geometry and stability of the dictionary",
        paragraphs=[
            f"{g['n_directions']} alive directions in {g['width']} dimensions cannot all be "
            "orthogonal; Welch's bound says how close they could come. Matching pairs the "
            "directions of two trainings one to one so that the cosines sum to the most."
        ],
        table=_frame(rows),
    )


def describe_similarity(rows: Sequence[Mapping[str, Any]], reference: str) -> Section:
    """Return the section of similarities with a reference."""
    table = {
        row["name"]: {
            "CKA, debiased": _with(row["debiased"], (row["debiased_low"], row["debiased_high"])),
            "null": row["null"],
            "p": row["p_value"],
            "CKA, plain": row["cka"],
        }
        for row in rows
    }
    return Section(
        title=f"Similarity with {reference} (linear CKA)",
        paragraphs=["Plain CKA grows with the number of features; read the debiased one."],
        table=_frame(table),
    )


def draw_bars(bars: Sequence[tuple[str, float, float, float, float]], label: str) -> Figure:
    """Draw a dot with its interval and its null for each name, value, low, high, null."""
    figure = Figure(figsize=(5.4, 0.36 * len(bars) + 0.9), layout="constrained")
    axis = figure.subplots()
    for place, (name, value, low, high, null) in enumerate(reversed(bars)):
        color = _COLORS.get(name, "#44608f")
        axis.plot([low, high], [place, place], color=color, linewidth=2.5)
        axis.scatter([value], [place], s=42, color=color, zorder=3)
        axis.scatter([null], [place], s=22, marker="D", color="#888888", zorder=2)
    axis.set_yticks(range(len(bars)), [bar[0] for bar in reversed(bars)])
    axis.set_xlabel(label)
    axis.grid(axis="x", color="#eeeeee")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


def draw_recovery(table: pd.DataFrame, order: Sequence[str]) -> Figure:
    """Draw the recovery of each quantity by each representation, with intervals and nulls."""
    quantities = list(dict.fromkeys(table["quantity"]))
    figure = Figure(figsize=(9.6, 0.5 * len(quantities) + 1.2), layout="constrained")
    axis = figure.subplots()
    step = 0.8 / len(order)
    for number, name in enumerate(order):
        rows = table[table["representation"] == name].set_index("quantity").loc[quantities]
        at = np.arange(len(quantities)) + (number - (len(order) - 1) / 2) * step
        color = _COLORS.get(name, "#44608f")
        axis.hlines(at, rows["spearman_low"], rows["spearman_high"], color=color, linewidth=1.5)
        axis.scatter(rows["spearman"], at, s=18, color=color, label=name, zorder=3)
        axis.scatter(rows["null"], at, s=6, marker="D", color="#bbbbbb", zorder=1)
    axis.set_yticks(range(len(quantities)), [q.replace("_", " ") for q in quantities])
    axis.invert_yaxis()
    axis.axvline(0, color="#cccccc", linewidth=1)
    axis.set_xlabel("rank correlation on held-out wells")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _with(value: float, interval: Sequence[float]) -> str:
    """Return a figure with its interval in brackets."""
    low, high = interval
    if not np.isfinite(low):
        return f"{value:.3g}"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _frame(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index").astype(object)
