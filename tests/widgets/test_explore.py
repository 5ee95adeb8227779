"""The dock Explore in a real napari window, with real clicks, without any image."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, QRect, Qt
from qtpy.QtWidgets import QFileDialog

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.widgets.explore_controller import DENSITY, PLAIN
from napari_bio_superposition.widgets.explore_embedding import FEATURE

pytestmark = pytest.mark.gui

_PLUGIN = "napari-bio-superposition"
_TIMEOUT_MS = 120_000
_LEFT = Qt.MouseButton.LeftButton
_N_ROWS = 160
_OPEN_AND_LIST = """
import sys
import napari
viewer = napari.Viewer(show=False)
viewer.window.add_plugin_dock_widget("napari-bio-superposition", "Explore")
print(sorted({"torch", "scanpy", "anndata", "umap", "matplotlib.figure"} & set(sys.modules)))
viewer.close()
"""


def _make_table(*, foreign: bool = False) -> AnnData:
    """Return patches along a line: features, death and genotype follow it."""
    rng = np.random.default_rng(0)
    place = np.linspace(0, 1, _N_ROWS)
    waves = np.stack([np.sin(3 * place + k / 3) for k in range(12)], axis=1)
    values = np.maximum(0, waves + rng.normal(0, 0.1, waves.shape)).astype(np.float32)
    genotype = np.where(np.arange(_N_ROWS) % 2 == 0, "Control", "GBA")
    obs = pd.DataFrame(
        {
            "celltype" if foreign else Keys.GENOTYPE: pd.Categorical(genotype),
            "score": place,
        },
        index=[f"p/{i}" for i in range(_N_ROWS)],
    )
    names = [f"gene{k}" if foreign else f"latent_{k:05d}" for k in range(12)]
    adata = AnnData(values, obs=obs, var=pd.DataFrame(index=names))
    adata.obsm[Keys.UMAP] = np.stack([place, place**2], axis=1).astype(np.float32)
    if not foreign:
        adata.obs[Keys.DEATH] = 0.5 - 0.4 * place + rng.normal(0, 0.02, _N_ROWS)
        adata.obs[Keys.GROUP] = pd.Categorical([f"W{i % 8}" for i in range(_N_ROWS)])
        adata.obs[Keys.IMAGE] = pd.Categorical(["plate/A01/1"] * _N_ROWS)
        adata.var[Keys.FIRING_RATE] = 0.5
    return adata


@dataclass
class Bench:
    """A napari window with the dock Explore, and hands that click."""

    viewer: Any
    widget: Any
    qtbot: QtBot

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button, _LEFT)

    def do(self, action: Callable[[], None]) -> None:
        """Start a job and wait for its end."""
        with self.qtbot.waitSignal(self.widget.runner.ended, timeout=_TIMEOUT_MS):
            action()
        self.settle()

    def settle(self) -> None:
        self.qtbot.waitUntil(lambda: not self.widget._refresh_soon.isActive())

    def show(self, panel: Any) -> None:
        """Click the tab of a panel."""
        tabs = self.widget.tabs
        bar = tabs.tabBar()
        place = bar.tabRect(tabs.indexOf(panel)).center()
        self.qtbot.mouseClick(bar, _LEFT, pos=place)
        assert tabs.currentWidget() is panel

    def choose(self, box: Any, text: str) -> None:
        """Choose an entry of a list by keys."""
        box.setFocus()
        target = box.findText(text)
        assert target >= 0, [box.itemText(i) for i in range(box.count())]
        while box.currentIndex() != target:
            step = Qt.Key.Key_Down if box.currentIndex() < target else Qt.Key.Key_Up
            self.qtbot.keyClick(box, step)

    def open(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Click Open table and choose a file."""
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        self.do(lambda: self.click(self.widget.embedding.open_button))

    def place_of(self, view: Any, row: int) -> tuple[float, float]:
        """Return where a point is painted, on the canvas as large as it is now."""
        view.render_now()
        place = view.scene.place_of(row)
        assert place is not None
        return float(place[0]), float(place[1])

    def hover(self, panel: Any, row: int | None) -> None:
        """Bring the mouse over a point until its card shows, or beside all until none does."""
        polls = itertools.count()

        def is_told() -> bool:
            if panel.card.isVisible() == (row is not None):
                return True
            if next(polls) % 50 == 0:  # again where the events of the mouse were lost under load
                self.qtbot.mouseMove(panel.view, QPoint(3, 3))  # where it is already tells nothing
                if row is not None:  # found anew: the canvas may have got another size
                    place = QPointF(*self.place_of(panel.view, row)).toPoint()
                    self.qtbot.mouseMove(panel.view, place)
            return False

        self.qtbot.waitUntil(is_told, timeout=_TIMEOUT_MS)

    def drag_around(self, view: Any, rows: list[int]) -> None:
        """Draw a lasso, or with that tool a rectangle, around points."""
        places = np.array([self.place_of(view, row) for row in rows])
        (left, top), (right, bottom) = places.min(axis=0) - 5, places.max(axis=0) + 5
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        corners = corners[::2] if view.tool == "rectangle" else corners
        points = [QPointF(x, y).toPoint() for x, y in corners]
        self.qtbot.mousePress(view, _LEFT, pos=points[0])
        for point in points[1:]:
            self.qtbot.mouseMove(view, point)
        self.qtbot.mouseRelease(view, _LEFT, pos=points[-1])


