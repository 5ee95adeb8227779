"""Contrastive training of the encoder as a job, from arrays in memory. No files, no SAE."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.contrastive import (
    KeyQueue,
    crop_randomly,
    follow,
    rotate_randomly,
    supervised_contrastive_loss,
)
from napari_bio_superposition.models.encoder import (
    ContrastiveNetwork,
    EncoderConfig,
    centre_activations,
    create_network,
    normalize_weights,
    use_channels_last,
)
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.optimization import (
    finite_loss,
    set_learning_rate,
    torch_generator,
    warmup_cosine,
)
from napari_bio_superposition.models.training_config import ContrastiveConfig


@dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """A contrastive network in evaluation mode and the loss of every step."""

    network: ContrastiveNetwork
    losses: npt.NDArray[np.float64]


def train_encoder(
    pixels: FloatArray,
    classes: IntArray,
    shape: EncoderConfig,
    config: ContrastiveConfig,
    *,
    rng: np.random.Generator,
    device: str = "cpu",
) -> Job[TrainedEncoder]:
    """Train an encoder so that patches of one class lie together (method specification, 5.3).

    Parameters
    ----------
    pixels
        Training patches ``(n, channel, side, side)`` float32 in ``[0, 1]``; may be memory-mapped.
    classes
        Class of each patch, ``(n,)`` integers.
    shape
        Shape of the encoder.
    config
        How to train.
    rng
        The only source of chance: weights, batches, rotations, windows.
    device
        A name that `choose_device` returned.

    Raises
    ------
    ModelError
        Where a batch cannot be filled, or the loss diverges.
    """
    chance = torch_generator(rng)
    network = create_network(shape, rng=chance).to(device)
    use_channels_last(network)
    network.pooled_l2, network.centre_pooled = config.pooled_l2, config.centre_pooled
    if config.centre_first:
        some = rng.choice(len(pixels), min(len(pixels), 48), replace=False)
        centre_activations(network.encoder, _view(pixels[some], config, chance, device))
    trainer = _Trainer(network, config)
    n_per_epoch = len(balanced_batches(classes, config.batch_size, rng=rng))
    n_steps = config.n_epochs * n_per_epoch
    losses: list[float] = []
    for epoch in range(config.n_epochs):
        for batch in balanced_batches(classes, config.batch_size, rng=rng):
            n_warmup = config.warmup_epochs * n_per_epoch
            rate = warmup_cosine(len(losses), n_steps, n_warmup=n_warmup)
            view1, view2 = (_view(pixels[batch], config, chance, device) for _ in range(2))
            labels = torch.from_numpy(classes[batch]).to(device)
            losses.append(trainer.step(view1, view2, labels, config.learning_rate * rate))
            step = f"Training the encoder, epoch {epoch + 1} of {config.n_epochs}"
            yield Progress(step, len(losses), n_steps, "steps", f"loss {losses[-1]:.3f}")
    return TrainedEncoder(network.requires_grad_(False).eval(), np.array(losses))


class _Trainer:
    """Query and key networks, queue and optimiser: the state that one step changes."""

    def __init__(self, network: ContrastiveNetwork, config: ContrastiveConfig) -> None:
        self.config = config
        self.query = network
        self.key = copy.deepcopy(network).requires_grad_(False)
        device = next(network.parameters()).device
        self.queue = KeyQueue(config.queue_size, network.encoder.config.width, device=device)
        self.optimizer = _create_optimizer(network, config)

    def step(self, view1: Tensor, view2: Tensor, labels: Tensor, rate: float) -> float:
        """Take one step on two normalised views of a batch; return the loss before it."""
        set_learning_rate(self.optimizer, rate)
        with torch.no_grad():
            keys = self.key(view2)
        pool, pool_labels = self.queue.pool(keys, labels)
        loss = supervised_contrastive_loss(
            self.query(view1), pool, labels, pool_labels, temperature=self.config.temperature
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.query.parameters(), self.config.gradient_norm)
        self.optimizer.step()
        self.queue.push(keys, labels)
        normalize_weights(self.query)
        follow(self.key, self.query, momentum=self.config.key_momentum)
        return finite_loss(loss)


def _create_optimizer(
    network: ContrastiveNetwork, config: ContrastiveConfig
) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": network.encoder.parameters(), "relative_rate": 1.0},
        {"params": network.projector.parameters(), "relative_rate": config.projector_rate},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.sgd_momentum,
        nesterov=config.sgd_momentum > 0,
        weight_decay=config.weight_decay,
    )


def balanced_batches(
    classes: IntArray, batch_size: int, *, rng: np.random.Generator
) -> list[IntArray]:
    """Return the rows of each batch of one epoch: equal numbers of each class, none twice.

    The epoch ends when a class has no full quota left (method specification, section 4); what
    remains of ``batch_size`` after equal shares goes to the first classes.

    Raises
    ------
    ModelError
        Where not even one batch can be filled.
    """
    names = np.unique(classes)
    share, rest = divmod(batch_size, len(names))
    quotas = [share + (index < rest) for index in range(len(names))]
    rows = [rng.permutation(np.flatnonzero(classes == name)) for name in names]
    n_batches = min(len(own) // max(1, quota) for own, quota in zip(rows, quotas, strict=True))
    if share == 0 or n_batches == 0:
        smallest = min(len(own) for own in rows)
        raise ModelError(
            f"A batch of {batch_size} patches cannot be filled from {len(names)} classes of "
            f"which the smallest has {smallest}. Choose a batch size from {len(names)} to "
            f"{smallest * len(names)}."
        )
    parts = [
        own[: n_batches * quota].reshape(n_batches, quota)
        for own, quota in zip(rows, quotas, strict=True)
    ]
    return list(np.concatenate(parts, axis=1))


def _view(
    pixels: FloatArray, config: ContrastiveConfig, chance: torch.Generator, device: str
) -> Tensor:
    """Return one augmented, normalised view of a batch: a window, rotated."""
    patches = torch.from_numpy(np.ascontiguousarray(pixels))
    if config.crop_px is not None and config.crop_px < patches.shape[-1]:
        patches = crop_randomly(patches, config.crop_px, rng=chance)
    rotated = rotate_randomly(patches, rng=chance).to(device)
    normalization = config.normalization
    normalized = normalize_instances(
        rotated, mode=normalization.mode, std_floor=normalization.std_floor
    )
    return normalized.contiguous(memory_format=torch.channels_last)
