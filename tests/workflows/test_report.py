"""The report is one page that needs nothing else, and cannot be broken by what it shows."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from napari_bio_superposition.workflows.report import Picture, Report, Section, write_report


def _report() -> Report:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    table = pd.DataFrame({"AUROC": [0.98765, float("nan")]}, index=["latent_1", "<b>latent</b>"])
    section = Section(
        "Features",
        paragraphs=["A <script> that must not run"],
        pictures=[Picture("map", figure, "A map")],
        table=table,
        notes=["3 wells"],
    )
    return Report("Demo", "Lead", [("4", "images")], [section], ["Synthetic"], {"seed": "0"})


def test_the_page_holds_its_figures_and_the_files_lie_beside_it(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path).read_text(encoding="utf-8")
    assert "data:image/png;base64,iVBOR" in page
    assert (tmp_path / "figures" / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "http" not in page.replace("http-equiv", "")


def test_values_are_escaped_and_rounded(tmp_path: Path) -> None:
    page = write_report(_report(), tmp_path).read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;b&gt;latent&lt;/b&gt;" in page
    assert "<td>0.988</td>" in page
    assert "<td>–</td>" in page
