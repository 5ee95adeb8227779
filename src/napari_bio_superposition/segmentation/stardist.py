"""Run a StarDist network on an image and make labels of it. No weight files, no configs.

The sparse path of StarDist: candidates above the probability threshold, non-maximum suppression,
rendering. The last two are StarDist's own compiled code, which needs no TensorFlow.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from napari_bio_superposition.core.errors import DeviceError, ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray, IntArray, LabelImage
from napari_bio_superposition.segmentation.tiling import Tile, TileGrid
from napari_bio_superposition.segmentation.unet import StarDistNet

__all__ = ["Candidates", "StarDistModel", "find_candidates", "render_labels", "suppress"]

_STEP = "Segmenting nuclei"

_NMS_SLICE = 1000
"""Candidates per call of StarDist's suppression: a call takes less than a tenth of a second."""

_SHORTEST_RAY_PX = 1e-3
"""Shorter rays make polygons without area, which StarDist's geometry cannot handle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StarDistModel:
    """A network with its weights, ready to run on the device its weights lie on."""

    net: StarDistNet
    """In evaluation mode."""

    prob_threshold: float
    """Least object probability, tuned for these weights."""

    nms_threshold: float
    """Largest overlap of two nuclei, relative to the smaller one, tuned for these weights."""

    border_cells: int = 2
    """Cells of the prediction grid, along the border of the padded image, that cannot hold a
    centre; StarDist leaves out two, and with them narrow pieces of nuclei cut by the border."""

    name: str
    """What the user calls the weights."""

    sha256: str
    """Hash of the weight file, for provenance."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device


@dataclass(frozen=True, eq=False)
class Candidates:
    """Star-convex polygons: a centre and one length per ray.

    Parameters
    ----------
    points
        Centres (y, x) in pixels, ``(n, 2)``.
    prob
        Object probability, ``(n,)``.
    dist
        Ray lengths in pixels, ``(n, n_rays)``.
    """

    points: IntArray
    prob: FloatArray
    dist: FloatArray

    def __len__(self) -> int:
        return len(self.prob)

    @classmethod
    def none(cls, n_rays: int) -> "Candidates":
        """Return an empty set."""
        return cls(
            np.zeros((0, 2), np.int64), np.zeros(0, np.float32), np.zeros((0, n_rays), np.float32)
        )

    def __getitem__(self, index: IntArray) -> "Candidates":
        return Candidates(self.points[index], self.prob[index], self.dist[index])


def find_candidates(
    model: StarDistModel, plane: FloatArray, *, prob_threshold: float, tile_px: int
) -> Job[Candidates]:
    """Run the network, tile by tile, and keep the grid cells that may be a nucleus.

    Memory is bounded by the tile: of each one, only the candidates are kept. The result does not
    depend on the tiles, because each looks as far beyond its core as the network does. Where the
    device runs out of memory, the tile is cut in four and the job goes on, with a notice.

    Parameters
    ----------
    model
        Network and weights.
    plane
        Percentile-normalised intensity, ``(height, width)``.
    prob_threshold
        Candidates are more probable than this.
    tile_px
        Largest side of a tile's core in pixels.

    Returns
    -------
    Job[Candidates]
        In raster order of their centres. Progress counts tiles.

    Raises
    ------
    DeviceError
        Where even the smallest tile does not fit on the device.
    ModelError
        Where the network predicts NaN or infinity.
    """
    config = model.net.config
    grid = TileGrid(
        shape=(plane.shape[0], plane.shape[1]),
        divisor=config.divisor,
        halo=config.receptive_radius(),
    )
    waiting = deque(grid.cover(tile_px))
    n_tiles, found = len(waiting), [Candidates.none(config.n_rays)]
    yield Progress(_STEP, 0, n_tiles, "tiles")
    while waiting:
        tile = waiting.popleft()
        notice = ""
        try:
            prob, dist = _predict_tile(model, plane, tile)
        except torch.OutOfMemoryError:
            smaller = _smaller_tiles(grid, tile, model.device)
            waiting.extendleft(reversed(smaller))
            n_tiles += len(smaller) - 1
            notice = f"{model.device} is out of memory: going on with smaller tiles"
        else:
            local = np.argwhere(prob > prob_threshold)
            points, inside = _place(local, tile, grid, model)
            found.append(_candidates_at(local[inside], points[inside], prob, dist))
        yield Progress(_STEP, n_tiles - len(waiting), n_tiles, "tiles", notice)
    return _in_raster_order(found)


