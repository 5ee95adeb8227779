"""Train the bundled nucleus network on the fluorescence images of BBBC038 (CC0). Resumable.

    python scripts/train_stardist.py --data ../shared/data/dsb2018_train_fluo --run RUN_FOLDER

The folder of the run holds ``checkpoint.pt`` (network, average, optimiser, step, time used) and
``average.safetensors`` (the exponential moving average of the weights, which is what is shipped).
The same command continues where a killed run stopped. `scripts/export_stardist.py` tunes the
thresholds, measures the held-out images and writes the files of the package.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import stardist_data
import torch
import tyro
from torch import Tensor, nn

from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig

log = logging.getLogger("train_stardist")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that the weights depend on, apart from the data."""

    steps: int = 12_000
    """Optimiser steps; the learning rate reaches zero at the last one."""

    minutes: float = math.inf
    """Wall minutes after which the learning rate reaches zero, if that comes first."""

    batch_size: int = 8
    """Crops per step."""

    crop_px: int = 192
    """Side of a crop in pixels."""

    learning_rate: float = 5e-4
    """Highest learning rate of Adam, after the warm-up."""

    warmup_steps: int = 200
    """Steps over which the learning rate rises to its highest value."""

    dist_weight: float = 0.2
    """Weight of the distance loss beside the probability loss (StarDist: 0.2)."""

    background_penalty: float = 1e-4
    """Pulls distances on background towards 0 (StarDist: 1e-4)."""

    average_decay: float = 0.999
    """Decay per step of the moving average of the weights."""

    held_out_share: float = 0.15
    """Share of the images of every size group that is never trained on."""

    seed: int = 2018
    """Seed of the split, of the first weights and of every batch."""

    bfloat16: bool = True
    """Run the forward pass in bfloat16; weights stay in float32."""

    network: UNetConfig = field(default_factory=UNetConfig)
    """Shape of the network."""


@dataclass(kw_only=True)
class Run:
    """State of one training run, as it is saved and continued."""

    config: TrainConfig
    net: StarDistNet
    average: StarDistNet
    optimiser: torch.optim.Adam
    step: int = 0
    seconds: float = 0.0

    @property
    def share_done(self) -> float:
        """Share of the schedule that is over, by steps or by time, whichever is further."""
        minutes = self.seconds / 60
        return max(self.step / self.config.steps, minutes / self.config.minutes)


def start_run(config: TrainConfig) -> Run:
    """Return an untrained run; the first weights depend on the seed only."""
    generator = torch.Generator().manual_seed(config.seed)
    net = StarDistNet(config.network)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    average = StarDistNet(config.network)
    average.load_state_dict(net.state_dict())
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    return Run(config=config, net=net, average=average, optimiser=optimiser)


def save_run(run: Run, folder: Path) -> None:
    """Write the run so that an interruption leaves either the old or the new state."""
    state = {
        "net": run.net.state_dict(),
        "average": run.average.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "step": run.step,
        "seconds": run.seconds,
    }
    partial = folder / "checkpoint.partial"
    torch.save(state, partial)
    partial.replace(folder / "checkpoint.pt")
    weights = {name: value.contiguous() for name, value in run.average.state_dict().items()}
    partial = folder / "average.partial"
    safetensors.torch.save_file(weights, partial)
    partial.replace(folder / "average.safetensors")


def continue_run(run: Run, folder: Path) -> None:
    """Load what `save_run` wrote, if anything."""
    file = folder / "checkpoint.pt"
    if not file.exists():
        return
    state = torch.load(file, weights_only=True)
    run.net.load_state_dict(state["net"])
    run.average.load_state_dict(state["average"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.step, run.seconds = state["step"], state["seconds"]
    log.info("continuing after step %d", run.step)


def start_from(run: Run, earlier: Path, folder: Path) -> None:
    """Take the averaged weights of an earlier run, and note in the new folder how they came about.

    A second run at a low learning rate continues one whose schedule has ended.
    """
    state = safetensors.torch.load_file(earlier / "average.safetensors")
    run.net.load_state_dict(state)
    run.average.load_state_dict(state)
    done = torch.load(earlier / "checkpoint.pt", weights_only=True)
    history = {
        **json.loads((earlier / "config.json").read_text()),
        "steps_done": done["step"],
        "hours": round(done["seconds"] / 3600, 2),
    }
    (folder / "earlier.json").write_text(json.dumps(history, indent=1))


def stardist_loss(
    config: TrainConfig, predicted: tuple[Tensor, Tensor], prob: Tensor, dist: Tensor
) -> tuple[Tensor, Tensor]:
    """Return probability loss and distance loss; Schmidt et al. 2018, equation 1.

    Distances count in proportion to the true probability: rays from an object's middle matter most.
    """
    logit, rays = (part.float() for part in predicted)
    prob_loss = nn.functional.binary_cross_entropy_with_logits(logit, prob)
    error = ((rays - dist).abs() * prob).mean() / (prob.mean() + 1e-7)
    background = (rays.abs() * (1 - prob)).mean()
    return prob_loss, error + config.background_penalty * background


def learning_rate(run: Run) -> float:
    """Return the rate of the next step: linear warm-up, then a cosine down to zero."""
    warmup = min(1.0, (run.step + 1) / run.config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, run.share_done)))
    return run.config.learning_rate * warmup * cosine


