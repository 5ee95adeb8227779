import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.segmentation.tiling import TileGrid


def a_grid(shape: tuple[int, int], halo: int = 20) -> TileGrid:
    return TileGrid(shape=shape, divisor=(16, 16), halo=(halo, halo))


def test_a_small_image_is_one_tile_without_halo() -> None:
    (tile,) = a_grid((100, 120)).cover(1024)
    assert (tile.y.read_start, tile.y.read_stop) == (0, 112)
    assert (tile.x.read_start, tile.x.read_stop) == (0, 128)


def test_a_halo_is_rounded_up_to_whole_divisors() -> None:
    tiles = a_grid((64, 192)).cover(64)
    assert [(t.x.start, t.x.stop) for t in tiles] == [(0, 64), (64, 128), (128, 192)]
    assert [(t.x.read_start, t.x.read_stop) for t in tiles] == [(0, 96), (32, 160), (96, 192)]


@given(
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile_px=st.integers(1, 150),
    halo=st.integers(0, 40),
)
def test_cores_cover_the_padded_image_once(shape: tuple[int, int], tile_px: int, halo: int) -> None:
    grid = a_grid(shape, halo)
    times = np.zeros(grid.padded_shape, int)
    for tile in grid.cover(tile_px):
        times[tile.y.start : tile.y.stop, tile.x.start : tile.x.stop] += 1
        for span in (tile.y, tile.x):
            assert span.start % 16 == span.stop % 16 == 0
            assert span.read_start % 16 == span.read_stop % 16 == 0
            assert span.read_start <= span.start < span.stop <= span.read_stop
    assert (times == 1).all()


@given(shape=st.tuples(st.integers(1, 90), st.integers(1, 90)), tile_px=st.integers(16, 64))
def test_a_tile_reads_what_lies_in_the_mirrored_image(shape: tuple[int, int], tile_px: int) -> None:
    plane = np.arange(shape[0] * shape[1]).reshape(shape)
    grid = a_grid(shape)
    missing = [(0, p - s) for p, s in zip(grid.padded_shape, shape, strict=True)]
    padded = np.pad(plane, missing, mode="reflect")
    for tile in grid.cover(tile_px):
        expected = padded[
            tile.y.read_start : tile.y.read_stop, tile.x.read_start : tile.x.read_stop
        ]
        np.testing.assert_array_equal(tile.read(plane), expected)


def test_splitting_a_tile_keeps_its_core() -> None:
    grid = a_grid((256, 256))
    (whole,) = grid.cover(256)
    parts = list(grid.split(whole, 128))
    assert len(parts) == 4
    assert sum((t.y.stop - t.y.start) * (t.x.stop - t.x.start) for t in parts) == 256**2
    (smallest,) = a_grid((16, 16)).cover(16)
    assert list(a_grid((16, 16)).split(smallest, 8)) == [smallest]
