"""StarDist's 2D network in torch: architecture and forward pass. No files, no images, no NMS."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_bio_superposition.core.errors import ConfigError

__all__ = ["StarDistNet", "UNetConfig"]

_FIXED_FIELDS: Mapping[str, tuple[Any, ...]] = {
    "backbone": ("unet",),
    "n_dim": (2,),
    "n_classes": (None,),
    "unet_activation": ("relu",),
    "unet_last_activation": ("relu",),
    "unet_batch_norm": (False,),
}
"""Fields of StarDist's ``config.json`` that change the network, and the values run here."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a StarDist 2D network; the defaults are those of ``2D_versatile_fluo``."""

    n_channels: int = 1
    """Input channels."""

    n_rays: int = 32
    """Rays of a polygon, evenly spaced, counter-clockwise from the x axis of array columns."""

    grid: tuple[int, int] = (2, 2)
    """Pixels between neighbouring predictions along (y, x); powers of two."""

    depth: int = 3
    """Number of poolings inside the U-Net."""

    n_filters: int = 32
    """Filters of the first level."""

    expansion: int = 2
    """Factor by which each level multiplies the filters."""

    n_convs: int = 2
    """Convolutions per level."""

    kernel_size: tuple[int, int] = (3, 3)
    """Odd kernel size along (y, x)."""

    pool: tuple[int, int] = (2, 2)
    """Pooling factors inside the U-Net along (y, x)."""

    n_features: int = 128
    """Filters of the convolution after the U-Net; 0 leaves it out."""

    def __post_init__(self) -> None:
        counts = (self.n_channels, self.depth, self.n_filters, self.expansion, self.n_convs)
        if min(counts) < 1 or self.n_rays < 3 or self.n_features < 0:
            raise ConfigError(f"A StarDist network needs positive sizes and 3 rays; got {self}.")
        if any(len(pair) != 2 for pair in (self.grid, self.kernel_size, self.pool)):
            raise ConfigError(
                f"A 2D network has two factors (y, x); got grid={self.grid}, kernel_size="
                f"{self.kernel_size}, pool={self.pool}."
            )
        if any(k % 2 == 0 or k < 1 for k in self.kernel_size) or min(self.pool) < 1:
            raise ConfigError(
                f"Kernel sizes must be odd and poolings positive; got kernel_size="
                f"{self.kernel_size} and pool={self.pool}."
            )
        if any(g < 1 or g & (g - 1) for g in self.grid):
            raise ConfigError(f"Grid factors must be powers of two; got grid={self.grid}.")

    @classmethod
    def from_stardist(cls, fields: Mapping[str, Any]) -> UNetConfig:
        """Read the content of StarDist's ``config.json``.

        Parameters
        ----------
        fields
            The decoded JSON object, names as ``stardist.models.Config2D`` writes them.

        Raises
        ------
        ConfigError
            When the model is of a kind that is not run here (3D, classes, batch normalisation).
        """
        for name, allowed in _FIXED_FIELDS.items():
            if name in fields and fields[name] not in allowed:
                raise ConfigError(
                    f"This StarDist model has {name}={fields[name]!r}; only "
                    f"{' or '.join(map(repr, allowed))} can be run. Choose a plain 2D model."
                )
        names = {
            "n_channels": "n_channel_in",
            "n_rays": "n_rays",
            "grid": "grid",
            "depth": "unet_n_depth",
            "n_filters": "unet_n_filter_base",
            "expansion": "unet_expansion",
            "n_convs": "unet_n_conv_per_depth",
            "kernel_size": "unet_kernel_size",
            "pool": "unet_pool",
            "n_features": "net_conv_after_unet",
        }
        try:
            values: dict[str, Any] = {
                ours: _as_ints(fields[theirs]) for ours, theirs in names.items() if theirs in fields
            }
        except (TypeError, ValueError) as error:
            raise ConfigError(f"config.json is not that of a StarDist 2D model: {error}.") from None
        return cls(**values)

    @property
    def divisor(self) -> tuple[int, int]:
        """Image sizes along (y, x) must be multiples of this many pixels."""
        y, x = (g * p**self.depth for g, p in zip(self.grid, self.pool, strict=True))
        return y, x

    def filters(self, level: int) -> int:
        """Return the number of filters of a U-Net level, counted from 0 at the top."""
        return int(self.n_filters * self.expansion**level)

    def pre_pools(self) -> Iterator[tuple[int, int]]:
        """Yield the poolings (y, x) that bring the image to the grid, before the U-Net."""
        done = (1, 1)
        while done != self.grid:
            y, x = (2 if g > d else 1 for g, d in zip(self.grid, done, strict=True))
            done = (done[0] * y, done[1] * x)
            yield y, x

    def receptive_radius(self) -> tuple[int, int]:
        """Return how many pixels away along (y, x) an input can still change a prediction."""
        y, x = (self._radius_along(axis) for axis in (0, 1))
        return y, x

    def _radius_along(self, axis: int) -> int:
        # An upper bound: convolutions add their half width times the stride they run at, and a
        # pooling and the upsampling that undoes it each shift by less than the coarser stride.
        half, stride, radius = self.kernel_size[axis] // 2, 1, 0
        for pool in self.pre_pools():
            radius += self.n_convs * half * stride
            stride *= pool[axis]
            radius += stride
        for _ in range(self.depth):
            radius += 2 * self.n_convs * half * stride
            stride *= self.pool[axis]
            radius += 2 * stride
        radius += self.n_convs * half * stride
        return radius + half * self.grid[axis]


