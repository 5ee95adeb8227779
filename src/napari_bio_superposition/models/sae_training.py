"""Training of sparse autoencoders as a job that can be resumed. No files, no choice of kinds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sae_batch_topk import batch_threshold
from napari_bio_superposition.models.sae_config import DEFAULT_TARGET_L0, TOPK_KINDS, SaeConfig
from napari_bio_superposition.models.sae_kinds import create_sae
from napari_bio_superposition.models.sae_metrics import SaeMetrics, measure_sae
from napari_bio_superposition.models.sae_trainer import SaeTrainer, StepReport, TrainingState
from napari_bio_superposition.models.token_buffer import (
    PatchRows,
    TokenBuffer,
    TokenMaker,
    TokenShard,
    TokenSource,
    collect_evaluation_tokens,
    compute_mean_token,
)

_STEP = "Training the SAE"


@dataclass(frozen=True, eq=False)
class TrainedSae:
    """An SAE in evaluation mode, the mean token that belongs to it, and how it came about.

    Parameters
    ----------
    sae
        Thresholds are calibrated.
    mean_token
        ``(width,)`` where the centring is ``dataset``.
    curves
        ``loss``, ``l0``, ``fvu`` and ``coefficient`` of every step.
    metrics
        Measured on the fixed evaluation tokens, with the thresholds of inference.
    """

    sae: SparseAutoencoder
    mean_token: Tensor | None
    curves: dict[str, npt.NDArray[np.float64]]
    metrics: SaeMetrics

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Total loss of every step."""
        return self.curves["loss"]


@dataclass(frozen=True, eq=False)
class Checkpoints:
    """Where a training keeps its state, and where it goes on from.

    Parameters
    ----------
    save
        Called at the end of each shard.
    state
        What an earlier run saved; ``None`` to begin.
    """

    save: Callable[[TrainingState], None] | None = None
    state: TrainingState | None = None


def train_sae(
    maker: TokenMaker,
    patches: PatchRows,
    config: SaeConfig,
    *,
    rng: np.random.Generator,
    evaluation: PatchRows | None = None,
    checkpoints: Checkpoints | None = None,
) -> Job[TrainedSae]:
    """Train an SAE on tokens of rotated patches (method specification, 7).

    Parameters
    ----------
    maker
        Encoder, normalisation, tap and centring; the mean token is computed where one is needed
        and none is given.
    patches
        Training patches.
    config
        How to train.
    rng
        The only source of chance; a resumed run takes that of its state instead.
    evaluation
        Patches that L0, FVU and firing rates are measured on; the training patches where omitted.
    checkpoints
        For runs that may be killed.

    Raises
    ------
    ModelError
        Where the loss diverges, or there is no patch.
    """
    state = None if checkpoints is None else checkpoints.state
    seed = int(rng.integers(2**62)) if state is None else state.seed
    chance = np.random.default_rng(seed)
    if config.centring == "dataset" and maker.mean_token is None:
        mean_token = yield from compute_mean_token(maker, patches, rng=chance)
        maker = replace(maker, mean_token=mean_token)
    held_out = patches if evaluation is None else evaluation
    tokens = yield from collect_evaluation_tokens(
        maker, held_out, config.evaluation_tokens, rng=chance
    )
    source = TokenBuffer(maker, patches, config, seed=seed)
    trained = yield from fit_sae(source, config, tokens, seed=seed, checkpoints=checkpoints)
    return replace(trained, mean_token=maker.mean_token)


