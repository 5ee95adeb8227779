"""Drawing primitives against hand-computed values."""

import numpy as np
import pytest

from napari_bio_superposition.imaging.simulation.drawing import (
    draw_discs,
    enlarge,
    grow_curves,
    sample_at,
    smooth_noise,
    splat_points,
)


def test_a_point_is_shared_by_the_four_pixels_around_it() -> None:
    image = splat_points(np.array([[1.25, 2.5]]), np.array([8.0]), (4, 5))
    expected = np.zeros((4, 5))
    expected[1:3, 2:4] = [[3.0, 3.0], [1.0, 1.0]]
    np.testing.assert_allclose(image, expected)


def test_points_across_the_border_keep_only_their_inner_share() -> None:
    points = np.array([[-0.5, 0.0], [3.5, 4.0], [-2.0, 0.0], [0.0, 99.0]])
    image = splat_points(points, np.ones(4), (4, 5))
    assert image[0, 0] == pytest.approx(0.5)
    assert image[3, 4] == pytest.approx(0.5)
    assert image.sum() == pytest.approx(1.0)


def test_a_disc_has_its_area_amplitude_and_place() -> None:
    image = draw_discs(np.array([[20.3, 15.6]]), np.array([6.0]), np.array([2.0]), (41, 33))
    assert image.sum() == pytest.approx(2 * np.pi * 36, rel=0.01)
    assert image.max() == 2.0
    rows, columns = np.indices(image.shape)
    assert (rows * image).sum() / image.sum() == pytest.approx(20.3, abs=0.05)
    assert (columns * image).sum() / image.sum() == pytest.approx(15.6, abs=0.05)


def test_discs_add_up_and_are_cut_at_the_border() -> None:
    centres, radii = np.array([[5.0, 5.0], [5.0, 5.0], [0.0, 18.0]]), np.array([2.0, 4.0, 3.0])
    image = draw_discs(centres, radii, np.ones(3), (11, 25))
    assert image[5, 5] == 2.0
    assert image[5, 8] == 1.0
    assert image[:, 11:].sum() == pytest.approx(0.5 * np.pi * 9 + 3.0, rel=0.05)


def test_a_domed_disc_fades_towards_its_rim() -> None:
    one = np.array([[10.0, 10.0]]), np.array([5.0]), np.array([1.0]), (21, 21)
    flat, domed = draw_discs(*one), draw_discs(*one, domed=True)
    assert domed[10, 10] == flat[10, 10] == 1.0
    assert domed[10, 14] == pytest.approx(np.sqrt(1 - (4 / 5.5) ** 2), abs=1e-5)


def test_curves_take_steps_of_one_pixel_and_go_straight_without_wobble(
    rng: np.random.Generator,
) -> None:
    starts, headings = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([0.0, np.pi / 2])
    points, heading = grow_curves(starts, headings, 10, 0.0, rng)
    np.testing.assert_allclose(points[0, -1], [3.0, 14.0], atol=1e-6)
    np.testing.assert_allclose(points[1, -1], [10.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(heading[1], np.pi / 2)
    curved, _ = grow_curves(starts, headings, 50, 0.2, rng)
    np.testing.assert_allclose(np.linalg.norm(np.diff(curved, axis=1), axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale_px", [1.5, 12.0, 40.0])
def test_smooth_noise_has_unit_variance_and_the_asked_scale(
    scale_px: float, rng: np.random.Generator
) -> None:
    fields = np.stack([smooth_noise((192, 160), scale_px, rng) for _ in range(60)])
    assert fields.shape == (60, 192, 160)
    assert fields.var() == pytest.approx(1.0, abs=0.3 if scale_px > 20 else 0.12)
    lag = round(2 * scale_px)  # where the correlation of a blurred field is exp(-1)
    correlation = np.mean(fields[:, lag:] * fields[:, :-lag]) / fields.var()
    assert correlation == pytest.approx(np.exp(-1), abs=0.12)


def test_enlarging_is_exact_on_a_plane() -> None:
    coarse = np.add.outer(10.0 * np.arange(5), np.arange(6.0)).astype(np.float32)
    fine = enlarge(coarse, 3, (9, 12))
    expected = np.add.outer(10 / 3 * np.arange(9), np.arange(12) / 3)
    np.testing.assert_allclose(fine, expected, rtol=1e-5, atol=1e-5)


def test_sampling_interpolates() -> None:
    field = np.add.outer(np.arange(4.0), 10 * np.arange(5.0)).astype(np.float32)
    np.testing.assert_allclose(sample_at(field, np.array([[1.5, 2.25], [-9.0, 0.0]])), [24.0, 0.0])