def _as_ints(value: Any) -> int | tuple[int, ...]:
    if isinstance(value, (list, tuple)):
        return tuple(_as_int(part) for part in value)
    return _as_int(value)


def _as_int(value: Any) -> int:
    if isinstance(value, bool) or not math.isclose(float(value), int(value)):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


class StarDistNet(nn.Module):
    """The U-Net with two heads that StarDist trains: object probability and ray lengths.

    Schmidt et al., Cell Detection with Star-convex Polygons, MICCAI 2018; layer for layer that of
    ``stardist.models.StarDist2D``, so that its Keras weights can be loaded.

    Parameters
    ----------
    config
        Shape of the network.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        kernel, n_convs = config.kernel_size, config.n_convs
        width = config.n_channels

        self.pre = nn.ModuleList()
        for _ in config.pre_pools():
            self.pre.append(_convolutions([width, *[config.n_filters] * n_convs], kernel))
            width = config.n_filters

        self.down = nn.ModuleList()
        for level in range(config.depth):
            self.down.append(_convolutions([width, *[config.filters(level)] * n_convs], kernel))
            width = config.filters(level)

        inner = [config.filters(config.depth)] * (n_convs - 1)
        self.middle = _convolutions([width, *inner, config.filters(config.depth - 1)], kernel)
        width = config.filters(config.depth - 1)

        self.up = nn.ModuleDict()
        for level in reversed(range(config.depth)):
            inner = [config.filters(level)] * (n_convs - 1)
            last = config.filters(max(0, level - 1))
            self.up[str(level)] = _convolutions(
                [width + config.filters(level), *inner, last], kernel
            )
            width = last

        self.features = _convolutions(
            [width, config.n_features] if config.n_features else [width], kernel
        )
        width = config.n_features or width
        self.prob = nn.Conv2d(width, 1, 1)
        self.dist = nn.Conv2d(width, config.n_rays, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Predict on the grid.

        Parameters
        ----------
        image
            ``(batch, n_channels, y, x)``, percentile normalised; y and x are multiples of
            ``config.divisor``.

        Returns
        -------
        tuple of Tensor
            Logit of the object probability, ``(batch, 1, y / grid, x / grid)``, and distance in
            pixels to the object's border along each ray, ``(batch, n_rays, y / grid, x / grid)``.
        """
        x = image
        for block, pool in zip(self.pre, self.config.pre_pools(), strict=True):
            x = nn.functional.max_pool2d(_run(block, x), pool)
        skipped = []
        for block in self.down:
            x = _run(block, x)
            skipped.append(x)
            x = nn.functional.max_pool2d(x, self.config.pool)
        x = _run(self.middle, x)
        factor = [float(p) for p in self.config.pool]
        for block in self.up.values():
            x = nn.functional.interpolate(x, scale_factor=factor, mode="nearest")
            x = _run(block, torch.cat([x, skipped.pop()], dim=1))
        x = _run(self.features, x)
        return self.prob(x), self.dist(x)


def _convolutions(widths: list[int], kernel: tuple[int, int]) -> nn.ModuleList:
    pairs = itertools.pairwise(widths)
    return nn.ModuleList(nn.Conv2d(i, o, kernel, padding="same") for i, o in pairs)


def _run(block: nn.Module, x: Tensor) -> Tensor:
    for convolution in block.children():
        x = nn.functional.relu(convolution(x), inplace=True)
    return x