def fit_sae(
    source: TokenSource,
    config: SaeConfig,
    evaluation: Tensor,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
) -> Job[TrainedSae]:
    """Fit a new SAE to tokens; see `train_sae`.

    Parameters
    ----------
    source
        Unit tokens in shards.
    config
        How to train.
    evaluation
        Unit tokens to measure on, ``(token, width)``.
    seed
        Of the first weights and of the order of tokens.
    checkpoints
        For runs that may be killed.
    """
    checkpoints = checkpoints or Checkpoints()
    n_batches = [math.ceil(size / config.batch_tokens) for size in source.shard_sizes]
    n_steps = config.n_epochs * sum(n_batches)
    sae = create_sae(config, source.width, rng=torch.Generator().manual_seed(seed))
    trainer = SaeTrainer(sae.to(source.device), config, n_steps)
    if checkpoints.state is not None:
        trainer.restore(checkpoints.state)
    places = [(epoch, index) for epoch in range(config.n_epochs) for index in range(len(n_batches))]
    for position, (epoch, index) in enumerate(places):
        if position < trainer.position:
            continue
        shard = yield from source.shard(epoch, index)
        order = np.random.default_rng([seed, epoch, index, 1]).permutation(len(shard.unit))
        for batch in _batches(shard, order, n_batches[index]):
            report = trainer.step(batch)
            yield Progress(_STEP, trainer.n_done, n_steps, "steps", values=vars(report))
        del shard
        trainer.position = position + 1
        if checkpoints.save is not None and trainer.position < len(places):
            checkpoints.save(trainer.state(seed))
        yield from _measure_on_the_way(trainer, evaluation, epoch, n_steps)
    calibrate_and_measure(trainer.sae, config, evaluation)
    meet_target(trainer.sae, config, evaluation)
    metrics = measure_sae(trainer.sae, evaluation)
    sae = trainer.sae.requires_grad_(False).eval()
    return TrainedSae(sae, None, trainer.curves(), metrics)


def calibrate_and_measure(sae: SparseAutoencoder, config: SaeConfig, tokens: Tensor) -> SaeMetrics:
    """Set the thresholds of inference on evaluation tokens, and measure the SAE with them."""
    sae.calibrate(tokens, target_l0=config.request.target_l0 or DEFAULT_TARGET_L0)
    return measure_sae(sae, tokens)


@torch.no_grad()
def meet_target(sae: SparseAutoencoder, config: SaeConfig, tokens: Tensor) -> float:
    """Shift learned thresholds by one number so that *tokens* have the target L0; return it.

    The controller of the coefficient ends some per cent off, for an L0 still moves while the
    learning rate falls; comparisons at matched L0 need it met. Does nothing where a
    coefficient was asked for, or where the kind has met its target already.
    """
    target = config.request.target_l0
    if target is None or config.kind in TOPK_KINDS:
        return 0.0
    jump, cuts = sae.jump(), 0.0
    for part in torch.split(tokens, 1024):
        y = part @ jump.W + jump.b
        margins = torch.where(y > 0, y - jump.threshold, -1e3)
        lowest = margins.where(y > 0, torch.inf).min() - 1e-3
        cuts += len(part) * (batch_threshold((margins - lowest).relu(), target) + float(lowest))
    shift = cuts / max(1, len(tokens))
    sae.shift_thresholds(shift)
    return shift


def _measure_on_the_way(
    trainer: SaeTrainer, evaluation: Tensor, epoch: int, n_steps: int
) -> Job[None]:
    metrics = calibrate_and_measure(trainer.sae, trainer.config, evaluation)
    notice = (
        f"epoch {epoch + 1} of {trainer.config.n_epochs}, on the evaluation set: "
        f"L0 {metrics.l0:.1f}, FVU {metrics.fvu:.3f}, alive {metrics.alive_share():.0%}"
    )
    yield Progress(_STEP, trainer.n_done, n_steps, "steps", notice)


def _batches(
    shard: TokenShard, order: npt.NDArray[np.int64], n_batches: int
) -> Iterator[TokenShard]:
    for rows in np.array_split(order, n_batches):
        chosen = torch.from_numpy(rows).to(shard.unit.device)
        yield TokenShard(shard.unit[chosen].float(), shard.norms[chosen])


__all__ = [
    "Checkpoints",
    "StepReport",
    "TrainedSae",
    "calibrate_and_measure",
    "fit_sae",
    "train_sae",
]