@torch.no_grad()
def update_average(run: Run) -> None:
    """Move the averaged weights towards the present ones; faster while there are few steps."""
    decay = min(run.config.average_decay, (1 + run.step) / (10 + run.step))
    for mean, now in zip(run.average.parameters(), run.net.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)


def train_step(run: Run, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Do one step of Adam; return its probability loss and distance loss."""
    device = next(run.net.parameters()).device
    pixels, prob, dist = (part.to(device) for part in batch)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(run)
    with torch.autocast(device.type, torch.bfloat16, enabled=run.config.bfloat16):
        predicted = run.net(pixels)
    prob_loss, dist_loss = stardist_loss(run.config, predicted, prob, dist)
    run.optimiser.zero_grad()
    (prob_loss + run.config.dist_weight * dist_loss).backward()
    nn.utils.clip_grad_norm_(run.net.parameters(), 5.0)
    run.optimiser.step()
    update_average(run)
    return prob_loss.item(), dist_loss.item()


def batches(
    config: TrainConfig, images: list[stardist_data.AnnotatedImage], *, first_step: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the batch of every remaining step, prepared by another process."""
    crops = stardist_data.CropBatches(
        images,
        batch_size=config.batch_size,
        crop_px=config.crop_px,
        n_rays=config.network.n_rays,
        grid=config.network.grid,
        seed=config.seed,
    )
    loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor, Tensor]]
    loader = torch.utils.data.DataLoader(
        crops, batch_size=None, sampler=range(first_step, config.steps), num_workers=1
    )
    yield from loader


def train(
    run: Run, images: list[stardist_data.AnnotatedImage], folder: Path, *, save_every: int
) -> None:
    """Train until the schedule ends, saving as it goes."""
    losses: list[tuple[float, float]] = []
    last = time.monotonic()
    for batch in batches(run.config, images, first_step=run.step):
        losses.append(train_step(run, batch))
        run.step += 1
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        finished = run.share_done >= 1
        if run.step % 100 == 0 or finished:
            prob, dist = np.mean(losses, axis=0)
            rate = run.seconds / run.step
            log.info(
                "step %d: prob %.4f dist %.3f, %.2f s a step, %.0f %% of the schedule",
                run.step,
                prob,
                dist,
                rate,
                100 * run.share_done,
            )
            losses.clear()
        if run.step % save_every == 0 or finished:
            save_run(run, folder)
        if finished:
            break


def main(  # noqa: PLR0913 (each is a flag)
    data: Path,
    run: Path,
    config: TrainConfig = TrainConfig(),
    threads: int = 2,
    device: str = "cpu",
    save_every: int = 250,
    earlier: Path | None = None,
) -> None:
    """Train, or continue to train.

    Parameters
    ----------
    data
        Folder with index.csv, images/ and masks/.
    run
        Folder for checkpoints; made if it does not exist.
    config
        What the weights depend on.
    threads
        CPU threads of torch.
    device
        Where to train, for instance cuda.
    save_every
        Steps between checkpoints.
    earlier
        Folder of a finished run whose averaged weights a new run starts from.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    run.mkdir(parents=True, exist_ok=True)
    images = stardist_data.read_annotated(data)
    training, held_out = stardist_data.split_by_size(
        images, held_out_share=config.held_out_share, rng=np.random.default_rng(config.seed)
    )
    log.info("%d images to train on, %d held out", len(training), len(held_out))
    split = {
        "held_out_sha256": stardist_data.list_hash(held_out),
        "held_out": sorted(one.image_id for one in held_out),
    }
    (run / "split.json").write_text(json.dumps(split, indent=1))
    (run / "config.json").write_text(json.dumps(asdict(config), indent=1, default=str))
    state = start_run(config)
    if earlier is not None:
        start_from(state, earlier, run)
    continue_run(state, run)
    state.net.to(device)
    state.average.to(device)
    train(state, training, run, save_every=save_every)


if __name__ == "__main__":
    tyro.cli(main)
