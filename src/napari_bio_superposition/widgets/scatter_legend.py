"""Paints the legend of a colouring into a corner: categories or a bar with limits. Only paint."""

from typing import Final

from qtpy.QtCore import QPointF, QRect, QRectF, Qt
from qtpy.QtGui import QColor, QFontMetricsF, QLinearGradient, QPainter

from napari_bio_superposition.widgets.scatter_colour import MISSING_COLOUR, Colouring

_MOST_ENTRIES: Final = 10
_MOST_SHARE: Final = 0.45
"""Share of the canvas's width that the text may take."""
_MARGIN_PX: Final = 6.0
_DOT_PX: Final = 8.0
_BAR_SIZE_PX: Final = (10.0, 80.0)


def paint_legend(painter: QPainter, colouring: Colouring, area: QRect, ink: QColor) -> None:
    """Paint the legend into the top right corner of *area*.

    Parameters
    ----------
    painter
        Of the canvas.
    colouring
        What the colours mean; a plain one has no legend.
    area
        The canvas.
    ink
        Colour of text.
    """
    if not colouring.title:
        return
    metrics = QFontMetricsF(painter.font())
    widest = area.width() * _MOST_SHARE
    title = metrics.elidedText(colouring.title, Qt.TextElideMode.ElideMiddle, widest)
    texts = [metrics.elidedText(t, Qt.TextElideMode.ElideRight, widest) for t in _texts(colouring)]
    missing = f"no value ({colouring.n_missing:,})" if colouring.n_missing else ""
    text_width = max(metrics.horizontalAdvance(text) for text in [*texts, missing])
    marker = _DOT_PX if colouring.entries else _BAR_SIZE_PX[0]
    width = max(metrics.horizontalAdvance(title), text_width + marker + _MARGIN_PX)
    line = metrics.height()
    body = line * len(texts) if colouring.entries else _BAR_SIZE_PX[1]
    height = line + body + (line if missing else 0.0) + _MARGIN_PX
    left = area.right() - width - 2 * _MARGIN_PX
    top = area.top() + _MARGIN_PX
    _paint_backdrop(
        painter,
        QRectF(left - _MARGIN_PX, top, width + 2 * _MARGIN_PX, height),
        ink,
    )
    painter.setPen(ink)
    painter.drawText(QPointF(left, top + metrics.ascent()), title)
    origin = QPointF(left, top + line)
    if colouring.entries:
        _paint_entries(painter, colouring, texts, origin)
    else:
        _paint_bar(painter, colouring, texts, origin)
    if missing:
        _paint_entry(painter, missing, MISSING_COLOUR, origin + QPointF(0, body))


def _texts(colouring: Colouring) -> list[str]:
    if colouring.entries:
        shown = [f"{e.name} ({e.count:,})" for e in colouring.entries[:_MOST_ENTRIES]]
        n_more = len(colouring.entries) - len(shown)
        return [*shown, f"and {n_more:,} more"] if n_more else shown
    if colouring.limits is None:
        return ["many", "few"]
    low, high = colouring.limits
    return [f"{high:.4g}", f"{low:.4g}"]


def _paint_backdrop(painter: QPainter, box: QRectF, ink: QColor) -> None:
    is_light_ink = ink.lightness() > 127
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(0, 0, 0, 150) if is_light_ink else QColor(255, 255, 255, 200))
    painter.drawRoundedRect(box, 4, 4)


def _paint_entries(
    painter: QPainter, colouring: Colouring, texts: list[str], origin: QPointF
) -> None:
    line = QFontMetricsF(painter.font()).height()
    for index, text in enumerate(texts):
        is_category = index < min(_MOST_ENTRIES, len(colouring.entries))
        colour = colouring.entries[index].colour if is_category else None
        _paint_entry(painter, text, colour, origin + QPointF(0, index * line))


def _paint_entry(
    painter: QPainter, text: str, colour: tuple[int, int, int] | None, origin: QPointF
) -> None:
    metrics = QFontMetricsF(painter.font())
    ink = painter.pen()
    if colour is not None:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(*colour))
        middle = origin.y() + metrics.height() / 2
        painter.drawEllipse(QRectF(origin.x(), middle - _DOT_PX / 2, _DOT_PX, _DOT_PX))
    painter.setPen(ink)
    painter.drawText(origin + QPointF(_DOT_PX + _MARGIN_PX, metrics.ascent()), text)


def _paint_bar(painter: QPainter, colouring: Colouring, texts: list[str], origin: QPointF) -> None:
    width, height = _BAR_SIZE_PX
    bar = QRectF(origin.x(), origin.y() + 2, width, height - 4)
    gradient = QLinearGradient(bar.bottomLeft(), bar.topLeft())
    shades = colouring.table[1:]
    for stop in range(9):
        red, green, blue = (int(part) for part in shades[round(stop / 8 * (len(shades) - 1))])
        gradient.setColorAt(stop / 8, QColor(red, green, blue))
    ink = painter.pen()
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(gradient)
    painter.drawRect(bar)
    painter.setPen(ink)
    metrics = QFontMetricsF(painter.font())
    x = bar.right() + _MARGIN_PX
    painter.drawText(QPointF(x, bar.top() + metrics.ascent()), texts[0])
    painter.drawText(QPointF(x, bar.bottom() - metrics.descent()), texts[1])
