"""Collections of garbage: put off during imports, quick while layers are removed, whole after."""

import contextlib
import gc
import weakref

from napari_bio_superposition.widgets.garbage import with_quick_collections, without_collections


class Knot:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def _make_knot() -> "weakref.ref[Knot]":
    return weakref.ref(Knot())


def test_collections_are_put_off_and_come_back() -> None:
    before = gc.get_threshold()
    with contextlib.suppress(ValueError), without_collections():
        assert gc.get_threshold()[0] == 0
        assert gc.isenabled()  # dask looks at this while it is imported
        raise ValueError("whatever goes wrong inside")
    assert gc.get_threshold() == before


def test_two_threads_may_put_them_off_at_once() -> None:
    before = gc.get_threshold()
    first, second = without_collections(), without_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_old_garbage_waits_until_the_block_ends() -> None:
    old = _make_knot()
    with with_quick_collections():
        new = _make_knot()
        gc.collect()
        assert old() is not None
        assert new() is None
    gc.collect()
    assert old() is None
    assert gc.get_freeze_count() == 0
