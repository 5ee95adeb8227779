"""Patches on disk: written, opened, gone on with after an interruption."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.imaging.patch_store import (
    CLASS,
    JOURNAL_FILE,
    OBS_COLUMNS,
    PATCHES_FILE,
    PatchStore,
    PatchWriter,
    StoreInfo,
    write_patch_store,
)

INFO = StoreInfo(key="k", channel_roles=("mitochondria", "nuclei"), side_px=16)


def _pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, 2, 16, 16), dtype=np.float32)


def _rows(image: str, n: int) -> list[dict[str, object]]:
    return [{"id": f"{image}:{i}", "image_id": image, "y": 16 * i, "x": 0} for i in range(n)]


def test_a_store_gives_back_pixels_rows_and_roles(tmp_path: Path) -> None:
    obs = pd.DataFrame({"plate": ["0012"] * 3, CLASS: ["b", "a", ""]}, index=["p", "q", "r"])
    store = write_patch_store(tmp_path / "store", _pixels(3, 1), obs, INFO)
    again = PatchStore.open(store.folder)
    assert len(again) == 3
    assert again.roles == ("mitochondria", "nuclei")
    assert again.classes == ("a", "b")
    assert list(again.obs.columns) == list(OBS_COLUMNS)
    assert again.obs["plate"].tolist() == ["0012"] * 3
    batch = again.batch(np.array([2, 0]))
    assert batch.dtype == np.float32
    np.testing.assert_allclose(batch, _pixels(3, 1)[[2, 0]], atol=5e-4)
    assert isinstance(again.pixels, np.memmap)


def test_an_interrupted_store_goes_on_behind_its_last_whole_image(tmp_path: Path) -> None:
    writer = PatchWriter(tmp_path, INFO)
    writer.append_rows(_pixels(2, 1), _rows("a", 2), image="a")
    with (tmp_path / PATCHES_FILE).open("ab") as stream:  # killed within the second image
        stream.write(b"\1" * 700)
    with (tmp_path / JOURNAL_FILE).open("a") as stream:
        stream.write('{"key": "k", "image": "b", "ro')
    writer = PatchWriter(tmp_path, INFO)
    assert writer.done == {"a"}
    writer.append_rows(_pixels(3, 2), _rows("b", 3), image="b")
    store = writer.finish(["x"] * 5, class_column="line", failures={})
    expected = np.concatenate([_pixels(2, 1), _pixels(3, 2)]).astype(np.float16)
    np.testing.assert_array_equal(store.pixels, expected)
    assert store.obs["image_id"].tolist() == ["a", "a", "b", "b", "b"]


def test_a_store_of_another_key_is_begun_anew(tmp_path: Path) -> None:
    PatchWriter(tmp_path, INFO).append_rows(_pixels(2, 1), _rows("a", 2), image="a")
    other = PatchWriter(tmp_path, StoreInfo(key="other", channel_roles=("nuclei",), side_px=16))
    assert other.done == frozenset()
    assert other.n_patches == 0


def test_an_unfinished_or_damaged_store_is_refused(tmp_path: Path) -> None:
    PatchWriter(tmp_path / "half", INFO).append_rows(_pixels(2, 1), _rows("a", 2), image="a")
    with pytest.raises(TableError, match="no complete store"):
        PatchStore.open(tmp_path / "half")
    obs = pd.DataFrame(index=["p", "q"])
    store = write_patch_store(tmp_path / "cut", _pixels(2, 1), obs, INFO)
    path = store.folder / PATCHES_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TableError, match="damaged"):
        PatchStore.open(store.folder)
