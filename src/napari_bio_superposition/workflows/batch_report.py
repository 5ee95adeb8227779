"""The page of a run: key figures, plate maps of any measure, failures. No analysis."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
import pandas as pd

from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.features.wells import place_of
from napari_bio_superposition.workflows.batch_plan import BatchPlan
from napari_bio_superposition.workflows.batch_summary import BatchSummary
from napari_bio_superposition.workflows.batch_wells import MEASURES, WellResults

_MAX_VALUES: Final = 400_000
"""Wells x features that a page holds; of larger dictionaries the features that vary most."""
_NAMES: Final = {
    Keys.DEATH: "Dead share of nuclear area",
    "n_nuclei": "Nuclei",
    "accepted": "Patches that passed the quality control",
}


def write_report(plan: BatchPlan, summary: BatchSummary, wells: WellResults, path: Path) -> Path:
    """Write one self-contained page with plate maps that need neither Python nor a network."""
    maps = _describe_plates(wells)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("napari_bio_superposition").joinpath("resources/batch.html.j2")
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=plan.folder.absolute().name,
        created=plan.created,
        cards=_key_figures(plan, summary, wells),
        warnings=list(dict.fromkeys(summary.warnings)),
        failures=list(summary.failures.items()),
        not_images=list(summary.not_images.items()),
        controls=_best_controls(wells),
        measures=maps["measures"],
        shown_features=maps["shown"],
        n_features=wells.features.shape[1],
        # Inside a script nothing is escaped; "<" could end it.
        data=json.dumps(maps["data"], allow_nan=False).replace("<", "\\u003c"),
        versions=dict(summary.versions),
        models=dict(plan.models),
    )
    with replaced_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _key_figures(
    plan: BatchPlan, summary: BatchSummary, wells: WellResults
) -> list[tuple[str, str]]:
    nuclei = sum(image.get("n_nuclei") or 0 for image in summary.images)
    accepted = sum(image["patches"]["accepted"] for image in summary.images)
    total = sum(image["patches"]["total"] for image in summary.images)
    plates = wells.wells[Keys.PLATE].nunique() if len(wells.wells) else 0
    return [
        (f"{len(summary.images)} of {len(plan.units)}", "fields done"),
        (str(len(summary.failures)), "failed"),
        (str(plates), "plates"),
        (str(len(wells.wells)), "wells"),
        (f"{nuclei:,}", "nuclei"),
        (f"{accepted:,} of {total:,}", "patches kept"),
    ]


def _describe_plates(wells: WellResults) -> dict[str, Any]:
    """Return what the page's script draws: plates, wells with their places, values by measure."""
    table = wells.wells
    if table.empty:
        return {"measures": [], "shown": 0, "data": {"plates": [], "wells": [], "values": {}}}
    chosen = _choose_features(wells.features)
    values = {name: _as_list(table[name]) for name in MEASURES}
    values |= {name: _as_list(wells.features[name]) for name in chosen}
    described = [
        {
            "name": str(group),
            "plate": str(row[Keys.PLATE]),
            "place": place_of(str(row[Keys.WELL])),
            "label": ", ".join(
                str(row[key]) for key in (Keys.LINE, Keys.GENOTYPE, Keys.TREATMENT) if row[key]
            ),
        }
        for group, row in table.iterrows()
    ]
    return {
        "measures": [(name, _NAMES.get(name, name)) for name in values],
        "shown": len(chosen),
        "data": {
            "plates": sorted({well["plate"] for well in described}),
            "wells": described,
            "values": values,
        },
    }


def _choose_features(features: pd.DataFrame) -> list[str]:
    """Return the features that vary most between wells, relative to their mean; all if they fit."""
    if not features.shape[1]:
        return []
    values = features.to_numpy(float)
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return []
    spread = known.std(axis=0) / np.maximum(known.mean(axis=0), 1e-12)
    n_shown = min(features.shape[1], max(1, _MAX_VALUES // len(features)))
    order = np.argsort(-spread, kind="stable")[:n_shown]
    return [str(features.columns[k]) for k in order]


def _best_controls(wells: WellResults) -> list[dict[str, str]]:
    """Return the measures that tell the controls apart best, for a short table."""
    if wells.controls is None:
        return []
    known = wells.controls.dropna(subset=["ssmd"])
    known = known[np.isfinite(known["ssmd"])]
    always = known["measure"].isin(MEASURES)
    top = known[~always].reindex(known[~always]["ssmd"].abs().sort_values(ascending=False).index)
    shown = pd.concat([known[always], top.head(10)]).to_dict("records")
    return [{str(name): _as_text(value) for name, value in row.items()} for row in shown]


def _as_text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _as_list(column: "pd.Series[Any]") -> list[float | None]:
    """Return values with five digits; ``None`` where there is none."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in column.astype(float)]
