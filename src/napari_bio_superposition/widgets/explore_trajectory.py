"""The tab of pseudotime: an outcome along it, with its curve and stages. It computes nothing."""

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.widgets.explore_card import HoverCard
from napari_bio_superposition.widgets.explore_controller import ExploreController, FeatureTrend
from napari_bio_superposition.widgets.explore_link import SelectionLink
from napari_bio_superposition.widgets.form_fields import CalmComboBox
from napari_bio_superposition.widgets.scatter_colour import colour_by_column, colour_plainly
from napari_bio_superposition.widgets.scatter_view import ScatterView

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.embed_result import Trajectory

_HINT = (
    "No pseudotime yet.\nPress Compute layouts and trajectory, or open a table with a column "
    f"{Keys.PSEUDOTIME}."
)
_ALL = "all patches"
_STAGES = ("early", "middle", "late")
_CURVE = QColor(230, 120, 40)


class TrajectoryPanel(QWidget):
    """Shows a column of numbers along pseudotime, the fitted curve with its band, and the stages.

    Parameters
    ----------
    controller
        Knows the table and the last result.
    """

    export_clicked = Signal()

    def __init__(self, controller: ExploreController, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._trend: FeatureTrend | None = None
        self.group_box, self.outcome_box = CalmComboBox(), CalmComboBox()
        self.stages_box = CalmComboBox()
        self.export_button = QPushButton("Export…")
        self.view = ScatterView()
        self.view.hint = _HINT
        self.view.show_ticks = True
        self.view.paint_over = self._paint_curve
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setTextFormat(Qt.TextFormat.PlainText)
        self.link = SelectionLink(controller.study, self.view)
        self.hover = HoverCard(controller, self.view, lambda: self.outcome)
        self.card = self.hover.card
        self._lay_out()
        for box in (self.group_box, self.outcome_box):
            box.currentIndexChanged.connect(self._show)
        self.stages_box.currentIndexChanged.connect(self.view.update)
        self.export_button.clicked.connect(self.export_clicked)
        self.refresh()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Group", self.group_box)
        form.addRow("Along pseudotime", self.outcome_box)
        row = QHBoxLayout()
        row.addWidget(self.stages_box, 1)
        row.addWidget(self.export_button)
        form.addRow("Stages", row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addLayout(form)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.summary)

    @property
    def trajectory(self) -> "Trajectory | None":
        """The chosen trajectory of the last result."""
        return self._controller.trajectories.get(str(self.group_box.currentText()))

    @property
    def outcome(self) -> str:
        """The column along pseudotime."""
        return str(self.outcome_box.currentText())

    @property
    def trend(self) -> FeatureTrend | None:
        """The feature that was fitted last, where it is the column along pseudotime."""
        trend = self._trend
        return trend if trend is not None and trend.feature == self.outcome else None

    @property
    def curve(self) -> Any:
        """The fitted curve, where the column that is shown was fitted."""
        trajectory, result, trend = self.trajectory, self._controller.result, self.trend
        if trajectory is None or result is None:
            return None
        if trend is not None:
            return trend.curve if trend.group == trajectory.group else None
        return trajectory.curve if result.outcome == self.outcome else None

    def show_trend(self, trend: FeatureTrend) -> None:
        """Show one feature along the pseudotime of one group."""
        self._trend = trend
        self.refresh()
        self.group_box.setCurrentText(trend.group)
        self.outcome_box.setCurrentText(trend.feature)

    @property
    def stage_edges(self) -> list[float]:
        """Pseudotime at the borders of the stages that are shown."""
        trajectory = self.trajectory
        stage = None if trajectory is None else trajectory.stages.get(self.stages_box.currentText())
        return [] if stage is None else [float(edge) for edge in stage.edges]

    def refresh(self) -> None:
        """Show the table and the result as they are."""
        result, trajectories = self._controller.result, self._controller.trajectories
        columns = [c for c in self._controller.number_columns if not c.startswith(Keys.PSEUDOTIME)]
        if self._trend is not None and self._trend.result is not result:
            self._trend = None
        if self._trend is not None:
            columns.append(self._trend.feature)
        preferred = result.outcome if result is not None else Keys.DEATH
        names = [*trajectories, _ALL]
        if self.group_box.currentText() == _ALL and self.group_box.count() == 1:
            self.group_box.clear()  # until now there was nothing else to choose
            self.stages_box.clear()
        _offer(self.group_box, names)
        _offer(self.outcome_box, columns, preferred)
        stages = {name for one in trajectories.values() for name in one.stages}
        _offer(self.stages_box, [*sorted(stages, reverse=True), "none"])
        self._show()

    def shut_down(self) -> None:
        """Stop listening to the study."""
        self.link.close()

    def points(self) -> Any:
        """Return pseudotime and outcome of each row of the table, nan where not of the group."""
        table, outcome = self._controller.table, self.outcome
        time = self._controller.pseudotime(str(self.group_box.currentText()))
        if self.trend is not None:
            values = self.trend.values.astype(np.float64)
        elif table is not None and outcome in table.obs:
            values = table.obs[outcome].to_numpy(np.float64, na_value=np.nan)
        else:
            return np.zeros((0, 2))
        if time is None:
            return np.zeros((0, 2))
        points = np.stack([time, values], axis=1)
        trajectory = self.trajectory
        if trajectory is not None:
            others = np.ones(len(points), bool)
            others[self._controller.rows_of(trajectory)] = False
            points[others] = np.nan
        return points

    def _show(self) -> None:
        points = self.points()
        self.view.axis_names = ("pseudotime", self.outcome)
        self.view.set_points(points, equal_axes=False)
        table = self._controller.table
        if table is not None and len(points):
            by = Keys.GENOTYPE
            colouring = colour_plainly(len(points))
            if by in table.obs and self.trajectory is None:
                colouring = colour_by_column(by, table.obs[by])
            self.view.set_colouring(colouring)
        self.link.refresh()
        self.summary.setText(self._describe())

    def _describe(self) -> str:
        trajectory = self.trajectory
        if trajectory is None or self.curve is None:
            return ""
        if self.trend is not None:
            return (
                f"{self.outcome} along the pseudotime of {trajectory.group}: adjusted R2 "
                f"{self.curve.adjusted_r2:.3f}, on wells left out {self.curve.r2_held_out:.3f} "
                f"({self.curve.n_patches} patches; the band is over wells)."
            )
        lines = trajectory.as_lines(self.outcome)
        stage = trajectory.stages.get(self.stages_box.currentText())
        if stage is not None:
            means = ", ".join(
                f"{name} {value:.3g}"
                for name, value in zip(_STAGES, stage.summary["mean"], strict=False)
            )
            lines.append(f"Mean by stage: {means}; trend p {stage.trend.p_wells:.3g} (wells).")
        return "\n".join(lines)

    def _paint_curve(self, painter: QPainter, ink: QColor) -> None:
        height = self.view.height()
        edges = self.stage_edges
        painter.setPen(QPen(ink, 1, Qt.PenStyle.DashLine))
        for edge in edges:
            x = self.view.to_widget(edge, 0).x()
            painter.drawLine(QPointF(x, 0), QPointF(x, height))
        self._paint_stage_names(painter, edges)
        curve = self.curve
        if curve is None:
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(_CURVE.red(), _CURVE.green(), _CURVE.blue(), 90))
        known = np.isfinite(curve.low) & np.isfinite(curve.high)
        low = self._line(curve.x[known], curve.low[known])
        high = self._line(curve.x[known], curve.high[known])
        if low:
            painter.drawPolygon(QPolygonF([*low, *reversed(high)]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(_CURVE, 2.5))
        painter.drawPolyline(QPolygonF(self._line(curve.x, curve.y)))

    def _paint_stage_names(self, painter: QPainter, edges: list[float]) -> None:
        if not edges:
            return
        places = [0.0, *(self.view.to_widget(edge, 0).x() for edge in edges), self.view.width()]
        for name, left, right in zip(_STAGES, places, places[1:], strict=False):
            box = QRectF(left, 2, right - left, 16)
            fits = painter.fontMetrics().horizontalAdvance(name) <= box.width()
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, name if fits else name[:1])

    def _line(self, x: Any, y: Any) -> list[QPointF]:
        return [self.view.to_widget(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def _offer(box: CalmComboBox, texts: list[str], preferred: str = "") -> None:
    """Offer other choices, quietly; the present one stays where it is among them."""
    chosen = box.currentText() or preferred
    box.blockSignals(True)
    box.clear()
    box.addItems(texts)
    if texts:
        box.setCurrentIndex(max(0, box.findText(chosen)))
    box.blockSignals(False)
