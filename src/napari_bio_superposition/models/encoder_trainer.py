"""The state that one step of contrastive training changes: networks, queue, optimiser. No loop."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.models.compute import Compute
from napari_bio_superposition.models.contrastive import (
    KeyQueue,
    follow,
    supervised_contrastive_loss,
    unread_share,
)
from napari_bio_superposition.models.encoder import ContrastiveNetwork, normalize_weights
from napari_bio_superposition.models.optimization import finite_loss, set_learning_rate
from napari_bio_superposition.models.training_config import ContrastiveConfig


class EncoderTrainer:
    """Query and key networks, queue and optimiser.

    Parameters
    ----------
    network
        The query network, on the device of *compute*; the key network starts as its copy.
    config
        How to train.
    compute
        Where to train.
    """

    def __init__(
        self, network: ContrastiveNetwork, config: ContrastiveConfig, compute: Compute
    ) -> None:
        self.config, self.compute, self.query = config, compute, network
        self.key = copy.deepcopy(network).requires_grad_(False)
        width = network.encoder.config.width
        self.queue = KeyQueue(config.queue_size, width, device=compute.device)
        self._forward, self.optimizer = compute.setup(network, create_optimizer(network, config))

    def step(self, view1: Tensor, view2: Tensor, labels: Tensor, rate: float) -> float:
        """Take one step on two normalised views of a batch; return the loss before it.

        Parameters
        ----------
        view1, view2
            This process's share of the batch, ``(n, channel, side, side)``.
        labels
            What counts as alike, ``(n,)``.
        rate
            Learning rate.
        """
        set_learning_rate(self.optimizer, rate)
        keys, all_labels = self.compute.gather(self._encode(view2)), self.compute.gather(labels)
        pool, pool_labels = self.queue.pool(keys, all_labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate(view1, labels, pool, pool_labels)
        nn.utils.clip_grad_norm_(self.query.parameters(), self.config.gradient_norm)
        self.optimizer.step()
        self.queue.push(keys, all_labels)
        normalize_weights(self.query)
        follow(self.key, self.query, momentum=self.config.key_momentum)
        return finite_loss(self.compute.gather(loss[None]).mean())

    def _encode(self, views: Tensor) -> Tensor:
        """Return the keys ``(n, width)`` of some views, float32."""
        with torch.no_grad(), self.compute.autocast():
            chunks = torch.split(views, self.config.chunk_patches or len(views))
            return torch.cat([self.key(chunk)[0].float() for chunk in chunks])

    def _accumulate(
        self, views: Tensor, labels: Tensor, pool: Tensor, pool_labels: Tensor
    ) -> Tensor:
        """Add up the gradients of all chunks; return the loss.

        Given the keys, queries do not depend on each other: the sum over chunks is exact.
        """
        size = self.config.chunk_patches or len(labels)
        total = pool.new_zeros(())
        for chunk, own in zip(torch.split(views, size), torch.split(labels, size), strict=True):
            queries, feature_map = self._forward(chunk, self.config.detail_tap)
            loss = supervised_contrastive_loss(
                queries, pool, own, pool_labels, temperature=self.config.temperature
            )
            if self.config.detail_weight > 0:
                loss = loss + self.config.detail_weight * unread_share(feature_map, chunk)
            share = len(own) / len(labels) * loss
            self.compute.backward(share)
            total += share.detach()
        return total

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
        return {
            "query": self.query.state_dict(),
            "key": self.key.state_dict(),
            "queue": self.queue.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises
        ------
        ModelError
            Where it belongs to another network or optimiser.
        """
        try:
            for name in ("query", "key", "queue", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"The saved training does not fit these settings ({error}). Go on with the "
                "settings that it was begun with, or begin anew in another folder."
            ) from error


def create_optimizer(
    network: ContrastiveNetwork, config: ContrastiveConfig
) -> torch.optim.Optimizer:
    """Return SGD as published, or AdamW, over encoder and projector."""
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
