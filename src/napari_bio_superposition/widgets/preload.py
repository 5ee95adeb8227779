"""Lets a thread import heavy libraries while the window answers. Nothing is imported here."""

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_bio_superposition.core.threads import let_idle_threads_sleep
from napari_bio_superposition.widgets.garbage import without_collections

_LAZY, _GLOBAL = 0x1, 0x100  # RTLD_LAZY and RTLD_GLOBAL of glibc


@contextmanager
def gentle_imports(*, torch: bool = True) -> Iterator[None]:
    """Import heavy libraries within this block, in a thread, with shorter stops of the window.

    Parameters
    ----------
    torch
        Whether torch is among them: mapping it takes most of the time.
    """
    let_idle_threads_sleep()
    with without_collections():
        if torch:
            preload_torch()
        yield


def preload_torch() -> None:
    """Map torch's library into the process, with the interpreter free for other threads.

    An import statement holds the interpreter's lock while the linker works through the library
    (0.3 s on a fast disk), and the window stands still. A foreign function call lets go of the
    lock; the import then finds the library loaded. Only on Linux: elsewhere nothing happens, and
    the import does the same work more slowly.
    """
    if not sys.platform.startswith("linux") or "torch" in sys.modules:
        return
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return  # the import will say so in its own words
    folder = Path(spec.origin).parent / "lib"
    process = ctypes.CDLL(None)
    process.dlopen.restype = ctypes.c_void_p  # an int would cut the handle in half
    for name, flags in (("libtorch_global_deps.so", _LAZY | _GLOBAL), ("libtorch_cpu.so", _LAZY)):
        library = folder / name
        if library.exists():
            process.dlopen(str(library).encode(), flags)
