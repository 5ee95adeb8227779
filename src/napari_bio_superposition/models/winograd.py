"""3 x 3 convolutions as matrix products (Winograd), for inference on processors. No training.

``F(4 x 4, 3 x 3)`` of Lavin and Gray (2015, arXiv 1509.09308): a tile of 4 x 4 outputs takes 36
products in place of 144. Inputs and outputs are channels-last, so that every step is a matrix
product or a copy of whole channel vectors. On processors the library's convolution does not do this
for the layers of our encoder; see ``benchmarks/bench_models.py`` for the ratio.
"""

import functools
import math
import threading
from typing import Any, Final, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_bio_superposition.models.products import FixedMatrix, map_single_threaded

_TILE: Final = 4
_PATCH: Final = 6
"""Inputs per side that a tile depends on; tiles are `_TILE` apart, so patches overlap by two."""
_TILES_TOGETHER: Final = 128
"""Tiles that are multiplied at once, by one thread. More would only cost memory: two buffers of 36
values per tile and channel, 9 MB each at 512 channels; and leave threads idle at one patch."""
_FEWEST_CHANNELS: Final = 128
_FEWEST_TILES: Final = 64
"""Below these the library's convolution was as fast; see `pays_off`."""

_INPUT: Final = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
_KERNEL: Final = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
_OUTPUT: Final = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)

Kernel: TypeAlias = tuple[FixedMatrix, ...]
"""36 matrices ``(n_in, n_out)``."""


class Convolution3x3(nn.Conv2d):
    """A 3 x 3 convolution, stride 1, padding 1, that takes the fast way where there is one.

    Parameters, names and results are those of `torch.nn.Conv2d`, up to the rounding of float32
    (relative error below 1e-4). Training and anything that needs gradients take the usual way.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 3, padding=1)
        self._transformed = TransformedKernel()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_in, h, w)`` to ``(n, n_out, h, w)``."""
        if self.training or not pays_off(x, self.weight):
            return super().forward(x)
        return convolve(x, self._transformed.of(self.weight), self.bias)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the transformed kernel is dropped, as training changes the weights."""
        self._transformed.drop()
        return super().train(mode)


class TransformedKernel:
    """The transformed kernel of one layer, made on first use and again when the weights change.

    It takes 4 times the memory of the weights, belongs to no state dict, and is not copied or
    pickled with the layer.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._kernel: Kernel | None = None

    def of(self, weight: Tensor) -> Kernel:
        """Return the transformed *weight*, from memory if it is the one seen last."""
        if weight.is_inference():  # such tensors do not count their changes
            return transform_kernel(weight)
        key = (weight.data_ptr(), weight._version, weight.shape, weight.stride())
        if self._kernel is None or key != self._key:
            self._kernel, self._key = transform_kernel(weight), key
        return self._kernel

    def drop(self) -> None:
        """Forget the kernel and free its memory."""
        self._kernel = self._key = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "TransformedKernel":
        return TransformedKernel()

    def __reduce__(self) -> tuple[type["TransformedKernel"], tuple[()]]:
        return (TransformedKernel, ())


