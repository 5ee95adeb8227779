"""Contrastive training of the encoder as a job, resumable at each step. No files, no SAE."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.models.compute import Compute, SingleDevice
from napari_bio_superposition.models.contrastive import crop, rotate
from napari_bio_superposition.models.encoder import (
    ContrastiveNetwork,
    EncoderConfig,
    centre_activations,
    create_network,
    use_channels_last,
)
from napari_bio_superposition.models.encoder_trainer import EncoderTrainer
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.optimization import warmup_cosine
from napari_bio_superposition.models.sampling import plan_batches
from napari_bio_superposition.models.training_config import ContrastiveConfig

_PATCHES_TO_CENTRE = 48
_START, _BATCHES, _VIEWS = range(3)
"""What randomness is for; each has a stream of its own."""


class Pixels(Protocol):
    """Patches in memory or on disk: an array, a memory map."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channel, side, side)``."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """A contrastive network in evaluation mode and the loss of every step."""

    network: ContrastiveNetwork
    losses: npt.NDArray[np.float64]


def train_encoder(
    pixels: Pixels,
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
        Training patches ``(n, channel, side, side)`` in ``[0, 1]``; may be memory-mapped.
    classes
        Class of each patch, ``(n,)`` integers, or ``(n, 3)``: class, line and plate, over which
        batches are balanced.
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
    compute = SingleDevice(device)
    training = EncoderTraining(pixels, classes, shape, config, rng=rng, compute=compute)
    while not training.finished:
        yield from training.run_epoch()
    return training.result()


class EncoderTraining:
    """A training that can be looked at, saved and gone on with between any two steps.

    What a step draws follows from its number and from one number drawn from *rng* at the start;
    so the state of all random numbers is these two, and a resumed training draws what the
    uninterrupted one would have drawn, on any number of devices.

    Parameters
    ----------
    pixels, classes, shape, config, rng
        See `train_encoder`.
    compute
        Where to train; launched already.
    """

    def __init__(
        self,
        pixels: Pixels,
        classes: IntArray,
        shape: EncoderConfig,
        config: ContrastiveConfig,
        *,
        rng: np.random.Generator,
        compute: Compute,
    ) -> None:
        self.pixels, self.config, self.compute = pixels, config, compute
        levels = classes.reshape(len(classes), -1)
        self.supervised = uses_classes(levels[:, 0], config)
        self._classes = np.asarray(levels[:, 0], dtype=np.int64)
        self._plan = plan_batches(levels, config.batch_size, epoch_end=config.epoch_end)
        _check_share(config.batch_size, compute.world_size)
        self._entropy = int(rng.integers(2**63))
        self.losses: list[float] = []
        self._batches: IntArray | None = None
        self.trainer = EncoderTrainer(self._create_network(shape), config, compute)

    @property
    def n_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self._plan.n_steps

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.config.n_epochs * self.n_per_epoch

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self.step // self.n_per_epoch

    @property
    def finished(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.n_steps

    def learning_rate(self, step: int) -> float:
        """Return the encoder's learning rate at a step."""
        n_warmup = self.config.warmup_epochs * self.n_per_epoch
        return self.config.learning_rate * warmup_cosine(step, self.n_steps, n_warmup=n_warmup)

    def run_epoch(self) -> Job[None]:
        """Take the remaining steps of the current epoch; each is a `Progress`."""
        epoch = self.epoch
        self._batches = self._plan.draw(rng=self._chance(_BATCHES, epoch))
        while self.epoch == epoch and not self.finished:
            rows = self._batches[self.step % self.n_per_epoch]
            self.losses.append(self._take_step(rows))
            step = f"Training the encoder, epoch {epoch + 1} of {self.config.n_epochs}"
            loss = {"loss": self.losses[-1]}
            yield Progress(step, self.step, self.n_steps, "steps", values=loss)

    def result(self) -> TrainedEncoder:
        """Return the network for evaluation; training does not go on after this."""
        network = self.trainer.query
        return TrainedEncoder(network.requires_grad_(False).eval(), np.array(self.losses))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on; save it before the next step."""
        return {
            "trainer": self.trainer.state_dict(),
            "entropy": self._entropy,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "n_steps": self.n_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called.

        Raises
        ------
        ModelError
            Where the state is that of another training.
        """
        if state.get("n_steps") != self.n_steps:
            raise ModelError(
                f"The saved training has {state.get('n_steps')} steps, this one {self.n_steps}: "
                "its patches or settings differ. Go on with the same, or begin anew."
            )
        self.trainer.load_state_dict(state["trainer"])
        self._entropy = int(state["entropy"])
        self.losses = state["losses"].tolist()

    def _take_step(self, rows: IntArray) -> float:
        """Read this process's share of a batch, make two views, and learn from them."""
        step, size = self.step, len(rows)
        share = np.arange(self.compute.rank, size, self.compute.world_size)
        labels = self._classes[rows] if self.supervised else step * size + np.arange(size)
        chance = self._torch_chance(_VIEWS, step)
        patches = self._read(rows[share])
        view1, view2 = (self._view(patches, size, chance, share) for _ in range(2))
        own = torch.from_numpy(labels[share]).to(self.compute.device)
        return self.trainer.step(view1, view2, own, self.learning_rate(step))

    def _read(self, rows: IntArray) -> Tensor:
        order = np.argsort(rows)  # a disk is read in one direction
        batch = np.empty((len(rows), *self.pixels.shape[1:]), np.float32)
        batch[order] = self.pixels[rows[order]]
        return torch.from_numpy(batch)

    def _view(self, patches: Tensor, size: int, chance: torch.Generator, share: IntArray) -> Tensor:
        """Return a normalised view of this process's patches: a window, rotated.

        Chance is drawn for the whole batch, so that it does not depend on the number of processes.
        """
        side = self.config.crop_px or patches.shape[-1]
        if side < patches.shape[-1]:
            free = patches.shape[-1] - side
            corners = torch.randint(free + 1, (size, 2), generator=chance)[share]
            patches = crop(patches, side, corners)
        turns = torch.randint(4, (size,), generator=chance)[share]
        rotated = rotate(patches, turns).to(self.compute.device)
        settings = self.config.normalization
        normal = normalize_instances(rotated, mode=settings.mode, std_floor=settings.std_floor)
        return normal.contiguous(memory_format=torch.channels_last)

    def _create_network(self, shape: EncoderConfig) -> ContrastiveNetwork:
        network = create_network(shape, rng=self._torch_chance(_START, 0))
        network = network.to(self.compute.device)
        use_channels_last(network)
        network.pooled_l2 = self.config.pooled_l2
        network.centre_pooled = self.config.centre_pooled
        if self.config.centre_first:
            n_some = min(len(self.pixels), _PATCHES_TO_CENTRE)
            some = self._chance(_START, 1).choice(len(self.pixels), n_some, replace=False)
            patches = self._read(some)
            chance = self._torch_chance(_START, 2)
            view = self._view(patches, n_some, chance, np.arange(n_some))
            centre_activations(network.encoder, view)
        return network

    def _chance(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self._entropy, purpose, number])

    def _torch_chance(self, purpose: int, number: int) -> torch.Generator:
        seed = np.random.SeedSequence([self._entropy, purpose, number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(seed[0] >> np.uint64(1)))


def uses_classes(classes: IntArray, config: ContrastiveConfig) -> bool:
    """Return whether patches of one class count as alike, or only two views of the same patch.

    Raises
    ------
    ModelError
        Where classes are wanted and there are none to tell apart.
    """
    n_classes = len(np.unique(classes))
    if config.supervision == "classes" and n_classes < 2:
        raise ModelError(
            "Training by classes needs two of them, and all patches have the same. Choose another "
            "class column, or train without classes (supervision none)."
        )
    return config.supervision != "none" and n_classes > 1


def _check_share(batch_size: int, world_size: int) -> None:
    if batch_size % world_size:
        raise ModelError(
            f"A batch of {batch_size} patches cannot be shared by {world_size} devices equally. "
            f"Choose a multiple of {world_size}."
        )
