"""Overlays lie where the tokens are, keep their values, and blend as computed by hand."""

import numpy as np
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.features import overlays
from napari_bio_superposition.features.overlays import (
    assemble_overlay,
    choose_colours,
    composite,
    contour_lines,
    fixed_scale,
    image_scale,
    interpolation_weights,
    render_overlay,
)

CORNERS = np.array([[0, 0], [0, 128], [128, 0], [128, 128]])


def test_a_bright_token_lands_in_the_middle_of_its_pixels() -> None:
    """Token (10, 20) of the patch at (128, 0) covers rows 148-149 and columns 40-41."""
    maps = np.zeros((4, 64, 64), np.float32)
    maps[2, 10, 20] = 16.0
    overlay = assemble_overlay(maps, CORNERS, 128, (256, 256))
    expected = np.outer([0.25, 0.75, 0.75, 0.25], [0.25, 0.75, 0.75, 0.25]) * 16
    np.testing.assert_allclose(overlay[147:151, 39:43], expected)
    assert overlay.sum() == pytest.approx(expected.sum())


def test_weights_are_those_of_half_pixel_alignment() -> None:
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(interpolation_weights(2, 4), expected)


@given(st.integers(1, 40), st.integers(1, 80))
def test_weights_add_up_and_keep_a_ramp_between_the_tokens(n_tokens: int, n_pixels: int) -> None:
    weights = interpolation_weights(n_tokens, n_pixels)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert weights.min() >= 0
    place = np.clip((np.arange(n_pixels) + 0.5) * n_tokens / n_pixels - 0.5, 0, n_tokens - 1)
    np.testing.assert_allclose(weights @ np.arange(n_tokens), place, atol=1e-4)


def test_a_constant_map_stays_constant_and_the_rest_is_nan() -> None:
    overlay = assemble_overlay(np.full((1, 8, 8), 3.0, np.float32), CORNERS[:1], 16, (20, 30))
    assert (overlay[:16, :16] == 3).all()
    assert np.isnan(overlay[16:]).all()
    assert np.isnan(overlay[:, 16:]).all()
    filled = assemble_overlay(np.ones((1, 8, 8), np.float32), CORNERS[:1], 16, (20, 30), outside=0)
    assert filled[-1, -1] == 0


def test_overlapping_patches_blend_without_a_step() -> None:
    """Tokens 1.5, 0.5 of the left patch from its edge meet 0.5, 1.5 of the right one."""
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]).astype(np.float32)
    overlay = assemble_overlay(maps, np.array([[0, 0], [0, 4]]), 8, (8, 12))
    tokens = [1, 1, 1.5, 2.5, 3, 3]
    expected = interpolation_weights(6, 12) @ np.array(tokens, np.float32)
    np.testing.assert_allclose(overlay, np.tile(expected, (8, 1)), rtol=1e-6)


def test_patches_off_the_grid_of_tokens_blend_alike() -> None:
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]).astype(np.float32)
    overlay = assemble_overlay(maps, np.array([[0, 0], [0, 5]]), 8, (8, 13))
    assert overlay[0, :5].tolist() == [1] * 5
    np.testing.assert_allclose(overlay[0, 5:8], [1 + 2 / 6, 2, 3 - 2 / 6], rtol=1e-6)
    assert overlay[0, 8:].tolist() == [3] * 5


def test_the_border_between_patches_does_not_show(rng: np.random.Generator) -> None:
    """A smooth field cut into patches comes back as smooth as it was."""
    y, x = np.mgrid[:32, :32]
    field = (np.sin(y / 5) + np.cos(x / 7)).astype(np.float32)
    maps = field.reshape(2, 16, 2, 16).transpose(0, 2, 1, 3).reshape(4, 16, 16)
    origins = np.array([[0, 0], [0, 32], [32, 0], [32, 32]])
    overlay = assemble_overlay(maps, origins, 32, (64, 64))
    weights = interpolation_weights(32, 64)
    np.testing.assert_allclose(overlay, weights @ field @ weights.T, rtol=1e-5, atol=1e-5)


def test_a_missing_patch_does_not_darken_its_neighbours() -> None:
    maps = np.full((3, 64, 64), 2.0, np.float32)
    overlay = assemble_overlay(maps, CORNERS[:3], 128, (256, 256))
    assert np.isnan(overlay[128:, 128:]).all()
    assert overlay[127, 200] == pytest.approx(2.0)
    assert np.nanmin(overlay) == pytest.approx(2.0)


def test_the_scale_of_one_image_ignores_its_zeros_and_outliers() -> None:
    overlay = np.zeros((10, 20), np.float32)
    overlay[0] = 1.0
    overlay[1, :] = np.nan
    assert image_scale(overlay) == (0.0, 1.0)
    assert image_scale(np.zeros((4, 4), np.float32)) == (0.0, 1.0)