def _smaller_tiles(grid: TileGrid, tile: Tile, device: torch.device) -> list[Tile]:
    side = max(tile.y.stop - tile.y.start, tile.x.stop - tile.x.start)
    smaller = list(grid.split(tile, side // 2))
    if len(smaller) == 1:
        raise DeviceError(
            f"{device} has too little free memory for a tile of {side} px. Close other programs "
            "that use it, or choose the device cpu."
        )
    return smaller


@torch.inference_mode()
def _predict_tile(
    model: StarDistModel, plane: FloatArray, tile: Tile
) -> tuple[FloatArray, FloatArray]:
    """Return probability ``(y, x)`` and distances ``(y, x, n_rays)`` on the grid of the core."""
    pixels = torch.from_numpy(np.ascontiguousarray(tile.read(plane)))[None, None]
    pixels = pixels.to(model.device).contiguous(memory_format=torch.channels_last)
    logit, dist = model.net(pixels)
    if not (torch.isfinite(logit).all() and torch.isfinite(dist).all()):
        raise ModelError(
            f"The network {model.name} predicts values that are not finite: its weights are "
            "damaged. Fetch them again, or choose the bundled ones."
        )
    spans, factors = (tile.y, tile.x), model.net.config.grid
    core = tuple(
        slice((span.start - span.read_start) // g, (span.stop - span.read_start) // g)
        for span, g in zip(spans, factors, strict=True)
    )
    prob = torch.sigmoid(logit[0, 0])[core]
    rays = dist[0].permute(1, 2, 0)[core]
    return prob.cpu().numpy(), rays.cpu().numpy()


def _place(
    local: IntArray, tile: Tile, grid: TileGrid, model: StarDistModel
) -> tuple[IntArray, BoolArray]:
    """Return centres in pixels of the whole image, and whether a nucleus may be centred there."""
    factors = np.array(model.net.config.grid)
    cells = local + np.array([tile.y.start, tile.x.start]) // factors
    border, end = model.border_cells, np.array(grid.padded_shape) // factors
    inside = ((cells >= border) & (cells < end - border)).all(axis=1)
    points: IntArray = cells * factors
    # Mirrored pixels are seen by the network, but no nucleus has its centre there.
    return points, inside & (points < grid.shape).all(axis=1)


def _candidates_at(
    local: IntArray, points: IntArray, prob: FloatArray, dist: FloatArray
) -> Candidates:
    rows, columns = local.T
    rays = np.maximum(dist[rows, columns], np.float32(_SHORTEST_RAY_PX))
    return Candidates(points, prob[rows, columns], rays)


def _in_raster_order(parts: list[Candidates]) -> Candidates:
    points = np.concatenate([part.points for part in parts])
    prob = np.concatenate([part.prob for part in parts])
    dist = np.concatenate([part.dist for part in parts])
    order = np.lexsort((points[:, 1], points[:, 0]))
    return Candidates(points, prob, dist)[order]


def suppress(candidates: Candidates, *, nms_threshold: float) -> Job[Candidates]:
    """Keep the most probable of the polygons that overlap.

    The candidates are taken in slices, the most probable first, each together with those that are
    kept so far. The result is that of one call; but StarDist's code holds the interpreter, and on a
    full field one call would freeze a window for seconds.

    Parameters
    ----------
    candidates
        Polygons.
    nms_threshold
        A polygon is dropped when its overlap with a more probable one, relative to the smaller of
        the two, is larger than this.

    Returns
    -------
    Job[Candidates]
        The kept ones, most probable first. Progress counts candidates.
    """
    from stardist.nms import non_maximum_suppression_inds

    order = np.argsort(candidates.prob)[::-1]
    kept = order[:0]
    for start in range(0, len(order), _NMS_SLICE):
        rivals = np.concatenate([kept, order[start : start + _NMS_SLICE]])
        with threadpool_limits(1, user_api="openmp"):  # its threads wait busily for one another
            survives = non_maximum_suppression_inds(
                candidates.dist[rivals],
                candidates.points[rivals].astype(np.int32),
                scores=candidates.prob[rivals],
                thresh=nms_threshold,
                verbose=0,
            )
        kept = rivals[np.flatnonzero(survives)]
        done = min(start + _NMS_SLICE, len(order))
        yield Progress("Choosing nuclei", done, len(order), "candidates")
    return candidates[kept]


def render_labels(
    candidates: Candidates, shape: tuple[int, int], *, scale: float = 1.0
) -> LabelImage:
    """Draw polygons as a label image; where two meet, the more probable one is on top.

    Parameters
    ----------
    candidates
        Polygons in pixels of the image that the network saw.
    shape
        Height and width of the label image.
    scale
        Size of the image that the network saw, relative to the label image.

    Returns
    -------
    LabelImage
        Ids follow the order of the polygons, from 1.
    """
    from stardist.geometry import polygons_to_label

    if not len(candidates):
        return np.zeros(shape, np.int32)
    # Pixels are squares: the centre of pixel 0 lies half a pixel inside the image at every scale.
    points = (candidates.points + 0.5) / scale - 0.5
    labels: LabelImage = polygons_to_label(
        candidates.dist,
        points,
        shape=shape,
        prob=candidates.prob,
        scale_dist=(1 / scale, 1 / scale),
    )
    return labels
