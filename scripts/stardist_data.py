"""Images, crops and training targets for `train_stardist.py`. No network, no files written."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import tifffile
import torch
from numpy.typing import NDArray
from scipy import ndimage
from stardist.geometry import star_dist
from stardist.utils import edt_prob
from torch import Tensor

from napari_bio_superposition.segmentation.normalize import normalize_percentiles

FloatImage = NDArray[np.float32]
LabelImage = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """One image with its hand-drawn nuclei."""

    image_id: str
    """Name of the image in the data set."""

    pixels: FloatImage
    """Percentile-normalised intensity, ``(y, x)``."""

    labels: LabelImage
    """Nuclei, ``(y, x)``; 0 is background."""

    @property
    def size_group(self) -> str:
        """Height by width in pixels: in this data set, images of one size are of one kind."""
        height, width = self.labels.shape
        return f"{height}x{width}"


def read_annotated(folder: Path) -> list[AnnotatedImage]:
    """Read every fluorescence image listed in ``index.csv`` below the folder, in listed order."""
    index = pd.read_csv(folder / "index.csv")
    names = index.loc[index["kind"] == "fluorescence", "image_id"]
    return [_read_one(folder, str(name)) for name in names]


def _read_one(folder: Path, name: str) -> AnnotatedImage:
    pixels = iio.imread(folder / "images" / f"{name}.png")
    labels = tifffile.imread(folder / "masks" / f"{name}.tif").astype(np.int32)
    return AnnotatedImage(image_id=name, pixels=normalize_percentiles(pixels), labels=labels)


def split_by_size(
    images: list[AnnotatedImage], *, held_out_share: float, rng: np.random.Generator
) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """Return (training, held-out) images; every size group gives the same share."""
    groups: dict[str, list[AnnotatedImage]] = defaultdict(list)
    for image in sorted(images, key=lambda one: one.image_id):
        groups[image.size_group].append(image)
    training, held_out = [], []
    for name in sorted(groups):
        group = groups[name]
        chosen = set(rng.permutation(len(group))[: round(held_out_share * len(group))].tolist())
        held_out += [one for i, one in enumerate(group) if i in chosen]
        training += [one for i, one in enumerate(group) if i not in chosen]
    return training, held_out


def list_hash(images: list[AnnotatedImage]) -> str:
    """Return the SHA-256 of the sorted image ids, one per line."""
    lines = "\n".join(sorted(one.image_id for one in images))
    return hashlib.sha256(lines.encode()).hexdigest()


class CropBatches(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Training batches by step number: the same step always gives the same batch.

    Resuming therefore needs no state of a random generator, only the number of the step.

    Parameters
    ----------
    images
        Training images.
    batch_size
        Crops per batch.
    crop_px
        Side of a crop in pixels.
    n_rays, grid
        As in the network.
    seed
        Start of every generator, together with the number of the step.
    """

    def __init__(
        self,
        images: list[AnnotatedImage],
        *,
        batch_size: int,
        crop_px: int,
        n_rays: int,
        grid: tuple[int, int],
        seed: int,
    ) -> None:
        self.images = images
        self.batch_size, self.crop_px = batch_size, crop_px
        self.n_rays, self.grid, self.seed = n_rays, grid, seed
        # Large images hold more nuclei, small ones more variety: weigh by the side, not the area.
        sides = np.array([np.sqrt(one.labels.size) for one in images])
        self.weights = sides / sides.sum()

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return pixels ``(n, 1, y, x)``, probability and distances on the grid."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.choice(len(self.images), self.batch_size, p=self.weights)
        crops = [augmented_crop(self.images[i], self.crop_px, rng=rng) for i in chosen]
        pixels = np.stack([pixels for pixels, _ in crops])[:, None]
        targets = [star_targets(labels, self.n_rays, self.grid) for _, labels in crops]
        prob = np.stack([prob for prob, _ in targets])[:, None]
        dist = np.stack([dist for _, dist in targets])
        return tuple(map(torch.from_numpy, (pixels, prob, dist)))  # type: ignore[return-value]


def star_targets(
    labels: LabelImage, n_rays: int, grid: tuple[int, int]
) -> tuple[FloatImage, FloatImage]:
    """Return object probability ``(y, x)`` and ray lengths ``(n_rays, y, x)`` on the grid.

    The probability is the distance to the object's border over its largest value in the object;
    Schmidt et al. 2018, section 2.1.
    """
    coarse = np.ascontiguousarray(labels[:: grid[0], :: grid[1]])
    # A crop inside one nucleus has no border to measure from: certain everywhere.
    covered = coarse.min() > 0 and coarse.min() == coarse.max()
    prob = np.ones(coarse.shape, np.float32) if covered else edt_prob(coarse)
    dist = star_dist(labels, n_rays, grid=grid)
    return prob.astype(np.float32), np.ascontiguousarray(np.moveaxis(dist, -1, 0))


def augmented_crop(
    image: AnnotatedImage, crop_px: int, *, rng: np.random.Generator
) -> tuple[FloatImage, LabelImage]:
    """Cut a random square, rescaled 0.6-1.6 times, turned, and changed in intensity."""
    smallest_scale = crop_px / min(image.labels.shape)
    scale = max(float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))), smallest_scale)
    side = round(crop_px / scale)
    for _ in range(3):
        top, left = (int(rng.integers(0, size - side + 1)) for size in image.labels.shape)
        window = np.s_[top : top + side, left : left + side]
        # One crop in ten may be empty: background must be learned too.
        if image.labels[window].any() or rng.random() < 0.1:
            break
    pixels = resized(image.pixels[window], crop_px, mode="bilinear")
    labels = resized(image.labels[window].astype(np.float32), crop_px, mode="nearest")
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    pixels, labels = (np.rot90(a[::-1] if flip else a, turns) for a in (pixels, labels))
    return changed_intensity(pixels, rng=rng), np.ascontiguousarray(labels).astype(np.int32)


def resized(image: FloatImage, side: int, *, mode: str) -> FloatImage:
    """Return the square image with ``side`` pixels a side."""
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    if image.shape[0] == side:
        return image
    corners = None if mode == "nearest" else False
    small = image.shape[0] > side and mode == "bilinear"
    out = torch.nn.functional.interpolate(
        tensor, size=(side, side), mode=mode, align_corners=corners, antialias=small
    )
    result: FloatImage = out[0, 0].numpy()
    return result


def changed_intensity(pixels: FloatImage, *, rng: np.random.Generator) -> FloatImage:
    """Vary gain, offset, gamma, illumination, focus and noise as microscopes do."""
    out = pixels.astype(np.float32)
    if rng.random() < 0.3:
        out = np.sign(out) * np.abs(out) ** np.float32(rng.uniform(0.6, 1.6))
    if rng.random() < 0.3:
        out = out * _slope(out.shape[0], rng=rng)
    if rng.random() < 0.2:
        out = ndimage.gaussian_filter(out, rng.uniform(0.4, 1.5))
    out = out * np.float32(rng.uniform(0.6, 1.5)) + np.float32(rng.uniform(-0.15, 0.15))
    if rng.random() < 0.6:
        noise = rng.standard_normal(out.shape, dtype=np.float32)
        out = out + np.float32(rng.uniform(0, 0.08)) * noise
    return np.ascontiguousarray(out, dtype=np.float32)


def _slope(side: int, *, rng: np.random.Generator) -> FloatImage:
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    strength = rng.uniform(-0.3, 0.3, 2).astype(np.float32)
    slope: FloatImage = 1 + strength[0] * axis[:, None] + strength[1] * axis[None]
    return slope
