"""Images that a feature likes best, made in Fourier space with the model's own preprocessing."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.activation_maximization_config import MaximizationConfig
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.sae import JumpReLU
from napari_bio_superposition.models.tokens import prepare_tokens

_LARGEST: Final = 3.5
"""Bound of a pixel in standard deviations of its channel."""
_PUBLISHED_SIDE: Final = 128
"""The learning rate holds for coefficients of patches of this side; the transform divides by its
square."""
_ROTATION_DEG: Final = 15.0
_SCALES: Final = (0.9, 1.1)
_TEMPERATURES: Final = (5.0, 100.0)
"""Sharpness of the soft gate at the first and the last step; at 10 it stays half open."""


@dataclass(frozen=True, eq=False)
class MaximizedImages:
    """Synthetic images for one latent, best first.

    Parameters
    ----------
    latent
        Its number.
    images
        ``(n, channel, side, side)`` as the encoder gets them: mean 0 and deviation 1 per channel.
    maps
        Activation of the latent, ``(n, h, w)``.
    score
        Mean activation with the hard gate, as in the table, ``(n,)``.
    robust_score
        The same, averaged over random transforms.
    percentile
        Share of real patches whose activation is below the score, percent; nan where none are
        given.
    decay, jitter_px, seed
        The setting of each image.
    """

    latent: int
    images: FloatArray
    maps: FloatArray
    score: FloatArray
    robust_score: FloatArray
    percentile: FloatArray
    decay: FloatArray
    jitter_px: IntArray
    seed: IntArray


def maximize_activation(
    model: FeatureModel,
    latent: int,
    config: MaximizationConfig | None = None,
    *,
    real: FloatArray | None = None,
    rng: np.random.Generator,
) -> Job[MaximizedImages]:
    """Make images that excite one latent as much as possible.

    Parameters
    ----------
    model
        Its preprocessing is used throughout: instance normalisation, gap-scalar, the centring of
        training and inference, unit tokens, norms.
    latent
        Which one; only its column of the SAE is computed.
    config
        Settings; the defaults where omitted.
    real
        Mean activations of the latent on real patches, for percentiles.
    rng
        Draws starts and transforms.

    Returns
    -------
    MaximizedImages
        All settings, best robust score first.

    Raises
    ------
    ModelError
        For a latent outside the dictionary.

    Notes
    -----
    Section 15 of the method specification with its choices [Y]. A synthetic image shows what a
    feature answers to, not what occurs: look at real examples beside it.
    """
    config = config or MaximizationConfig()
    if not 0 <= latent < model.card.n_latents:
        raise ModelError(
            f"No latent {latent} in model {model.card.name!r}; choose one from 0 to "
            f"{model.card.n_latents - 1}."
        )
    grid = [
        (decay, jitter, seed)
        for decay in config.decays
        for jitter in config.jitters_px
        for seed in range(config.n_seeds)
    ]
    target = _Target(model, model.sae.jump(torch.tensor([latent], device=model.device)))
    found: list[Tensor] = []
    for start in range(0, len(grid), config.batch_size):
        part = grid[start : start + config.batch_size]
        before = start * config.n_steps
        found.append((yield from _optimize(target, part, config, before, len(grid), rng)))
    return _score(target, torch.cat(found), grid, (latent, config, real), rng)


@dataclass(frozen=True, eq=False)
class _Target:
    """The way from images to the activation of one latent."""

    model: FeatureModel
    jump: JumpReLU

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise, bound and normalise again: the scale of the coefficients then means nothing.

        Bounding first, as published, stops the gradient of every pixel that has grown too large.
        """
        return self._normalize_once(self._normalize_once(images).clamp(-_LARGEST, _LARGEST))

    def _normalize_once(self, images: Tensor) -> Tensor:
        card = self.model.card
        return normalize_instances(
            images, mode=card.instance_normalization, std_floor=card.std_floor
        )

    def activations(self, normalized: Tensor, temperature: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the activations ``(n, tokens)`` with the hard gate, and with a soft one."""
        card = self.model.card
        features = self.model.encoder(
            normalized.contiguous(memory_format=torch.channels_last), card.tap
        )
        # A batch of training does not exist here; each image is then centred by itself.
        centring = "image" if card.centring == "batch" else card.centring
        tokens = prepare_tokens(features, centring=centring, mean_token=self.model.mean_token)
        y = (tokens.unit @ self.jump.W + self.jump.b)[..., 0]
        scale = tokens.norms if card.norm_restored else torch.ones_like(tokens.norms)
        above = y - self.jump.threshold
        soft = torch.sigmoid(temperature * above) * functional.relu(y)
        return (y * (above > 0) * scale).detach(), soft * scale


def _optimize(
    target: _Target,
    grid: list[tuple[float, int, int]],
    config: MaximizationConfig,
    n_before: int,
    n_images: int,
    rng: np.random.Generator,
) -> Job[Tensor]:
    """Return, for each setting, the image of the step with the best score under a transform."""
    card, device = target.model.card, target.model.device
    side, n_channels = card.patch_side_px, len(card.channel_roles)
    shape = (len(grid), n_channels, side, side // 2 + 1, 2)
    # The published start, 0.01, lies below the floor of the instance normalisation: its first
    # gradients are so large that Adam hardly moves afterwards. One step wide is a fair start.
    start = rng.normal(size=shape).astype(np.float32) * config.learning_rate
    theta = torch.from_numpy(start).to(device).requires_grad_()
    masks = torch.stack([_frequency_mask(side, decay) for decay, _, _ in grid]).to(device)
    jitters = np.array([jitter for _, jitter, _ in grid])
    optimizer = torch.optim.Adam([theta], lr=config.learning_rate)
    best_score = torch.full((len(grid),), -math.inf, device=device)
    best = torch.zeros((len(grid), n_channels, side, side), device=device)
    for step in range(config.n_steps):
        share = step / max(1, config.n_steps - 1)
        optimizer.param_groups[0]["lr"] = (
            0.5 * config.learning_rate * (1 + math.cos(math.pi * share))
        )
        images = _draw(theta, masks)
        seen = _transform(target.normalize(images), jitters, rng)
        temperature = _TEMPERATURES[0] * (_TEMPERATURES[1] / _TEMPERATURES[0]) ** share
        hard, soft = (values.mean(1) for values in target.activations(seen, temperature))
        penalty = config.l2 * theta.square().sum(-1).mean((1, 2, 3))
        penalty = penalty + config.l1 * images.abs().mean((1, 2, 3))
        optimizer.zero_grad()
        (penalty - soft).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            better = hard > best_score
            best_score = torch.where(better, hard, best_score)
            best = torch.where(better[:, None, None, None], images, best)
        done = n_before + (step + 1) * len(grid)
        yield Progress("Maximising the feature", done, n_images * config.n_steps, "image steps")
    return best.detach()


@torch.no_grad()
def _score(
    target: _Target,
    images: Tensor,
    grid: list[tuple[float, int, int]],
    asked: tuple[int, MaximizationConfig, FloatArray | None],
    rng: np.random.Generator,
) -> MaximizedImages:
    latent, config, real = asked
    normalized = target.normalize(images)
    activations, _ = target.activations(normalized)
    jitters = np.array([jitter for _, jitter, _ in grid])
    tests = [
        target.activations(_transform(normalized, jitters, rng))[0].mean(1)
        for _ in range(config.n_test_transforms)
    ]
    robust = torch.stack(tests).mean(0).cpu().numpy()
    score = activations.mean(1).cpu().numpy()
    order = np.argsort(-robust, kind="stable")
    side = round(math.sqrt(activations.shape[1]))
    return MaximizedImages(
        latent=latent,
        images=normalized.cpu().numpy()[order],
        maps=activations.reshape(-1, side, side).cpu().numpy()[order],
        score=score[order],
        robust_score=robust[order],
        percentile=_percentile(score[order], real),
        decay=np.array([decay for decay, _, _ in grid], np.float32)[order],
        jitter_px=jitters[order],
        seed=np.array([seed for _, _, seed in grid])[order],
    )


def _percentile(score: FloatArray, real: FloatArray | None) -> FloatArray:
    if real is None or len(real) == 0:
        return np.full(len(score), np.nan, np.float32)
    below = np.searchsorted(np.sort(np.asarray(real, np.float32)), score, side="left")
    return (100 * below / len(real)).astype(np.float32)


def _draw(theta: Tensor, masks: Tensor) -> Tensor:
    """Return the images ``(n, channel, side, side)`` of Fourier coefficients."""
    side = theta.shape[2]
    images = torch.fft.irfft2(torch.view_as_complex(theta) * masks[:, None], s=(side, side))
    scaled: Tensor = images * (side / _PUBLISHED_SIDE) ** 2
    return scaled


def _frequency_mask(side: int, decay: float) -> Tensor:
    """Return ``max(f, 1/side)^-decay`` over its maximum, ``(side, side // 2 + 1)``."""
    f = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    mask = f.clamp_min(1 / side) ** -decay
    relative: Tensor = mask / mask.max()
    return relative


def _transform(images: Tensor, jitters: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Shift, turn and scale each image at random; what comes in from outside is mirrored."""
    n, side = len(images), images.shape[-1]
    angle = np.deg2rad(rng.uniform(-_ROTATION_DEG, _ROTATION_DEG, n))
    zoom = rng.uniform(*_SCALES, n)
    shift = rng.integers(-jitters[:, None], jitters[:, None] + 1, size=(n, 2)) * 2 / side
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    matrix = np.stack(
        [np.stack([cosine, -sine, shift[:, 0]], -1), np.stack([sine, cosine, shift[:, 1]], -1)], 1
    )
    theta = torch.from_numpy(matrix.astype(np.float32)).to(images.device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
