"""Training of the gated SAE as a job, from patches or tokens in memory. No files, no encoder."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.models.contrastive import rotate_randomly
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.optimization import (
    finite_loss,
    set_learning_rate,
    torch_generator,
    warmup_cosine,
)
from napari_bio_superposition.models.sae import GatedSAE
from napari_bio_superposition.models.sae_loss import (
    gated_losses,
    normalize_decoder,
    project_decoder_gradient,
    schedule_sparsity,
)
from napari_bio_superposition.models.tokens import mean_scaled_token, prepare_tokens
from napari_bio_superposition.models.training_config import NormalizationConfig, SaeConfig


@dataclass(frozen=True, eq=False)
class TrainedSae:
    """A gated SAE, the mean token that belongs to it, and the total loss of every step."""

    sae: GatedSAE
    mean_token: Tensor | None
    losses: npt.NDArray[np.float64]


def train_sae(
    encoder: Encoder,
    pixels: FloatArray,
    config: SaeConfig,
    normalization: NormalizationConfig,
    *,
    rng: np.random.Generator,
) -> Job[TrainedSae]:
    """Train a gated SAE on tokens of rotated patches (method specification, 7).

    Parameters
    ----------
    encoder
        In evaluation mode; its device is used.
    pixels
        Training patches ``(n, channel, side, side)`` float32 in ``[0, 1]``.
    config
        How to train.
    normalization
        As the encoder was trained.
    rng
        The only source of chance: weights, rotations, places, order.
    """
    chance = torch_generator(rng)
    mean_token = None
    if config.centring == "dataset":
        mean_token = yield from compute_mean_token(encoder, pixels, normalization, tap=config.tap)
    tokens = yield from collect_tokens(
        encoder, pixels, config, normalization, mean_token=mean_token, rng=chance
    )
    sae = GatedSAE.create(tokens.shape[1], config.n_latents, rng=chance).to(tokens.device)
    losses = yield from fit_sae(sae, tokens, config, rng=rng)
    return TrainedSae(sae.requires_grad_(False).eval(), mean_token, losses)


def fit_sae(
    sae: GatedSAE, tokens: Tensor, config: SaeConfig, *, rng: np.random.Generator
) -> Job[npt.NDArray[np.float64]]:
    """Fit an SAE in place to unit tokens ``(token, width)``; return the loss of every step."""
    optimizer = torch.optim.AdamW(
        sae.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    n_batches = math.ceil(len(tokens) / config.batch_tokens)
    n_steps = config.n_epochs * n_batches
    losses: list[float] = []
    for rows in _epochs(len(tokens), n_batches, config.n_epochs, rng):
        step = len(losses)
        rate = warmup_cosine(step, n_steps, n_warmup=n_steps // 10)
        set_learning_rate(optimizer, config.learning_rate * rate)
        coefficient = schedule_sparsity(
            step,
            n_steps,
            final=config.sparsity,
            n_warmup=config.warmup_steps,
            ramp=config.ramp,
        )
        batch = tokens[rows.to(tokens.device)].float()
        loss, l0 = _step(sae, optimizer, batch, config, coefficient)
        losses.append(loss)
        notice = f"loss {loss:.4f}, {l0:.1f} active latents per token"
        yield Progress("Training the SAE", len(losses), n_steps, "steps", notice)
    return np.array(losses)


def _epochs(n: int, n_batches: int, n_epochs: int, rng: np.random.Generator) -> Iterator[Tensor]:
    for _ in range(n_epochs):
        yield from torch.from_numpy(rng.permutation(n)).chunk(n_batches)


def _step(
    sae: GatedSAE,
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    config: SaeConfig,
    coefficient: float,
) -> tuple[float, float]:
    """Take one step; return the total loss and the mean number of active latents before it."""
    terms = gated_losses(
        sae,
        tokens,
        sparsity=config.sparsity_reduction,
        n_auxiliary=config.n_auxiliary,
        second_bias=config.second_bias,
    )
    loss = terms.total(coefficient, auxiliary_weight=config.auxiliary_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    project_decoder_gradient(sae)
    nn.utils.clip_grad_norm_(sae.parameters(), config.gradient_norm)
    optimizer.step()
    normalize_decoder(sae)
    return finite_loss(loss), float(terms.active.sum())


@torch.no_grad()
def compute_mean_token(
    encoder: Encoder,
    pixels: FloatArray,
    normalization: NormalizationConfig,
    *,
    tap: str,
    batch_size: int = 16,
) -> Job[Tensor]:
    """Return the mean gap-scaled token of patches, ``(width,)``: the fixed centre of a model."""
    total, n_done = torch.zeros(encoder.config.width, dtype=torch.float64), 0
    for patches in _batches(pixels, batch_size):
        features = encoder(_normalized(patches, normalization, encoder), tap)
        total += mean_scaled_token(features).double().cpu() * len(patches)
        n_done += len(patches)
        yield Progress("Computing the mean token", n_done, len(pixels), "patches")
    return (total / n_done).float().to(_device(encoder))


@torch.no_grad()
def collect_tokens(
    encoder: Encoder,
    pixels: FloatArray,
    config: SaeConfig,
    normalization: NormalizationConfig,
    *,
    mean_token: Tensor | None,
    rng: torch.Generator,
) -> Job[Tensor]:
    """Return unit tokens at random places of rotated patches, ``(token, width)`` float16.

    All patches give the same number, ``config.tokens_per_patch`` or all that they have, so that a
    shuffled batch mixes many images.
    """
    collected: list[Tensor] = []
    for patches in _batches(pixels, 16):
        rotated = rotate_randomly(patches, rng=rng)
        features = encoder(_normalized(rotated, normalization, encoder), config.tap)
        unit = prepare_tokens(features, centring=config.centring, mean_token=mean_token).unit
        for row in unit:
            chosen = torch.randperm(len(row), generator=rng)[: config.tokens_per_patch]
            collected.append(row[chosen.to(row.device)].half())
        yield Progress("Collecting tokens", len(collected), len(pixels), "patches")
    return torch.cat(collected)


def _batches(pixels: FloatArray, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(pixels), batch_size):
        yield torch.from_numpy(np.ascontiguousarray(pixels[start : start + batch_size]))


def _normalized(patches: Tensor, config: NormalizationConfig, encoder: Encoder) -> Tensor:
    normalized = normalize_instances(
        patches.to(_device(encoder)), mode=config.mode, std_floor=config.std_floor
    )
    return normalized.contiguous(memory_format=torch.channels_last)


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device
