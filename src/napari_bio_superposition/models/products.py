"""Products with a matrix that stays the same, and work side by side on processors. No model."""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEWEST_ROWS: Final = 128
"""Of a matrix that is laid out anew."""


class FixedMatrix:
    """A matrix ``(n_in, n_out)``, laid out once for fast products with many rows.

    oneDNN multiplies fastest what is in an order of memory of its own: on processors of AMD 1.2
    times as fast as the default library. torch keeps these operators for its own compiler; where
    a version lacks them, on other devices, and for narrow matrices, which gain nothing, the usual
    product is taken.

    Parameters
    ----------
    matrix
        ``(n_in, n_out)`` float32. It is copied only where it is laid out anew.
    n_rows
        About how many rows a product will have.
    """

    def __init__(self, matrix: Tensor, *, n_rows: int) -> None:
        self.n_out = matrix.shape[1]
        self._is_packed = _can_pack(matrix)
        self._matrix = matrix
        if self._is_packed:
            rows_of_weights = matrix.detach().T.contiguous()
            self._matrix = torch.ops.mkldnn._reorder_linear_weight(rows_of_weights, n_rows)

    def multiply(
        self, rows: Tensor, bias: Tensor | None = None, *, memory: Tensor | None = None
    ) -> Tensor:
        """Return ``rows @ matrix + bias``, ``(n, n_out)``.

        Parameters
        ----------
        rows
            ``(n, n_in)``, contiguous.
        bias
            ``(n_out,)``.
        memory
            ``(n, n_out)``; the product may be written there, which spares new memory.
        """
        if self._is_packed:
            operator = torch.ops.mkldnn._linear_pointwise
            product: Tensor = operator(rows, self._matrix, bias, "none", [], "")
            return product
        if bias is None:
            return torch.mm(rows, self._matrix, out=memory)
        return torch.addmm(bias, rows, self._matrix, out=memory)


def _can_pack(matrix: Tensor) -> bool:
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32:
        return False
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    names = ("_reorder_linear_weight", "_linear_pointwise")
    known = there and all(hasattr(torch.ops.mkldnn, name) for name in names)
    return known and len(matrix) >= _FEWEST_ROWS


def map_single_threaded(
    work: Callable[[Item], Result], items: Sequence[Item], *, device: torch.device
) -> list[Result]:
    """Return ``work(item)`` of all items, on a processor side by side in single threads.

    The library splits each small step among its threads instead, which then wait for one another.
    What each item gives does not depend on the number of threads.

    Parameters
    ----------
    work
        Gets the state of gradients of the caller.
    items
        In the order of the results.
    device
        Anything but a processor computes one item after the other.
    """
    if device.type != "cpu" or torch.get_num_threads() == 1:
        return [work(item) for item in items]
    with_gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def work_as_here(item: Item) -> Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(with_gradients):
            return work(item)

    return list(_single_threads(torch.get_num_threads()).map(work_as_here, items))


@functools.cache
def _single_threads(n: int) -> ThreadPoolExecutor:
    """Return *n* threads in each of which the library computes with one thread."""
    pool, all_are_there = ThreadPoolExecutor(n, "single"), threading.Barrier(n)

    def start(_: int) -> None:
        torch.set_num_threads(1)  # of this thread, and the default of those that start later
        all_are_there.wait()

    list(pool.map(start, range(n)))
    torch.set_num_threads(n)
    return pool
