"""Which patches are worth analysing, and in words why others are not. Nothing is moved or lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_bio_superposition.core.types import BoolArray, IntArray
from napari_bio_superposition.imaging.grid import cut_windows
from napari_bio_superposition.imaging.patch_config import PatchConfig

SIXTEEN_BIT: Final = 65535.0
_TOP_SHARE: Final = 0.15
_NOISE_KERNEL: Final = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""Difference of two Laplacians: blind to edges and ramps, of norm 6 for white noise."""

Metrics = Mapping[str, npt.NDArray[np.float64]]
_Rule = tuple[str, BoolArray]


@dataclass(frozen=True, eq=False)
class QualityVerdict:
    """What the quality control says about the patches of one image; fields as in `PatchSet`."""

    accepted: BoolArray
    reasons: tuple[str, ...]
    quality: Metrics


def assess_patches(
    planes: Sequence[npt.NDArray[Any]],
    origins: IntArray,
    config: PatchConfig,
    *,
    full_scale: float,
) -> QualityVerdict:
    """Judge each patch by the first rule that it fails.

    Parameters
    ----------
    planes
        Channels in camera counts, ``(height, width)`` each.
    origins
        Row and column of the top-left pixel of each patch, ``(n, 2)``.
    config
        Which rules, and their thresholds.
    full_scale
        Largest count that the camera can give.

    Returns
    -------
    QualityVerdict
        With ``quality="none"`` everything is accepted and nothing measured.
    """
    assess = _METHODS[config.quality]
    metrics, rules = assess(planes, origins, config, full_scale)
    reasons = np.full(len(origins), "", dtype=object)
    for reason, failed in rules:
        reasons[failed & (reasons == "")] = reason
    return QualityVerdict(reasons == "", tuple(reasons.tolist()), metrics)


def _assess_nothing(
    planes: Sequence[npt.NDArray[Any]], origins: IntArray, config: PatchConfig, full_scale: float
) -> tuple[Metrics, list[_Rule]]:
    return {}, []


# --- independent of exposure and offset ----------------------------------------------------------


def _assess_relative(
    planes: Sequence[npt.NDArray[Any]], origins: IntArray, config: PatchConfig, full_scale: float
) -> tuple[Metrics, list[_Rule]]:
    """Measure signal, contrast, detail and saturation as ratios within the field [Y].

    Gain and offset of the camera cancel in each of them, so that no exposure, dye lot or plate is
    favoured (section 2.2 of the method specification).
    """
    signal = np.zeros(planes[0].shape, dtype=bool)
    contrast, sharpness, saturated = (np.zeros(len(origins)) for _ in range(3))
    for plane in planes:
        field = _measure_field(plane, config, full_scale)
        signal |= field.signal
        in_channel = _measure_contrast(field, origins, config)
        contrast = np.maximum(contrast, in_channel[0])
        sharpness = np.maximum(sharpness, in_channel[1])
        saturated = np.maximum(saturated, _mean_in_patches(field.saturated, origins, config))
    metrics = {
        "signal_fraction": _mean_in_patches(signal, origins, config),
        "contrast_to_noise": contrast,
        "sharpness": sharpness,
        "saturated_fraction": saturated,
    }
    rules = [
        ("saturated", saturated > config.max_saturated_fraction),
        ("too empty", metrics["signal_fraction"] < config.min_signal_fraction),
        ("low variation", contrast < config.min_contrast_to_noise),
        ("blurred", sharpness < config.min_sharpness),
    ]
    return metrics, rules


@dataclass(frozen=True, eq=False)
class _FieldMaps:
    """One channel of the whole field, seen at the scale of the smoothing."""

    smooth: npt.NDArray[np.float32]
    detail: npt.NDArray[np.float32]
    """Laplacian of the smoothed channel, counts/px²."""
    signal: BoolArray
    saturated: BoolArray
    noise: float
    """Standard deviation of the noise of a raw pixel."""


def _measure_field(plane: npt.NDArray[Any], config: PatchConfig, full_scale: float) -> _FieldMaps:
    raw = plane.astype(np.float32)
    noise = estimate_noise(raw)
    smooth = ndimage.gaussian_filter(raw, config.smoothing_px, mode="mirror")
    floor, top = np.percentile(smooth, (1.0, 99.5))
    rise = max(config.signal_over_noise * noise, config.signal_over_range * (top - floor))
    return _FieldMaps(
        smooth=smooth,
        detail=ndimage.laplace(smooth, mode="mirror"),
        signal=smooth - floor > rise,
        saturated=_find_saturated(plane, full_scale),
        noise=noise,
    )


def estimate_noise(plane: npt.NDArray[Any]) -> float:
    """Return the standard deviation of the pixel noise, in counts.

    The median deviation of a difference of Laplacians is blind to smooth structure and to edges
    that cover less than half of the field.

    Notes
    -----
    J. Immerkær, Fast noise variance estimation, CVIU 64 (1996), with the median in place of the
    mean.
    """
    response = ndimage.convolve(plane.astype(np.float32, copy=False), _NOISE_KERNEL, mode="mirror")
    return float(1.4826 * np.median(np.abs(response)) / 6.0)


def _find_saturated(plane: npt.NDArray[Any], full_scale: float) -> BoolArray:
    """Return the pixels at the ceiling: the camera's, or the largest count of the field.

    A 12-bit camera in a 16-bit file saturates far below the full scale; what gives it away is that
    many pixels share the largest count, which noise does not allow otherwise.
    """
    ceiling = plane.max()
    if ceiling == plane.min() and ceiling < full_scale:
        return np.zeros(plane.shape, dtype=bool)
    at_ceiling: BoolArray = plane >= min(ceiling, full_scale)
    return at_ceiling


