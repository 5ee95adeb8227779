"""The dock GW-map in a real napari window, with real clicks, from count files to painted layers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtWidgets import QFileDialog
from scipy import sparse

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.workflows.couple_config import CoupleConfig

pytestmark = pytest.mark.gui

_PLUGIN = "napari-bio-superposition"
_TIMEOUT_MS = 240_000
_LEFT = Qt.MouseButton.LeftButton
_N = 96
_N_GENES = 60
_OPEN_AND_LIST = """
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-bio-superposition", "GW-map")
print(sorted({"torch", "scanpy", "anndata", "matplotlib.figure"} & set(sys.modules)))
viewer.close()
"""


def _states(rng: np.random.Generator, n: int) -> np.ndarray:
    along = rng.beta(1.2, 2.2, n)
    across = (rng.random(n) - 0.5) * (1 - along)
    return np.c_[np.cos(2 * along) * (2 + across), np.sin(2 * along) * (2 + across), along**2]


def make_patches(image_id: str) -> AnnData:
    """Return patches of 16 images of 3 x 2 patches in 8 wells; the first image is the open one."""
    rng = np.random.default_rng(1)
    states = _states(rng, _N)
    number = np.arange(_N) // 6
    images = [image_id, *(f"p1/W{i}/1" for i in range(1, 16))]
    obs = pd.DataFrame(
        {
            Keys.IMAGE: [images[i] for i in number],
            Keys.PLATE: "p1",
            Keys.GROUP: [f"p1/W{i // 2}" for i in number],
            Keys.GENOTYPE: np.where(number // 2 % 2, "GBA", "Control"),
            Keys.Y: np.arange(_N) % 6 // 2 * 128,
            Keys.X: np.arange(_N) % 2 * 128,
        },
        index=[f"{images[i]}/{row % 6}" for row, i in enumerate(number)],
    )
    features = np.maximum(states @ rng.normal(size=(3, 24)), 0).astype(np.float32)
    table = AnnData(features, obs=obs)
    table.obsm[Keys.PCA] = states
    return table


def write_counts(path: Path) -> Path:
    """Write counts of cells of the same kind; a third of the genes follow their states."""
    rng = np.random.default_rng(2)
    states = _states(rng, _N)
    rate = rng.normal(1.5, 0.4, _N_GENES)[None] + np.zeros((_N, 1))
    rate[:, :20] += (states - states.mean(axis=0)) @ rng.normal(0, 1.2, (3, 20))
    obs = pd.DataFrame(
        {"genotype": np.where(np.arange(_N) % 2, "GBA", "Control")},
        index=[f"cell{i}" for i in range(_N)],
    )
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(_N_GENES)])
    counts = sparse.csr_matrix(rng.poisson(np.exp(rate)).astype(np.float32))
    AnnData(counts, obs=obs, var=var).write_h5ad(path)
    return path


@dataclass
class Bench:
    """A napari window with the dock GW-map, and hands that click."""

    viewer: Any
    widget: Any
    qtbot: QtBot

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, _LEFT)

    def do(self, action: Callable[[], None]) -> None:
        """Start a job and wait for its end."""
        with self.qtbot.waitSignal(self.widget.runner.ended, timeout=_TIMEOUT_MS):
            action()

    def run(self, tab: int) -> str:
        """Click a tab, then Run; return what the dock says."""
        self.show(tab)
        self.do(lambda: self.click(self.widget.run_bar.run_button))
        return str(self.widget.run_bar.message.text)

    def show(self, tab: int) -> None:
        bar = self.widget.tabs.tabBar()
        self.qtbot.mouseClick(bar, _LEFT, pos=bar.tabRect(tab).center())
        assert self.widget.tabs.currentIndex() == tab

    def place_of(self, view: Any, row: int) -> QPoint:
        view.render_now()
        place = view.scene.place_of(row)
        assert place is not None
        return QPointF(*place).toPoint()

    def set_up(self, counts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Choose files by clicking, and settings that a test can wait for."""
        monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(counts)], ""))
        self.click(self.widget.rna.files_button)
        forms = self.widget.rna.forms
        forms["quality"].editor("min_genes").show(5)
        forms["latent"].editor("n_latent").show(5)
        forms["latent"].editor("n_top_genes").show(_N_GENES)
        self.widget.couple.form.show_config(
            CoupleConfig(
                metric="euclidean",
                neighbours=(10,),
                epsilons=(5e-3,),
                n_starts=6,
                n_nulls=4,
                n_null_cells=50,
                n_resamples=0,
                n_landmarks=60,
                device="cpu",
            )
        )
        genes = self.widget.genes.form
        for name, value in (("n_permutations", 20), ("control_permutations", 10)):
            genes.editor(name).show(value)
        genes.editor("min_patches").show(20)
        genes.editor("n_components").show(8)
        genes.editor("device").show("cpu")
        genes.editor("alternatives").show(False)  # a minute of couplings, tested elsewhere
        for name, box in self.widget.genes.control_boxes.items():
            box.setChecked(name == "split_cells")


