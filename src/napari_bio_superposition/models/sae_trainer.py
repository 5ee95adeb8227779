"""One step of SAE training, and the state that steps change. No tokens' source, no files."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.models.optimization import (
    finite_loss,
    set_learning_rate,
    warmup_cosine,
)
from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_jumprelu import JumpReluSAE
from napari_bio_superposition.models.sae_kinds import Batch, choose_objective
from napari_bio_superposition.models.sae_loss import (
    SaeLosses,
    normalize_decoder,
    project_decoder_gradient,
)
from napari_bio_superposition.models.sae_sparsity import SparsityControl
from napari_bio_superposition.models.token_buffer import TokenShard

CURVES = ("loss", "l0", "fvu", "coefficient")


@dataclass(frozen=True)
class StepReport:
    """What one step says, of the batch before the step."""

    loss: float
    l0: float
    fvu: float

    def __str__(self) -> str:
        return f"loss {self.loss:.4f}, L0 {self.l0:.1f}, FVU {self.fvu:.3f}"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that a training goes on from.

    Parameters
    ----------
    tensors
        Weights, moments of the optimiser, silent tokens and curves, by name; all on the CPU.
    seed, position, coefficient, smoothed
        Of chance; shards that are done; of the sparsity control.
    """

    tensors: dict[str, Tensor]
    seed: int
    position: int
    coefficient: float
    smoothed: float


@dataclass(eq=False)
class SaeTrainer:
    """SAE, optimiser, sparsity control and the count of silent tokens.

    Parameters
    ----------
    sae
        Trained in place.
    config
        How to train.
    n_steps
        Steps of the whole run, for the schedules.
    """

    sae: SparseAutoencoder
    config: SaeConfig
    n_steps: int
    position: int = 0
    """Shards that are done."""
    rows: list[tuple[float, ...]] = field(default_factory=list)
    """Loss, L0, FVU and coefficient of each step."""

    def __post_init__(self) -> None:
        config = self.config
        self.optimizer = torch.optim.AdamW(
            self.sae.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.control = SparsityControl(config, self.n_steps)
        self.objective = choose_objective(self.sae, config)
        self.silent = torch.zeros(self.sae.n_latents, device=self.sae.device)

    @property
    def n_done(self) -> int:
        """Steps that are done."""
        return len(self.rows)

    def step(self, batch: TokenShard) -> StepReport:
        """Take one step on a batch of unit tokens, float32.

        Raises
        ------
        ModelError
            Where loss or gradient are no finite numbers.
        """
        step = self.n_done
        rate = warmup_cosine(step, self.n_steps, n_warmup=self.n_steps // 10)
        set_learning_rate(self.optimizer, self.config.learning_rate * rate)
        coefficient = self.control.at(step)
        self.optimizer.zero_grad(set_to_none=True)
        report, active = self._accumulate(batch, coefficient)
        project_decoder_gradient(self.sae)
        norm = nn.utils.clip_grad_norm_(self.sae.parameters(), self.config.gradient_norm)
        if not torch.isfinite(norm):
            raise ModelError(
                f"The gradient became {float(norm)} in step {step + 1}. "
                "Choose a smaller learning rate, or check the patches."
            )
        self.optimizer.step()
        normalize_decoder(self.sae)
        if isinstance(self.sae, JumpReluSAE):
            self.sae.threshold.data.clamp_min_(0)
        self.control.observe(step, report.l0, rate=rate)
        self.silent = torch.where(active > 0, 0.0, self.silent + len(batch.unit))
        self.rows.append((report.loss, report.l0, report.fvu, coefficient))
        self._restart_dead(batch.unit)
        return report

    def _accumulate(self, batch: TokenShard, coefficient: float) -> tuple[StepReport, Tensor]:
        """Add up the gradients of all chunks; return what they say, and active shares."""
        n, chunk = len(batch.unit), self.config.chunk_tokens
        active = torch.zeros_like(self.silent)
        loss_sum, fvu_sum = 0.0, 0.0
        norms = batch.norms / batch.norms.mean()
        for unit, weights in zip(
            torch.split(batch.unit, chunk), torch.split(norms, chunk), strict=True
        ):
            terms, share = self._losses(unit, weights), len(unit) / n
            loss = share * terms.total(coefficient, auxiliary_weight=self.config.auxiliary_weight)
            loss.backward()  # type: ignore[no-untyped-call]
            loss_sum += finite_loss(loss)
            fvu_sum += share * float(terms.fvu)
            active += share * terms.active
        return StepReport(loss_sum, float(active.sum()), fvu_sum), active

    def _losses(self, unit: Tensor, weights: Tensor) -> SaeLosses:
        config = self.config
        weighted = config.kind == "gated" and config.gated.norm_weighted
        dead = self.silent > config.batch_topk.dead_after_tokens
        return self.objective(Batch(unit, weights if weighted else None, dead))

    @torch.no_grad()
    def _restart_dead(self, tokens: Tensor) -> None:
        """Restart dead latents at the worst explained tokens, every so often in the first half."""
        every = self.config.resample_every
        if not every or self.n_done % every or self.n_done > self.n_steps // 2:
            return
        dead = (self.silent >= every * len(tokens)).nonzero().flatten()[: len(tokens)]
        if len(dead) == 0:
            return
        residual = tokens - self.sae.decode(self.sae.encode(tokens))
        worst = residual.square().sum(1).topk(len(dead)).indices
        self.sae.restart_latents(dead, functional.normalize(residual[worst], dim=1))
        self.silent[dead] = 0.0
        for name, parameter in self.sae.named_parameters():
            if name != "b_dec":  # all else has an entry, a row or a column per latent
                where = (slice(None), dead) if name in ("W_enc", "W_mag") else dead
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.optimizer.state[parameter][moment][where] = 0.0

    def curves(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the figures of every step by name."""
        table = np.array(self.rows, dtype=np.float64).reshape(-1, len(CURVES))
        return {name: table[:, column] for column, name in enumerate(CURVES)}

    def state(self, seed: int) -> TrainingState:
        """Return a copy of everything that a later run goes on from."""
        tensors = {f"sae.{name}": tensor for name, tensor in self.sae.state_dict().items()}
        for name, parameter in self.sae.named_parameters():
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{name}.{moment}"] = torch.as_tensor(value)
        tensors["silent"] = self.silent
        tensors["curves"] = torch.tensor(self.rows, dtype=torch.float64)
        copied = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        control = self.control
        return TrainingState(copied, seed, self.position, control.coefficient, control.smoothed)

    def restore(self, state: TrainingState) -> None:
        """Go on from *state*.

        Raises
        ------
        ModelError
            Where it belongs to an SAE of another kind or size.
        """
        device, tensors = self.sae.device, state.tensors
        own = {n.removeprefix("sae."): t for n, t in tensors.items() if n.startswith("sae.")}
        try:
            self.sae.load_state_dict(own)
            moments: dict[int, dict[str, Any]] = {}
            for number, (name, _) in enumerate(self.sae.named_parameters()):
                prefix = f"optimizer.{name}."
                moments[number] = {
                    key.removeprefix(prefix): tensor.to(device)
                    for key, tensor in tensors.items()
                    if key.startswith(prefix)
                }
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
            self.silent = tensors["silent"].to(device)
            self.rows = [tuple(row) for row in tensors["curves"].tolist()]
        except (RuntimeError, KeyError) as error:
            raise ModelError(
                f"The saved training does not fit this SAE ({str(error).splitlines()[0]}). "
                "Use the settings it was begun with, or begin anew."
            ) from error
        self.position = state.position
        self.control.coefficient, self.control.smoothed = state.coefficient, state.smoothed