def test_contours_surround_what_is_active_also_at_the_edge() -> None:
    overlay = np.full((12, 12), np.nan, np.float32)
    overlay[:8, :8] = 0
    overlay[0:3, 2:5] = 2.0
    (line,) = contour_lines(overlay, 1.0)
    np.testing.assert_allclose(line.min(axis=0), [-0.5, 1.5])
    np.testing.assert_allclose(line.max(axis=0), [2.5, 4.5])
    np.testing.assert_allclose(line[0], line[-1])  # closed


def test_maps_that_do_not_fit_are_refused() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(TableError, match="2 maps for 1 patches"):
        assemble_overlay(maps, CORNERS[:1], 8, (8, 8))
    with pytest.raises(TableError, match="outside of the image of 8x8 px"):
        assemble_overlay(maps, CORNERS[:2], 8, (8, 8))


def test_the_scale_is_that_of_the_table() -> None:
    adata = AnnData(np.zeros((1, 2), np.float32))
    adata.var_names = ["latent_00000", "latent_00001"]
    adata.var[Keys.MAX_ACTIVATION] = [2.5, 0.0]
    assert fixed_scale(adata, "latent_00000") == (0.0, 2.5)
    assert fixed_scale(adata, "latent_00001") == (0.0, 1.0)
    with pytest.raises(TableError, match="latent_00000"):
        fixed_scale(adata, "latent_00009")


def test_blending_by_hand() -> None:
    """Half of the scale: the middle colour, with half of the opacity."""
    base = np.full((1, 3, 3), 0.2, np.float32)
    overlay = np.array([[0.0, 1.0, np.nan]], np.float32)
    colours = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 1]])
    blended = render_overlay(base, overlay, (0, 2), colours=colours, opacity=0.5)
    assert blended[0, 0].tolist() == pytest.approx([0.2] * 3)
    assert blended[0, 1].tolist() == pytest.approx([0.2 + 0.25 * 0.8, 0.15, 0.15])
    assert blended[0, 2].tolist() == pytest.approx([0.2] * 3)
    plain = render_overlay(base, overlay, (0, 2), colours=colours, opacity=0.5, fade=False)
    assert plain[0, 0].tolist() == pytest.approx([0.1] * 3)
    assert plain[0, 2].tolist() == pytest.approx([0.2] * 3)


def test_colour_maps_go_by_name() -> None:
    base = np.zeros((4, 4, 3), np.float32)
    full = render_overlay(base, np.ones((4, 4), np.float32), (0, 1), colours="gray", opacity=1)
    assert (full == 1).all()
    with pytest.raises(TableError, match="no colour map 'gry'"):
        render_overlay(base, np.ones((4, 4), np.float32), (0, 1), colours="gry")


def make_image(*planes: list[list[float]], roles: tuple[str, ...]) -> MultichannelImage:
    names = tuple(f"channel{i}" for i in range(len(planes)))
    return MultichannelImage(
        np.array(planes),
        channel_names=names,
        roles=dict(zip(roles, names, strict=True)),
        full_scale=65535,
        pixel_size_um=None,
        acquisition=Acquisition("a"),
    )


def test_channels_are_stretched_and_added() -> None:
    image = make_image([[0, 50, 100]], [[100, 0, 0]], roles=("nuclei", "mitochondria"))
    picture = composite(
        image, {"nuclei": (0, 0, 1), "mitochondria": (1, 0, 0.5)}, percentiles=(0, 100)
    )
    np.testing.assert_allclose(picture[0], [[1, 0, 0.5], [0, 0, 0.5], [0, 0, 1]], atol=1e-6)


def test_every_role_has_a_colour_and_empty_channels_are_black() -> None:
    image = make_image([[0, 0]], [[7, 7]], roles=("nuclei", "axons"))
    assert list(choose_colours(image)) == ["nuclei", "axons"]
    assert not composite(image).any()


@pytest.mark.parametrize(
    ("n_tokens", "pitch", "cut"), [(70, 2, 1), (5, 3, 2), (4, 1, 0), (1, 4, 1)]
)
def test_a_whole_grid_is_enlarged_by_the_same_weights(
    n_tokens: int, pitch: int, cut: int, rng: np.random.Generator
) -> None:
    """Of an image that ends within the last token."""
    tokens = rng.random((n_tokens, n_tokens + 3), dtype=np.float32)
    shape = n_tokens * pitch - cut, (n_tokens + 3) * pitch - cut
    rows, columns = (
        interpolation_weights(n, n * pitch)[:length]
        for n, length in zip(tokens.shape, shape, strict=True)
    )
    enlarged = overlays._enlarge(tokens, pitch, shape)
    assert enlarged.shape == shape
    np.testing.assert_allclose(enlarged, rows @ tokens @ columns.T, atol=1e-6)
