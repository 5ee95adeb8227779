"""Damaged input gives an image or one clear error: never another exception, a warning or a hang.

Files are changed at random places; pytest turns any warning into a failure.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import BioSuperpositionError
from napari_bio_superposition.imaging.read import open_fields, read_field
from napari_bio_superposition.imaging.read_config import ReadConfig

fuzz = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CONFIG = ReadConfig(rgb_as_channels=True, projection="in_focus", in_focus_planes=1)
MAX_MESSAGE_CHARACTERS = 1500


def read_all(path: Path) -> None:
    """Read every field and its pixels; only our own errors may come out."""
    try:
        fields = open_fields(path)
        for field in fields[:3]:
            image = read_field(field, CONFIG)
            with dask.config.set(scheduler="synchronous"):
                pixels = np.asarray(image.pixels)
            assert pixels.dtype in (np.uint8, np.uint16, np.float32)
            assert len(image.channel_names) == len(pixels)
    except BioSuperpositionError as error:
        message = str(error)
    else:
        return
    assert 0 < len(message) < MAX_MESSAGE_CHARACTERS


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """Draw what to do (replace, insert, cut, end) at which fraction of the file, with what."""
    values = st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from([b"\0" * 4, b"\xff" * 4, b"\1\0\0\0", b"99999999", b"-1", b"<a>", b"&x;"]),
    )
    step = st.tuples(
        st.sampled_from(["replace", "insert", "cut", "end"]), st.floats(0, 0.999), values
    )
    return draw(st.lists(step, min_size=1, max_size=4))


def damage(content: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    for action, fraction, value in steps:
        start = int(fraction * len(content))
        if action == "end":
            content = content[:start]
        else:
            skipped = {"replace": len(value), "insert": 0, "cut": 7}[action]
            kept = b"" if action == "cut" else value
            content = content[:start] + kept + content[start + skipped :]
    return content


PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 3, 16, 18), dtype=np.uint16)
TIFFS: dict[str, dict[str, Any]] = {
    "ome": {"data": PIXELS, "ome": True, "compression": "lzw", "metadata": {"axes": "CZYX"}},
    "tiled": {"data": PIXELS, "ome": True, "tile": (16, 16), "compression": "zlib"},
    "imagej": {"data": PIXELS, "imagej": True, "resolution": (2, 2), "metadata": {"axes": "ZCYX"}},
    "plain": {"data": PIXELS[0], "photometric": "minisblack", "byteorder": ">"},
    "float": {"data": PIXELS[0] / 7e4, "compression": "zstd", "photometric": "minisblack"},
    "colour": {"data": PIXELS[0, :, :, :].transpose(1, 2, 0), "photometric": "rgb"},
}


@pytest.mark.parametrize("kind", TIFFS)
@fuzz
@given(steps=damages())
def test_tiff(tmp_path: Path, kind: str, steps: list[tuple[str, float, bytes]]) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "a.tif"
    if not whole.exists():
        tifffile.imwrite(whole, **TIFFS[kind])
    damaged.write_bytes(damage(whole.read_bytes(), steps))
    read_all(damaged)


@fuzz
@given(steps=damages())
def test_png(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], steps: list[tuple[str, float, bytes]]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(damage(imagecodecs.png_encode(PIXELS[0, 0]), steps))
    read_all(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("version", ["V5", "V7"])
@fuzz
@given(steps=damages())
def test_harmony_index(
    tmp_path: Path,
    write_harmony: Callable[..., Path],
    version: str,
    steps: list[tuple[str, float, bytes]],
) -> None:
    folder, whole = tmp_path / "export", tmp_path / "whole.xml"
    index = folder / "Images" / "Index.idx.xml"
    if not folder.exists():
        whole.write_bytes((write_harmony(version) / "Images" / "Index.idx.xml").read_bytes())
    index.write_bytes(damage(whole.read_bytes(), steps))
    read_all(folder)


@pytest.mark.parametrize(
    ("version", "name"),
    [("0.5", "zarr.json"), ("0.5", "0/zarr.json"), ("0.4", ".zattrs"), ("0.4", "0/.zarray")],
)
@fuzz
@given(
    path=st.lists(st.integers(0, 9), max_size=8),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=4,
    ),
)
def test_ome_zarr_metadata(
    tmp_path: Path,
    write_ome_zarr: Callable[..., Path],
    version: str,
    name: str,
    path: list[int],
    value: object,
) -> None:
    folder, whole = tmp_path / "a.zarr", tmp_path / "whole.json"
    if not folder.exists():
        write_ome_zarr(folder, PIXELS, "czyx", version=version, labels=("a", "b"))
        whole.write_bytes((folder / name).read_bytes())
    changed = replace_inside(json.loads(whole.read_text()), path, value)
    (folder / name).write_text(json.dumps(changed))
    read_all(folder)


def replace_inside(tree: Any, path: list[int], value: object) -> Any:
    """Follow *path* down the tree as far as it goes and put *value* there."""
    if not path or not isinstance(tree, dict | list) or not tree:
        return value
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = keys[path[0] % len(keys)]
    tree[key] = replace_inside(tree[key], path[1:], value)
    return tree