def _measure_contrast(
    field: _FieldMaps, origins: IntArray, config: PatchConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return contrast-to-noise and sharpness of one channel, ``(n,)`` each.

    Sharpness is scale-normalised detail over contrast, ``s² sd(∇²G_s x) / sd(G_s x)``; what white
    noise adds to both is taken off first, so that noise does not pass for detail. Channels without
    contrast have no say.
    """
    scale = config.smoothing_px
    smooth_noise, detail_noise = (field.noise**2 * gain for gain in _noise_gains(scale))
    contrast = np.maximum(_variance_in_patches(field.smooth, origins, config) - smooth_noise, 0.0)
    detail = np.maximum(_variance_in_patches(field.detail, origins, config) - detail_noise, 0.0)
    ratio = np.sqrt(_divide(contrast, smooth_noise))
    sharpness = scale**2 * np.sqrt(_divide(detail, contrast))
    return ratio, np.where(ratio >= config.min_contrast_to_noise, sharpness, 0.0)


def _noise_gains(scale: float) -> tuple[float, float]:
    """Return the variance of white noise after smoothing, and after the Laplacian on top of it.

    On a fine grid these are ``1/(4π s²)`` and ``1/(2π s⁶)``; on pixels the second is less, by 15 %
    at a scale of 1.5 px.
    """
    reach = 4 * int(np.ceil(scale)) + 2
    impulse = np.zeros((2 * reach + 1, 2 * reach + 1))
    impulse[reach, reach] = 1.0
    smooth = ndimage.gaussian_filter(impulse, scale)
    return float((smooth**2).sum()), float((ndimage.laplace(smooth) ** 2).sum())


def _divide(
    numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64] | float
) -> npt.NDArray[np.float64]:
    """Divide where 0/0 is 0 and x/0 is infinite: a noise-free image has boundless contrast."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: npt.NDArray[np.float64] = np.where(numerator > 0, numerator / denominator, 0.0)
    return ratio


def _mean_in_patches(
    plane: npt.NDArray[Any], origins: IntArray, config: PatchConfig
) -> npt.NDArray[np.float64]:
    return _reduce_patches(plane, origins, config, lambda window: float(window.mean()))


def _variance_in_patches(
    plane: npt.NDArray[Any], origins: IntArray, config: PatchConfig
) -> npt.NDArray[np.float64]:
    return _reduce_patches(plane, origins, config, lambda window: float(window.var(dtype=float)))


def _reduce_patches(
    plane: npt.NDArray[Any],
    origins: IntArray,
    config: PatchConfig,
    reduce: Callable[[npt.NDArray[Any]], float],
) -> npt.NDArray[np.float64]:
    return np.array([reduce(window) for window in cut_windows(plane, origins, config.side_px)])


# --- as published --------------------------------------------------------------------------------


def _assess_published(
    planes: Sequence[npt.NDArray[Any]], origins: IntArray, config: PatchConfig, full_scale: float
) -> tuple[Metrics, list[_Rule]]:
    """Measure and judge by the paper's rules, in counts of a 16-bit camera (section 2.4)."""
    scale = SIXTEEN_BIT / full_scale
    windows = zip(*(cut_windows(plane, origins, config.side_px) for plane in planes), strict=True)
    measured = [_measure_published(np.stack(channels) * scale, config) for channels in windows]
    columns = np.array(measured, dtype=float).reshape(-1, 4).T
    variation, top_signal, laplacian, background = columns
    metrics = {
        "variation_counts": variation,
        "top_signal_counts": top_signal,
        "laplacian_variance_counts2": laplacian,
        "background_fraction": background,
    }
    rules = [
        ("low variation", variation < config.published_min_variation),
        ("weak signal", top_signal < config.published_min_top_signal),
        ("blurred", laplacian < config.published_min_laplacian_variance),
        ("too empty", background > config.published_max_background_fraction),
    ]
    return metrics, rules


def _measure_published(
    counts: npt.NDArray[np.float64], config: PatchConfig
) -> tuple[float, float, float, float]:
    """Return variation, top signal, Laplacian variance and background share of one patch."""
    ranked = np.sort(counts.reshape(len(counts), -1), axis=1)
    n_top = int(_TOP_SHARE * ranked.shape[1])
    stretched = np.stack([_stretch_channel(channel, config) for channel in counts])
    is_background = stretched.max(axis=0) <= config.published_signal_level
    return (
        float(counts.std(axis=(1, 2)).sum()),
        float(ranked[:, ranked.shape[1] - n_top :].sum()),
        float(ndimage.laplace(counts.max(axis=0), mode="mirror").var()),
        float(is_background.mean()),
    )


def _stretch_channel(
    channel: npt.NDArray[np.float64], config: PatchConfig
) -> npt.NDArray[np.float64]:
    """Stretch the 10th to 99.5th percentile over 16 bits, unless there is too little variation."""
    if channel.std() < config.published_min_channel_deviation:
        return channel
    low, high = np.percentile(channel, (10.0, 99.5))
    if high <= low:
        return np.zeros_like(channel)
    stretched: npt.NDArray[np.float64] = (channel - low) / (high - low) * SIXTEEN_BIT
    return np.clip(stretched, 0.0, SIXTEEN_BIT, out=stretched)


_METHODS: Final = {
    "relative": _assess_relative,
    "published": _assess_published,
    "none": _assess_nothing,
}
