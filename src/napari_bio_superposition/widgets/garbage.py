"""Keeps Python's search for garbage out of moments in which the window has to answer."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Start no automatic collection within this block.

    Imports make so many objects that Python looks through all of them for garbage, 0.2 s at a time
    with the interpreter locked; here that waits until the block ends. The collector stays enabled:
    dask remembers from its import whether it was, and would leave it off for good.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
    finally:
        if thresholds[0]:  # else another thread has put collections off, and brings them back
            gc.set_threshold(*thresholds)


@contextmanager
def with_quick_collections() -> Iterator[None]:
    """Make collections within this block look at new objects only.

    Looking at all of them takes 0.2 s in a process that has torch loaded, with the interpreter
    locked: napari does so each time a layer is removed, and Python now and then while a job makes
    many objects. What exists when the block begins is looked at again by later collections.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