@pytest.fixture
def bench(
    make_napari_viewer_proxy: Callable[..., Any], plugin: None, qtbot: QtBot
) -> Iterator[Bench]:
    """Open napari at the size of a small laptop screen, with the dock."""
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, "Explore")
    qtbot.waitExposed(widget)
    yield Bench(viewer, widget, qtbot)
    widget.runner.shut_down()


@pytest.fixture
def opened(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the window with a table of ours."""
    path = tmp_path / "study.h5ad"
    _make_table().write_h5ad(path)
    bench.open(path, monkeypatch)
    bench.widget.embedding.view.grab()
    return bench


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LIST],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout.strip().splitlines()[-1] == "[]"


def test_a_table_of_another_program_opens_with_its_layout_and_columns(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "foreign.zarr"
    with pytest.warns(UserWarning, match="zarr"):
        _make_table(foreign=True).write_zarr(path)
    bench.open(path / ".zgroup", monkeypatch)
    panel = bench.widget.embedding
    assert bench.widget.run_bar.message.tone == "good", bench.widget.run_bar.message.text
    assert len(panel.view.scene) == _N_ROWS
    assert panel.layout_box.currentText() == "UMAP"
    for colour, n_entries in (("celltype", 2), ("score", 0), (PLAIN, 0), (DENSITY, 0)):
        bench.choose(panel.colour_box, colour)
        colouring = panel.view.scene.colouring
        assert len(colouring.entries) == n_entries
        assert (colouring.limits is not None) == (colour == "score")
    bench.choose(panel.colour_box, FEATURE)
    bench.qtbot.keyClicks(panel.feature_line, "gene7")
    bench.qtbot.keyClick(panel.feature_line, Qt.Key.Key_Return)
    assert panel.view.scene.colouring.title == "gene7"
    bench.widget.show_in_image(3)
    assert "from which image" in bench.widget.run_bar.message.text


def _set_quickly(widget: Any) -> None:
    """Set few draws, and no PHATE, by the form."""
    compute = widget.compute
    compute.forms["embedding"].editor("phate").show("never")
    compute.forms["embedding"].editor("umap").show(False)
    for name in ("n_bootstraps", "n_permutations", "n_curves"):
        compute.forms["trend"].editor(name).show(8)


def test_computing_fills_all_tabs_and_colours_never_compute(
    opened: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = opened.widget
    opened.show(widget.compute)
    _set_quickly(widget)
    opened.do(lambda: opened.click(widget.run_bar.run_button))
    assert widget.run_bar.message.tone == "good", widget.run_bar.message.text
    assert widget.tabs.currentWidget() is widget.embedding
    table = widget.study.table
    assert {Keys.PCA, Keys.DIFFMAP, Keys.UMAP} <= set(table.obsm)
    pseudotime = table.obs[Keys.PSEUDOTIME]
    assert abs(np.corrcoef(pseudotime.rank(), table.obs["score"])[0, 1]) > 0.8

    def compute(*_: Any) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr("napari_bio_superposition.workflows.embed.embed_table", compute)
    for name in ("PCA", "diffusion map", "UMAP"):
        opened.choose(widget.embedding.layout_box, name)
        for colour in ("leiden", Keys.PSEUDOTIME):
            opened.choose(widget.embedding.colour_box, colour)
    assert not widget.runner.running
    _check_trajectory(opened)
    _check_graph(opened)
    _check_dynamics(opened)
    _check_figures(opened, tmp_path, monkeypatch)


def _check_trajectory(bench: Bench) -> None:
    panel = bench.widget.trajectory
    bench.show(panel)
    assert panel.group_box.currentText() == "GBA"
    assert panel.outcome_box.currentText() == Keys.DEATH
    assert panel.curve is not None
    assert "Spearman" in panel.summary.text()
    assert len(panel.stage_edges) == 2
    drawn = np.isfinite(panel.points()).all(axis=1)
    is_gba = (bench.widget.study.table.obs[Keys.GENOTYPE] == "GBA").to_numpy()
    np.testing.assert_array_equal(drawn, is_gba)
    rows = np.flatnonzero(drawn)[:5].tolist()
    bench.hover(panel, rows[0])
    assert f"{Keys.DEATH}: " in panel.card.text.text()
    bench.drag_around(panel.view, rows)
    assert set(rows) <= set(bench.widget.study.selection.rows)
    bench.choose(panel.outcome_box, "score")
    assert panel.curve is None  # the result is about another column
    bench.choose(panel.outcome_box, Keys.DEATH)
    bench.choose(panel.stages_box, "none")
    assert panel.stage_edges == []
    bench.choose(panel.stages_box, "terciles")


def _check_graph(bench: Bench) -> None:
    panel = bench.widget.graph
    bench.show(panel)
    graph = panel.view.graph
    assert graph is not None
    bench.qtbot.mouseClick(panel.view, _LEFT, pos=panel.view.place_of(0).toPoint())
    rows = bench.widget.study.selection.rows
    leiden = bench.widget.study.table.obs[Keys.LEIDEN].astype(str).iloc[rows]
    assert set(leiden) == {graph.names[0]}
    assert len(rows) == graph.sizes[0]


def _check_dynamics(bench: Bench) -> None:
    panel = bench.widget.dynamics
    bench.show(panel)
    dynamics = panel.dynamics
    assert dynamics is not None
    area = panel.view.map_area
    y = area.top() + (2 + 0.5) * area.height() / len(dynamics.features)
    bench.qtbot.mouseClick(panel.view, _LEFT, pos=QPoint(100, round(y)))
    assert dynamics.features[2] in panel.feature_label.text()
    assert bench.widget.embedding.view.scene.colouring.title == dynamics.features[2]
    _check_trend(bench, dynamics.features[2])


def _check_trend(bench: Bench, feature: str) -> None:
    panel = bench.widget.trajectory
    bench.do(lambda: bench.click(bench.widget.dynamics.trend_button))
    assert bench.widget.tabs.currentWidget() is panel
    assert panel.outcome == feature
    table = bench.widget.study.table
    points = panel.points()
    drawn = np.isfinite(points).all(axis=1)
    np.testing.assert_allclose(points[drawn, 1], table[drawn, feature].X[:, 0])
    fitted = np.interp(points[drawn, 0], panel.curve.x, panel.curve.y)
    assert np.corrcoef(fitted, points[drawn, 1])[0, 1] > 0.5
    assert feature in panel.summary.text()
    bench.choose(panel.outcome_box, Keys.DEATH)
    assert "Spearman" in panel.summary.text()


def _check_figures(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    widget = bench.widget
    for panel, word in (
        (widget.embedding, "UMAP 1"), (widget.trajectory, "pseudotime"),
        (widget.graph, "0"), (widget.dynamics, "standard deviations"),
    ):  # fmt: skip
        bench.show(panel)
        for ending in ("svg", "pdf", "png"):
            path = folder / f"figure.{ending}"
            path.unlink(missing_ok=True)
            monkeypatch.setattr(
                QFileDialog, "getSaveFileName", lambda *_, name=str(path): (name, "")
            )
            bench.click(panel.export_button)
            assert widget.run_bar.message.tone == "good", widget.run_bar.message.text
            content = path.read_bytes()
            if ending == "svg":
                assert f">{word}</text>" in content.decode()
            elif ending == "pdf":
                assert b"/Type0" in content  # TrueType, not outlines
            assert len(content) > 1000
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(folder / "a.doc"), ""))
    bench.click(widget.embedding.export_button)
    assert widget.run_bar.message.tone == "error"
    assert ".pdf" in widget.run_bar.message.text


def test_an_empty_dock_fits_a_small_screen_and_says_what_to_do(bench: Bench) -> None:
    _check_sight(bench)
    _check_hints(bench)


def _check_sight(bench: Bench) -> None:
    window = bench.widget.window()
    inside = QRect(0, 0, window.width(), window.height())
    for index in range(bench.widget.tabs.count()):
        bench.show(bench.widget.tabs.widget(index))
        for button in (bench.widget.run_bar.run_button, bench.widget.run_bar.cancel_button):
            place = QRect(button.mapTo(window, QPoint(0, 0)), button.size())
            assert button.isVisible()
            assert inside.contains(place)
        assert bench.widget.width() <= 420


def _check_hints(bench: Bench) -> None:
    widget = bench.widget
    assert "open a table" in widget.embedding.view.hint
    assert "Compute" in widget.trajectory.view.hint
    assert "Compute" in widget.graph.view.hint
    assert "Compute" in widget.dynamics.view.hint
    bench.click(widget.run_bar.run_button)
    bench.qtbot.waitUntil(lambda: widget.run_bar.message.tone == "error")
    assert "no table" in widget.run_bar.message.text


def test_choosing_moving_and_looking_in_the_plot(opened: Bench) -> None:
    _check_lasso(opened)
    opened.show(opened.widget.embedding)
    _check_view(opened)
    opened.click(opened.widget.embedding.tool_buttons["lasso"])
    _check_card(opened)


def _check_lasso(opened: Bench) -> None:
    widget, selection = opened.widget, opened.widget.study.selection
    view = widget.embedding.view
    opened.drag_around(view, [0, 20])
    first = selection.rows.tolist()
    assert {0, 10, 20} <= set(first)
    assert 100 not in first
    opened.qtbot.keyClick(view, Qt.Key.Key_Escape)
    opened.click(widget.embedding.tool_buttons["rectangle"])
    opened.drag_around(view, [100, 120])
    assert 110 in selection.rows
    assert 10 not in selection.rows
    opened.click(widget.embedding.undo_button)
    assert selection.rows.tolist() == first
    opened.click(widget.embedding.redo_button)
    assert 110 in selection.rows
    opened.show(widget.groups)
    opened.click(widget.groups.clear_button)
    assert len(selection) == 0
    assert not widget.groups.save_button.isEnabled()


def _check_view(opened: Bench) -> None:
    panel = opened.widget.embedding
    opened.click(panel.tool_buttons["pan"])
    before = np.array([opened.place_of(panel.view, row) for row in (0, 159)])
    opened.drag_around(panel.view, [0, 50])
    moved = np.array([opened.place_of(panel.view, row) for row in (0, 159)])
    assert abs(moved - before).max() > 5
    assert len(opened.widget.study.selection) == 0
    opened.click(panel.fit_button)
    back = np.array([opened.place_of(panel.view, row) for row in (0, 159)])
    np.testing.assert_allclose(back, before, atol=1)
    panel.size_box.setFocus()
    opened.qtbot.keyClick(panel.size_box, Qt.Key.Key_Up)
    assert panel.view.scene.diameter == 4


def _check_card(opened: Bench) -> None:
    panel = opened.widget.embedding
    opened.choose(panel.colour_box, "score")
    opened.hover(panel, 80)
    assert "p/" in panel.card.text.text()
    assert "score: 0.5" in panel.card.text.text()
    assert panel.view.rect().contains(panel.card.geometry())
    opened.hover(panel, None)


def test_groups_are_named_kept_compared_saved_and_removed(
    opened: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_groups(opened)
    opened.widget.study.selection.clear()
    _check_comparing_nothing(opened)
    opened.show(opened.widget.embedding)
    _check_saving(opened, tmp_path, monkeypatch)


def _check_groups(opened: Bench) -> None:
    widget, groups = opened.widget, opened.widget.groups
    place = opened.place_of(widget.embedding.view, 0)
    viewport = widget.embedding.view.scene.viewport.zoomed(1.5, *place)
    widget.embedding.view.scene.viewport = viewport
    opened.drag_around(widget.embedding.view, [0, 12])
    rows = widget.study.selection.rows.tolist()
    opened.show(groups)
    opened.qtbot.keyClicks(groups.name_line, "start")
    opened.click(groups.save_button)
    opened.settle()
    assert np.flatnonzero(widget.study.table.obs["group_start"]).tolist() == rows
    assert (
        widget.embedding.view.scene.viewport.centre == viewport.centre
    )  # a new column moves nothing
    assert widget.embedding.colour_box.findText("group_start") >= 0
    opened.click(groups.clear_button)
    assert groups.first_box.currentText() == "start"
    opened.click(groups.select_button)
    assert widget.study.selection.rows.tolist() == rows
    opened.do(lambda: opened.click(groups.compare_button))
    assert groups.results.rowCount() == 12
    best = groups.results.item(0, 0)
    effects = [abs(float(groups.results.item(row, 1).text()) - 0.5) for row in range(12)]
    assert effects == sorted(effects, reverse=True)
    place = groups.results.visualItemRect(best).center()
    opened.qtbot.mouseClick(groups.results.viewport(), _LEFT, pos=place)
    assert widget.embedding.view.scene.colouring.title == best.text()
    assert widget.study.shown_feature == int(best.text()[-5:])
    opened.click(groups.gallery_button)
    assert "0 of" in groups.message.text
    opened.click(groups.remove_button)
    assert "group_start" not in widget.study.table.obs


def _check_saving(opened: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.widget.study.save_group("mine", [1, 2])
    path = tmp_path / "saved.h5ad"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    opened.do(lambda: opened.click(opened.widget.embedding.save_button))
    assert opened.widget.run_bar.message.tone == "good", opened.widget.run_bar.message.text
    assert read_h5ad(path).obs["group_mine"].sum() == 2


def _check_comparing_nothing(opened: Bench) -> None:
    opened.show(opened.widget.groups)
    opened.do(lambda: opened.click(opened.widget.groups.compare_button))
    assert opened.widget.run_bar.message.tone == "error", opened.widget.run_bar.message.text
    assert opened.widget.run_bar.state == "idle"


def test_settings_cancelling_and_what_cannot_be_opened(
    opened: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_cancel(opened)
    _check_root(opened)
    opened.show(opened.widget.embedding)
    _check_broken(opened, tmp_path, monkeypatch)


def _check_cancel(opened: Bench) -> None:
    widget = opened.widget
    before = set(widget.study.table.obsm)
    _set_quickly(widget)
    widget.compute.forms["trend"].editor("n_bootstraps").show(100_000)
    with opened.qtbot.waitSignal(widget.runner.ended, timeout=_TIMEOUT_MS):
        opened.click(widget.run_bar.run_button)
        opened.qtbot.waitUntil(lambda: widget.run_bar.state == "running")
        opened.click(widget.run_bar.cancel_button)
    assert set(widget.study.table.obsm) == before
    assert "Cancelled" in widget.run_bar.message.text
    assert widget.run_bar.state == "idle"
    assert widget.run_bar.run_button.isEnabled()


def _check_root(opened: Bench) -> None:
    widget = opened.widget
    opened.show(widget.compute)
    opened.click(widget.compute.root_button)
    assert "Select one patch" in widget.run_bar.message.text
    widget.study.selection.select([17])
    opened.click(widget.compute.root_button)
    assert widget.compute.read_config().trajectory.root == "p/17"
    opened.choose(widget.compute.preset_box, "paper")
    assert widget.compute.read_config().scope == "pairs"


def _check_broken(opened: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.h5ad"
    path.write_bytes(b"nothing")
    opened.open(path, monkeypatch)
    assert opened.widget.run_bar.message.tone == "error"
    assert "broken.h5ad" in opened.widget.run_bar.message.text
    assert opened.widget.study.table.n_obs == _N_ROWS


def test_the_dock_floats_follows_the_theme_and_closes(opened: Bench) -> None:
    _check_floating(opened)
    for theme in ("light", "dark"):
        _check_theme(opened, theme)
    _check_closing(opened)


def _check_floating(opened: Bench) -> None:
    widget = opened.widget
    dock = widget.parent()
    while not hasattr(dock, "setFloating"):
        dock = dock.parent()
    view = widget.embedding.view
    for floating in (True, False):
        dock.setFloating(floating)
        opened.qtbot.waitUntil(lambda: view.isVisible() and view.width() > 100)
        assert dock.isFloating() == floating
        opened.qtbot.waitUntil(lambda: widget.isVisible())
        picture = view.grab().toImage()
        place = QPointF(*opened.place_of(view, 80)).toPoint()
        assert picture.pixelColor(place) != picture.pixelColor(3, 3)
        opened.drag_around(view, [70, 90])
        assert 80 in widget.study.selection.rows


def _check_theme(opened: Bench, theme: str) -> None:
    opened.viewer.theme = theme
    view = opened.widget.embedding.view
    is_light = theme == "light"
    opened.qtbot.waitUntil(lambda: (view.background == (255, 255, 255)) == is_light)
    corner = view.grab().toImage().pixelColor(2, 2)
    assert (corner.lightness() > 127) == is_light


def _check_closing(opened: Bench) -> None:
    study = opened.widget.study
    opened.viewer.window.remove_dock_widget(opened.widget)
    study.selection.select([1, 2])
    study.set_table(None)
    assert len(study.selection) == 0