def pays_off(x: Tensor, weight: Tensor) -> bool:
    """Whether the fast way is open and faster: float32 on a processor, no gradients, wide layers.

    Parameters
    ----------
    x
        Input ``(n, n_in, h, w)``.
    weight
        Kernel ``(n_out, n_in, 3, 3)``.
    """
    usable = (
        x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
    if not usable or x.ndim != 4:
        return False
    down, across = (-(-side // _TILE) for side in x.shape[2:])
    return bool(
        min(weight.shape[:2]) >= _FEWEST_CHANNELS and len(x) * down * across >= _FEWEST_TILES
    )


@torch.no_grad()
def transform_kernel(weight: Tensor) -> Kernel:
    """Return the matrices of a kernel ``(n_out, n_in, 3, 3)`` float32."""
    side = torch.tensor(_KERNEL, dtype=torch.float64)
    both = torch.kron(side, side)  # (36, 9)
    taps = weight.permute(2, 3, 1, 0).reshape(9, -1)  # (9, n_in * n_out)
    kernel = (both.float() @ taps).view(_PATCH**2, weight.shape[1], weight.shape[0])
    return tuple(FixedMatrix(taps, n_rows=_TILES_TOGETHER) for taps in kernel)


@torch.no_grad()
def convolve(x: Tensor, kernel: Kernel, bias: Tensor | None) -> Tensor:
    """Return the convolution of *x* with padding 1.

    Parameters
    ----------
    x
        ``(n, n_in, h, w)`` float32 on a processor; fastest where it is channels-last.
    kernel
        From `transform_kernel`.
    bias
        ``(n_out,)`` or `None`.

    Returns
    -------
    Tensor
        ``(n, n_out, h, w)``, channels-last in memory.
    """
    n, _, height, width = x.shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    n_out, n_rows = kernel[0].n_out, n * down
    padded = functional.pad(
        x.permute(0, 2, 3, 1),
        (0, 0, 1, _TILE * across + 1 - width, 1, _TILE * down + 1 - height),
    )
    y = x.new_empty((n_rows, _TILE, across, _TILE, n_out))
    together = max(1, _TILES_TOGETHER // across)
    parts = [range(start, min(n_rows, start + together)) for start in range(0, n_rows, together)]
    task = functools.partial(_convolve_rows, padded, kernel, bias, y)
    map_single_threaded(task, parts, device=x.device)
    whole = y.view(n, _TILE * down, _TILE * across, n_out)[:, :height, :width]
    return whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _convolve_rows(
    padded: Tensor, kernel: Kernel, bias: Tensor | None, y: Tensor, rows: range
) -> None:
    """Write some rows of tiles to *y* ``(row, 4, column, 4, n_out)``."""
    across, n_in, down = y.shape[2], padded.shape[3], len(y) // len(padded)
    inputs = _workspace(_PATCH**2, len(rows), across * n_in)
    for place, row in enumerate(rows):
        top = _TILE * (row % down)
        _transform_inputs(padded[row // down, top : top + _PATCH], inputs[:, place])
    pairs = zip(inputs.view(_PATCH**2, -1, n_in), kernel, strict=True)
    products = [matrix.multiply(each) for each, matrix in pairs]
    for place, row in enumerate(rows):
        some = slice(across * place, across * (place + 1))
        _transform_outputs([each[some] for each in products], bias, out=y[row])


_own = threading.local()


def _workspace(*shape: int) -> Tensor:
    """Return memory of this thread, not cleared, that the next call takes again.

    New memory has to be given page by page by the system, which took an eighth of the time.
    """
    n_values = math.prod(shape)
    with torch.inference_mode(False):
        if getattr(_own, "memory", torch.empty(0)).numel() < n_values:
            _own.memory = torch.empty(n_values)
    memory: Tensor = _own.memory
    return memory[:n_values].view(shape)


def _transform_inputs(lines: Tensor, out: Tensor) -> None:
    """Write a row of tiles, from its six lines ``(6, width, n_in)``, to *out* ``(36, ...)``.

    Row by row, because the overlapping patches of a row stay in the cache.
    """
    patches = lines.unfold(1, _PATCH, _TILE).permute(0, 3, 1, 2)  # (6, 6, column, n_in)
    torch.mm(_both_sides(_INPUT), patches.reshape(_PATCH**2, -1), out=out)


def _transform_outputs(products: list[Tensor], bias: Tensor | None, *, out: Tensor) -> None:
    """Write a row of tiles, 36 times ``(column, n_out)``, to *out* ``(4, column, 4, n_out)``.

    Row by row, because one row of them stays in the cache.
    """
    row = torch.stack(products).flatten(1)
    tiles = torch.mm(_both_sides(_OUTPUT), row).view(_TILE, _TILE, *out.shape[1::2])
    if bias is None:
        out.copy_(tiles.transpose(1, 2))
    else:
        torch.add(tiles.transpose(1, 2), bias, out=out)


@functools.cache
def _both_sides(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the transform of a patch, written as a vector, from that of one side of it."""
    side = torch.tensor(matrix)
    return torch.kron(side, side)
