"""The step RNA of the GW-map dock: files, quality, map of cells, lineages. It starts nothing."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.widgets.explore_table import colour_columns, find_layouts
from napari_bio_superposition.widgets.form import ConfigForm
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.gwmap_clusters import CLUSTER, LINEAGE, ClusterTable
from napari_bio_superposition.widgets.gwmap_jobs import RnaCells, RnaRequest
from napari_bio_superposition.widgets.gwmap_state import GwMap
from napari_bio_superposition.widgets.scatter_colour import (
    Colouring,
    colour_by_column,
    colour_by_values,
    colour_plainly,
)
from napari_bio_superposition.widgets.scatter_view import ScatterView, Tool
from napari_bio_superposition.widgets.section import Section
from napari_bio_superposition.widgets.selection import SelectionMode
from napari_bio_superposition.workflows.rna_config import RnaPreparationConfig

GENE = "gene…"
_PLAIN = "one colour"
_SCORE = "score: "
_COUNTS = "10x, AnnData or CSV (*.h5 *.h5ad *.csv *.csv.gz *.mtx *.mtx.gz);;All files (*)"
_STEPS = ("counts", "quality", "latent", "clusters")
_TITLES = ("Reading", "Quality of cells", "Latent space", "Clusters")
_TOOLS: tuple[tuple[str, str], ...] = (
    ("lasso", "Lasso: draw around cells; Shift adds, Ctrl takes away"),
    ("rectangle", "Box: draw a rectangle; Shift adds, Ctrl takes away"),
    ("cluster", "Clusters: a click chooses a whole cluster, another one takes it back"),
)
_TOOL_TEXT = {"lasso": "Lasso", "rectangle": "Box", "cluster": "Clusters"}
_HINT = "No RNA cells yet.\nChoose files with counts and press Prepare, or open prepared cells."
_NARROW = "QPushButton { padding: 3px 6px; }"
_MAP_PX = 230


class RnaPanel(QWidget):
    """Shows RNA cells with their quality, and lets the user choose files, cells and clusters.

    Parameters
    ----------
    state
        Of the dock.
    """

    open_clicked = Signal()
    keep_clicked = Signal()
    """Prepare again, with the chosen clusters only."""
    keep_all_clicked = Signal()

    def __init__(self, state: GwMap, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._paths: tuple[Path, ...] = ()
        self._samples: Path | None = None
        self._shown: RnaCells | None = None
        self.folder_edit = QLineEdit()
        self.files_button, self.tenx_button = QPushButton("Files…"), QPushButton("10x folder…")
        self.open_button, self.samples_button = QPushButton("Prepared…"), QPushButton("Samples…")
        self.folder_button = QPushButton("Folder…")
        self.files_label, self.quality_label, self.link_label = QLabel(), QLabel(), QLabel()
        self.notes_label = QLabel()
        self.notes_section = Section("Notes", self.notes_label)
        self.colour_box, self.gene_line = CalmComboBox(), QLineEdit()
        self.view = ScatterView()
        self.tool_buttons: dict[str, QPushButton] = {}
        self.clusters = ClusterTable()
        self.keep_button = QPushButton("Keep chosen clusters")
        self.keep_all_button = QPushButton("Keep all")
        defaults = RnaPreparationConfig()
        self.forms: dict[str, ConfigForm[Any]] = {
            name: ConfigForm(getattr(defaults, name)) for name in _STEPS
        }
        self.general = ConfigForm(defaults)
        self._prepare()
        self._lay_out()
        self._connect()
        self.refresh()

    def _prepare(self) -> None:
        self.folder_edit.setPlaceholderText("Where results go")
        self.files_button.setToolTip("Count matrices; each file is a sample")
        self.tenx_button.setToolTip("A folder with matrix.mtx (Cell Ranger), one sample")
        self.open_button.setToolTip("rna.h5ad of an earlier run, or another prepared table")
        self.samples_button.setToolTip("CSV with the column sample, and genotype, flow_cell …")
        self.keep_button.setToolTip("Prepare again with the cells of the ticked clusters alone")
        self.gene_line.setPlaceholderText("Name of a gene, then Enter")
        self.colour_box.setAccessibleName("Colour by")
        self.view.setMinimumHeight(_MAP_PX)
        self.view.hint = _HINT
        labels = (self.files_label, self.quality_label, self.notes_label, self.link_label)
        for label in labels:
            label.setWordWrap(True)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        group = QButtonGroup(self)
        for tool, tip in _TOOLS:
            button = QPushButton(_TOOL_TEXT[tool])
            button.setToolTip(tip)
            button.setCheckable(True)
            button.setStyleSheet(_NARROW)
            group.addButton(button)
            self.tool_buttons[tool] = button
        self.tool_buttons["lasso"].setChecked(True)

    def _lay_out(self) -> None:
        files, folder, tools, keep = (QHBoxLayout() for _ in range(4))
        buttons = (self.files_button, self.tenx_button, self.samples_button, self.open_button)
        for button in buttons:
            button.setStyleSheet(_NARROW)
            files.addWidget(button)
        folder.addWidget(self.folder_edit, 1)
        folder.addWidget(self.folder_button)
        settings = QWidget()
        column = QVBoxLayout(settings)
        column.setContentsMargins(8, 0, 0, 0)
        column.addWidget(self.general)
        for name, title in zip(_STEPS, _TITLES, strict=True):
            column.addWidget(Section(title, self.forms[name]))
        for button in self.tool_buttons.values():
            tools.addWidget(button)
        tools.addWidget(self.colour_box, 1)
        tools.addWidget(self.gene_line, 1)
        keep.addWidget(self.keep_button, 1)
        keep.addWidget(self.keep_all_button)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Results", folder)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 6, 0)
        layout.addLayout(files)
        layout.addWidget(self.files_label)
        layout.addLayout(rows)
        layout.addWidget(Section("Settings", settings))
        layout.addWidget(self.quality_label)
        layout.addWidget(self.notes_section)
        layout.addLayout(tools)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.link_label)
        layout.addWidget(self.clusters)
        layout.addLayout(keep)

    def _connect(self) -> None:
        self.files_button.clicked.connect(self._ask_files)
        self.tenx_button.clicked.connect(self._ask_tenx)
        self.samples_button.clicked.connect(self._ask_samples)
        self.folder_button.clicked.connect(self._ask_folder)
        self.open_button.clicked.connect(self.open_clicked)
        self.keep_button.clicked.connect(self.keep_clicked)
        self.keep_all_button.clicked.connect(self.keep_all_clicked)
        self.colour_box.currentIndexChanged.connect(lambda _: self._show_colour())
        self.gene_line.returnPressed.connect(self._show_colour)
        self.view.region_chosen.connect(self._state.select_cells)
        self.view.row_clicked.connect(self._on_clicked)
        self.view.came_into_sight.connect(self.show_selection)
        self.clusters.ticked.connect(self._on_ticked)
        for tool, button in self.tool_buttons.items():
            button.toggled.connect(lambda is_on, tool=tool: self._on_tool(tool, is_on))
        self._state.rna_changed.connect(self.refresh)
        self._state.coupling_changed.connect(self.show_selection)
        self._state.cells_changed.connect(self.show_selection)

    # --- what is chosen ----------------------------------------------------------------------

    def choose_files(self, paths: tuple[Path, ...], samples: Path | None = None) -> None:
        """Take count matrices; results go beside them unless a folder was chosen."""
        self._paths, self._samples = paths, samples or self._samples
        if not self.folder_edit.text().strip():
            self.folder_edit.setText(str(paths[0].parent / "gw-map"))
        self._show_files()

    def read_request(self) -> RnaRequest:
        """Return what is to be prepared.

        Raises
        ------
        ConfigError
            Where no file was chosen.
        """
        if not self._paths:
            raise ConfigError("Choose count matrices first (Files… or 10x folder…).")
        return RnaRequest(self._paths, self._samples)

    def read_folder(self) -> Path:
        """Return where results go.

        Raises
        ------
        ConfigError
            Where no folder was chosen.
        """
        text = self.folder_edit.text().strip()
        if not text:
            raise ConfigError("Choose where results go first (tab RNA, Results, Folder…).")
        return Path(text).expanduser()

    def read_config(self, clusters: tuple[str, ...] = ()) -> RnaPreparationConfig:
        """Return the settings, with the clusters to keep.

        Raises
        ------
        ConfigError
            Where they contradict each other.
        """
        parts = {name: form.read_config() for name, form in self.forms.items()}
        parts["clusters"] = dataclasses.replace(parts["clusters"], clusters=clusters)
        return dataclasses.replace(self.general.read_config(), **parts)

    # --- what is shown -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the cells of the dock's state."""
        rna = self._state.rna
        self.keep_button.setEnabled(rna is not None)
        self.keep_all_button.setEnabled(rna is not None)
        self.quality_label.setText("" if rna is None else rna.lines[0])
        self.notes_label.setText("" if rna is None else "\n".join(rna.lines[1:]))
        self.quality_label.setVisible(rna is not None)
        self.notes_section.setVisible(rna is not None and len(rna.lines) > 1)
        if rna is not None and rna is not self._shown:
            self._shown = rna
            layouts = find_layouts(rna.table)
            self.view.axis_names = layouts[0].axis_names if layouts else ("", "")
            points = layouts[0].points_of(rna.table) if layouts else np.zeros((0, 2))
            self.view.set_points(points)
            self._offer_colours(rna)
            self.clusters.show_clusters(rna)
        self._show_files()
        self._show_colour()
        self.show_selection()

    def _show_files(self) -> None:
        names = ", ".join(path.name for path in self._paths)
        text = f"{len(self._paths)} file(s): {names}" if self._paths else ""
        if self._samples is not None:
            text += f"; samples: {self._samples.name}"
        self.files_label.setText(text)
        self.files_label.setVisible(bool(text))

    def _offer_colours(self, rna: RnaCells) -> None:
        columns = colour_columns(rna.table)
        first = [name for name in (CLUSTER, LINEAGE) if name in columns]
        scores = []
        if rna.clusters is not None:
            known = rna.clusters.drop(columns=["cells", LINEAGE, "markers"], errors="ignore")
            scores = [f"{_SCORE}{name}" for name in known if known[name].notna().any()]
        others = [name for name in columns if name not in first]
        self.colour_box.blockSignals(True)
        self.colour_box.clear()
        self.colour_box.addItems([*first, *scores, *others, GENE, _PLAIN])
        self.colour_box.blockSignals(False)

    def _show_colour(self) -> None:
        name = str(self.colour_box.currentText())
        self.gene_line.setVisible(name == GENE)
        if not len(self.view.scene) or self._shown is None:
            return
        colouring = self._colour(self._shown, name)
        if colouring is not None:
            self.view.set_colouring(colouring)

    def _colour(self, rna: RnaCells, name: str) -> Colouring | None:
        if name == GENE:
            gene = self.gene_line.text().strip()
            if gene not in rna.table.var_names:
                self.gene_line.setFocus()
                return None
            values = rna.table[:, gene].X
            dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
            return colour_by_values(gene, dense[:, 0])
        if name.startswith(_SCORE) and rna.clusters is not None:
            score = rna.clusters[name.removeprefix(_SCORE)]
            score.index = score.index.astype(str)
            return colour_by_values(name, rna.table.obs[CLUSTER].astype(str).map(score))
        if name in rna.table.obs:
            return colour_by_column(name, rna.table.obs[name])
        return colour_plainly(rna.table.n_obs)

    def show_selection(self) -> None:
        """Show which cells are selected, and how they belong to the selected patches."""
        state = self._state
        if len(state.cells) and state.cells.n_rows == len(self.view.scene):
            self.view.set_selected(state.cell_mask)
        else:
            self.view.set_selected(None)
        text = ""
        if state.report is not None and state.coupling is not None:
            n, m = state.coupling.plan.shape
            text = state.report.describe(n if state.report.from_cells else m)
        elif len(state.cells):
            text = f"{len(state.cells):,} cells chosen."
        self.link_label.setText(text)
        self.link_label.setVisible(bool(text))

    # --- what the user does ------------------------------------------------------------------

    def _on_tool(self, tool: str, is_on: bool) -> None:
        if is_on:
            shown: Tool = "rectangle" if tool == "rectangle" else "lasso"
            self.view.tool = shown

    def _on_clicked(self, row: int | None, mode: SelectionMode) -> None:
        if not self.tool_buttons["cluster"].isChecked():
            self._state.select_cells([] if row is None else [row], mode)
        elif row is not None and self._shown is not None and CLUSTER in self._shown.table.obs:
            self.clusters.toggle(str(self._shown.table.obs[CLUSTER].iloc[row]))

    def _on_ticked(self) -> None:
        if self._shown is not None:
            column = self._shown.table.obs[CLUSTER].astype(str)
            self._state.select_cells(column.isin(self.clusters.chosen).to_numpy(bool))

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Count matrices", "", _COUNTS)
        if names:
            self.choose_files(tuple(map(Path, names)))

    def _ask_tenx(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder with matrix.mtx")
        if name:
            self.choose_files((*self._paths, Path(name)))

    def _ask_samples(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "What is known of samples", "", "CSV (*.csv)")
        if name:
            self._samples = Path(name)
            self._show_files()

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Folder for results")
        if name:
            self.folder_edit.setText(name)

    def shut_down(self) -> None:
        """Stop listening."""
        for signal, slot in (
            (self._state.rna_changed, self.refresh),
            (self._state.coupling_changed, self.show_selection),
            (self._state.cells_changed, self.show_selection),
        ):
            signal.disconnect(slot, missing_ok=True)
