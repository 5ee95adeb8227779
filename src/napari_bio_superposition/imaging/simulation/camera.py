"""From dye to counts: blur, uneven illumination, background, shot and read noise. No biology."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, uniform_filter1d

from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.imaging.simulation.drawing import smooth_noise

CHANNELS: Final = ("TMRM", "LysoTracker", "Hoechst", "Sytox")
CHANNEL_ROLES: Final = {
    "nuclei": "Hoechst",
    "mitochondria": "TMRM",
    "lysosomes": "LysoTracker",
    "death": "Sytox",
}
EXPOSURE: Final = (11000.0, 6500.0, 9000.0, 7000.0)
"""Counts for one relative unit of dye."""
PSF_SIGMA_PX: Final = (0.85, 0.80, 0.95, 0.90)
BACKGROUND: Final = (500.0, 450.0, 350.0, 300.0)
"""Medium and autofluorescence, counts above the offset."""
OFFSET: Final = 300.0
COUNTS_PER_PHOTON: Final = 12.0
READ_NOISE: Final = 25.0
"""Counts, standard deviation."""
OUT_OF_FOCUS: Final = 0.22
"""Share of the light that comes from outside the focal plane."""
OUT_OF_FOCUS_SIGMA_PX: Final = 7.0
FULL_SCALE: Final = 65535


@dataclass(frozen=True, eq=False)
class Optics:
    """The conditions under which one field is taken; one value per channel."""

    gain: npt.NDArray[np.float64]
    """Staining times exposure, relative to `EXPOSURE`."""
    background: npt.NDArray[np.float64]
    """Relative to `BACKGROUND`."""
    defocus: float
    """Multiplies the width of the point spread function."""
    vignetting: float
    """Loss of light in the corners, share."""
    noise: float
    """Multiplies shot and read noise."""


def acquire(
    dyes: npt.NDArray[np.float32], optics: Optics, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Take the image of dye distributions ``(channel, height, width)`` in relative units."""
    light = _illumination(dyes.shape[1:], optics, rng)
    unrest = smooth_noise(dyes.shape[1:], 160.0, rng)
    counts = np.empty(dyes.shape, dtype=np.uint16)
    for c, dye in enumerate(dyes):
        seen = _blur(dye, PSF_SIGMA_PX[c] * optics.defocus) * np.float32(
            EXPOSURE[c] * optics.gain[c]
        )
        medium = BACKGROUND[c] * optics.background[c] * np.exp(0.12 * unrest)
        counts[c] = _expose(light * (seen + medium), optics.noise, rng)
    return counts


def _blur(dye: FloatArray, sigma_px: float) -> FloatArray:
    """Blur by the focal spot and add the wide blur of light from above and below."""
    sharp = gaussian_filter(dye, sigma_px, truncate=3.0, mode="nearest")
    wide = sharp
    side = int(OUT_OF_FOCUS_SIGMA_PX * 2) | 1
    for _ in range(3):  # three box blurs come close to a Gaussian at any width for the same cost
        for axis in (0, 1):
            wide = uniform_filter1d(wide, side, axis=axis, mode="nearest")
    return np.asarray((1 - OUT_OF_FOCUS) * sharp + OUT_OF_FOCUS * wide, dtype=np.float32)


def _illumination(
    shape: tuple[int, ...], optics: Optics, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return a smooth field that is 1 at the brightest place and falls towards the corners."""
    centre = 0.5 + rng.uniform(-0.12, 0.12, 2)
    y = (np.arange(shape[0], dtype=np.float32) / shape[0] - centre[0])[:, None]
    x = (np.arange(shape[1], dtype=np.float32) / shape[1] - centre[1])[None, :]
    return np.asarray(1 - 2 * optics.vignetting * (y**2 + x**2), dtype=np.float32)


def _expose(expected: FloatArray, noise: float, rng: np.random.Generator) -> npt.NDArray[np.uint16]:
    """Return digitised counts: Poisson photons and Gaussian read noise on the camera's offset."""
    if noise > 0:
        gain = COUNTS_PER_PHOTON * noise**2  # fewer photons for the same counts: more shot noise
        shot = rng.poisson(np.maximum(expected, 0) / gain).astype(np.float32) * np.float32(gain)
        read = rng.standard_normal(expected.shape, dtype=np.float32) * np.float32(
            READ_NOISE * noise
        )
        expected = shot + read
    counts: npt.NDArray[np.uint16] = np.clip(np.rint(expected + OFFSET), 0, FULL_SCALE).astype(
        np.uint16
    )
    return counts