@pytest.fixture
def bench(
    make_napari_viewer_proxy: Callable[..., Any], plugin: None, qtbot: QtBot
) -> Iterator[Bench]:
    """Open napari at the size of a small laptop screen, with GW-map in its dock."""
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, "GW-map")
    qtbot.waitExposed(widget)
    yield Bench(viewer, widget, qtbot)
    widget.runner.shut_down()


def _open_image(bench: Bench, image: MultichannelImage, model_folder: Path) -> None:
    """Analyse an image as the dock Analyse does, and take its result into the study."""
    from napari_bio_superposition.core.progress import run
    from napari_bio_superposition.segmentation.config import SegmentationConfig
    from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
    from napari_bio_superposition.workflows.analyze import analyze_image
    from napari_bio_superposition.workflows.loading import load_models

    config = AnalyzeConfig(
        model=str(model_folder),
        device="cpu",
        segmentation=SegmentationConfig(method="watershed"),
    )
    models = run(load_models(config))
    bench.widget.study.add_analysis(run(analyze_image(image, config, models=models)), models)


def test_from_counts_to_painted_genes(
    bench: Bench,
    small_field: MultichannelImage,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widget, study = bench.widget, bench.widget.study
    _open_image(bench, small_field, tiny_model_folder)
    study.set_table(make_patches(small_field.id))
    bench.set_up(write_counts(tmp_path / "counts.h5ad"), monkeypatch)

    assert "96 of 96 cells kept" in bench.run(0)
    assert widget.rna.clusters.isVisible()
    assert len(widget.rna.view.scene) == _N
    _choose_a_cluster(bench)

    assert "Verdict:" in bench.run(1)
    verdict = widget.state.coupling.verdict
    assert widget.couple.verdict_label.text() == f"Verdict: {verdict}"
    assert widget.couple.class_box.currentText() == Keys.GENOTYPE
    assert widget.couple.nulls.isVisible()
    assert len(widget.couple.nulls.losses) == 3
    assert (tmp_path / "gw-map" / "coupling" / "coupling.json").exists()
    _light_up_both_ways(bench)

    assert "60 genes ranked" in bench.run(2)
    _paint_by_clicks(bench, small_field.id)
    _use_the_landscape(bench, tmp_path, monkeypatch)


def _choose_a_cluster(bench: Bench) -> None:
    widget = bench.widget
    bench.click(widget.rna.tool_buttons["cluster"])
    bench.qtbot.mouseClick(widget.rna.view, _LEFT, pos=bench.place_of(widget.rna.view, 0))
    chosen = widget.rna.clusters.chosen
    assert len(chosen) == 1
    column = widget.state.rna.table.obs["leiden"].astype(str)
    assert widget.state.cell_mask.tolist() == column.isin(chosen).tolist()
    place = bench.place_of(widget.rna.view, int(np.flatnonzero(column == chosen[0])[-1]))
    bench.qtbot.mouseClick(widget.rna.view, _LEFT, pos=place)
    assert widget.rna.clusters.chosen == ()
    assert not len(widget.state.cells)
    bench.click(widget.rna.tool_buttons["lasso"])


def _light_up_both_ways(bench: Bench) -> None:
    widget, study = bench.widget, bench.widget.study
    plan = widget.state.coupling.plan
    study.selection.select([3], source="image")
    chosen = widget.state.cells.rows
    assert 0 < len(chosen) < _N
    assert plan[3].toarray().ravel()[chosen].sum() >= 0.5 * plan[3].sum()
    bench.show(0)
    assert "1 patches chosen" in widget.rna.link_label.text()
    bench.qtbot.mouseClick(widget.rna.view, _LEFT, pos=bench.place_of(widget.rna.view, 7))
    (cell,) = widget.state.cells.rows
    column = plan[:, [cell]].toarray().ravel()
    assert column[study.selection.rows].sum() >= 0.5 * column.sum()
    assert "1 cells chosen" in widget.rna.link_label.text()


def _paint_by_clicks(bench: Bench, image_id: str) -> None:
    widget, layers = bench.widget, bench.viewer.layers
    table = widget.genes.table
    assert table.model.rowCount() == _N_GENES
    assert widget.genes.class_box.count() == 2
    n_before = len(layers)
    cell = table.view.visualRect(table.model.index(1, 0)).center()
    bench.do(lambda: bench.qtbot.mouseClick(table.view.viewport(), _LEFT, pos=cell))
    gene = widget.paint_bar.genes[0]
    layer = widget.painting.layer("A", image_id)
    assert len(layers) == n_before + 1
    assert layer.name.startswith(f"{gene} · ")
    assert layer.data.shape == (3, 2, 4)
    image = widget.study.images[image_id]
    assert tuple(layer.scale) == pytest.approx((128 * 0.6, 128 * 0.6))
    middle = image.geometry.to_world((63.5, 63.5))
    assert np.asarray(layer.translate) == pytest.approx(middle)
    assert widget.paint_bar.scale.isVisible()
    banner = widget.genes.banner.text
    assert bool(banner) == (widget.state.coupling.verdict != "cell-level")
    assert bench.viewer.canvas.overlays.text.visible == bool(banner)

    widget.paint_bar.uncertainty_box.setCurrentIndex(1)
    widget.paint_bar.genes_line.setText("GENE1, GENE2")
    bench.do(lambda: bench.qtbot.keyClick(widget.paint_bar.genes_line, Qt.Key.Key_Return))
    assert len(layers) == n_before + 2
    assert widget.painting.layer("A", image_id, "spread") is not None
    values = widget.painting.layer("A", image_id)
    assert values.name.startswith("module of 2 genes")
    widget.paint_bar.genes_line.setText("GENE3")
    bench.do(lambda: bench.click(widget.paint_bar.paint_button))
    assert widget.painting.layer("A", image_id) is values  # the slot's layer is used again
    widget.paint_bar.genes_line.setText("NOSUCH")
    bench.do(lambda: bench.click(widget.paint_bar.paint_button))
    assert "not among the 60 genes" in widget.run_bar.message.text
    layers.remove(values)
    bench.click(widget.paint_bar.clear_button)
    assert len(layers) == n_before
    assert not bench.viewer.canvas.overlays.text.visible


def _use_the_landscape(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widget = bench.widget
    bench.show(3)
    view = widget.landscape.view
    assert view.axis_names == ("z in Control", "z in GBA")
    bench.do(lambda: bench.qtbot.mouseClick(view, _LEFT, pos=bench.place_of(view, 5)))
    assert widget.paint_bar.genes[0] in widget.landscape.plane.index
    for name in ("plane.csv", "plane.svg", "plane.png"):
        path = folder / name
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        bench.click(widget.landscape.export_button)
        assert path.stat().st_size > 0
    assert len(pd.read_csv(folder / "plane.csv")) == _N_GENES
    assert ">z in Control<" in (folder / "plane.svg").read_text()
    _use_the_charts(bench, folder, monkeypatch)


def _use_the_charts(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Click a cluster of the flow and a gene of a network, and save both."""
    widget, panel = bench.widget, bench.widget.landscape
    panel.chart_box.setCurrentText("flow")
    clusters = panel.plane[panel.levels[-1]].astype(str)
    name = clusters.iloc[0]
    place = panel.flow.place_of(len(panel.levels) - 1, name).toPoint()
    bench.qtbot.mouseClick(panel.flow, _LEFT, pos=place)
    assert set(widget.paint_bar.genes) == set(clusters.index[clusters == name])
    network = next(text for text in _texts(panel.chart_box) if text.startswith("network of"))
    for text, endings in (("flow", ("svg", "pdf")), (network, ("png",))):
        panel.chart_box.setCurrentText(text)
        for ending in endings:
            path = folder / f"chart.{ending}"
            monkeypatch.setattr(
                QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), "")
            )
            bench.click(panel.export_button)
            assert path.stat().st_size > 1000
    gene = widget.state.genes.networks[panel.chart_box.currentData()][0]["gene"].iloc[0]
    place = panel.network.place_of(gene).toPoint()
    bench.do(lambda: bench.qtbot.mouseClick(panel.network, _LEFT, pos=place))
    assert len(widget.paint_bar.genes) == 1
    panel.chart_box.setCurrentText("plane")


def _texts(box) -> list[str]:
    return [box.itemText(number) for number in range(box.count())]


def test_cancel_leaves_nothing_and_clusters_can_be_kept(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = bench.widget
    bench.set_up(write_counts(tmp_path / "counts.h5ad"), monkeypatch)
    bench.click(widget.run_bar.run_button)
    with bench.qtbot.waitSignal(widget.runner.ended, timeout=_TIMEOUT_MS):
        bench.click(widget.run_bar.cancel_button)
    assert "Cancelled" in widget.run_bar.message.text
    assert widget.run_bar.state == "idle"
    assert widget.state.rna is None
    assert not (tmp_path / "gw-map" / "rna").exists()
    assert "96 of 96 cells kept" in bench.run(0)
    first = widget.rna.clusters.names[0]
    size = int((widget.state.rna.table.obs["leiden"].astype(str) == first).sum())
    widget.rna.clusters.toggle(first)
    bench.do(lambda: bench.click(widget.rna.keep_button))
    assert widget.state.rna.table.n_obs == size < _N
    assert widget.rna.clusters.names == [first]


@pytest.mark.parametrize(
    ("tab", "sentence"),
    [
        (0, "Choose count matrices first"),
        (1, "There are no patches."),
        (2, "There is no coupling."),
    ],
)
def test_what_is_missing_is_said_at_once(bench: Bench, tab: int, sentence: str) -> None:
    bench.show(tab)
    bench.click(bench.widget.run_bar.run_button)
    assert sentence in bench.widget.run_bar.message.text
    assert bench.widget.run_bar.message.tone == "error"
    assert bench.widget.run_bar.state == "idle"


def test_opening_imports_neither_torch_nor_scanpy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LIST], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
