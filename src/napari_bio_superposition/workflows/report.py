"""One self-contained HTML page from sections of text, figures and tables. No analysis."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.core.files import replaced_file

_DPI = 130


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the report; its file name is used for the PNG beside the report."""

    name: str
    figure: Figure
    caption: str
    title: str = ""

    def as_png(self) -> bytes:
        """Return the figure as PNG bytes."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=_DPI)
        return stream.getvalue()


@dataclass(frozen=True, eq=False)
class Section:
    """A titled part of the report."""

    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    table: pd.DataFrame | None = None
    """Shown with its index as the first column; numbers with three significant digits."""
    notes: Sequence[str] = ()
    side_by_side: bool = False


@dataclass(frozen=True, eq=False)
class Report:
    """Everything on the page."""

    title: str
    lead: str
    cards: Sequence[tuple[str, str]]
    """Key figures: value and what it counts."""
    sections: Sequence[Section]
    notices: Sequence[str] = ()
    """What a reader must know before believing anything."""
    details: Mapping[str, str] = field(default_factory=dict)
    """Settings and versions, folded away."""


def write_report(report: Report, out: Path) -> Path:
    """Write ``report.html``, with all figures inside it, and the figures as PNG files beside it.

    Returns
    -------
    Path
        The page; it needs no other file and no network.
    """
    sections = [_render_section(section, out / "figures") for section in report.sections]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("napari_bio_superposition").joinpath("resources/report.html.j2")
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        title=report.title,
        lead=report.lead,
        cards=report.cards,
        notices=report.notices,
        sections=sections,
        details=list(report.details.items()),
    )
    path = out / "report.html"
    with replaced_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _render_section(section: Section, folder: Path) -> dict[str, object]:
    header: list[str] = []
    rows: list[list[str]] = []
    if section.table is not None:
        header = [str(section.table.index.name or ""), *map(str, section.table.columns)]
        rows = [
            [str(name), *(_format(value) for value in row)]
            for name, row in zip(section.table.index, section.table.to_numpy(object), strict=True)
        ]
    return {
        "title": section.title,
        "paragraphs": section.paragraphs,
        "pictures": [_render_picture(picture, folder) for picture in section.pictures],
        "header": header,
        "rows": rows,
        "notes": section.notes,
        "side_by_side": section.side_by_side,
    }


def _render_picture(picture: Picture, folder: Path) -> dict[str, object]:
    png = picture.as_png()
    with replaced_file(folder / f"{picture.name}.png") as part:
        part.write_bytes(png)
    return {
        "title": picture.title,
        "caption": picture.caption,
        "width": round(96 * picture.figure.get_size_inches()[0]),
        "png": base64.b64encode(png).decode("ascii"),
    }


def _format(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return "–"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
