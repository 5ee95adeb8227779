"""Supervised contrastive learning with a momentum encoder: losses, queue, update. No loop."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_RIDGE: Final = 0.3
"""Relative to the mean variance of the tokens' directions."""


def supervised_contrastive_loss(
    queries: Tensor,
    keys: Tensor,
    query_labels: Tensor,
    key_labels: Tensor,
    *,
    temperature: float = 0.07,
) -> Tensor:
    """Return the published loss (method specification, 5.3).

    ``L = -1/B sum_i 1/|P(i)| sum_{p in P(i)} log softmax_p(q_i . k / temperature)`` with ``P(i)``
    all keys of the query's class and the softmax over all keys, in float32.

    Parameters
    ----------
    queries, keys
        Unit vectors, ``(B, width)`` and ``(K, width)``.
    query_labels, key_labels
        Class of each, ``(B,)`` and ``(K,)``.
    temperature
        Smaller is sharper.

    Returns
    -------
    Tensor
        Scalar; a query without a key of its class contributes 0.
    """
    logits = queries.float() @ keys.float().T / temperature  # (B, K)
    log_share = logits.log_softmax(dim=1)
    positive = (query_labels[:, None] == key_labels[None, :]).float()
    n_positive = positive.sum(1).clamp_min(1)
    return -((positive * log_share).sum(1) / n_positive).mean()


def unread_share(feature_map: Tensor, patches: Tensor) -> Tensor:
    """Return how much of the patches' brightness cannot be read from the tokens of their places.

    Brightness is the mean of each channel under a token; it is read by ridge regression over all
    tokens, so the read-out has no weights of its own to learn, and the scale of the tokens does
    not matter. The ridge asks for directions in which the tokens differ much: an SAE rebuilds
    what differs most, and what tokens hold in a faint direction gets no latent of its own.

    Parameters
    ----------
    feature_map
        ``(n, width, height, width_px)``.
    patches
        ``(n, channel, side, side)``; sides are multiples of those of the map.

    Returns
    -------
    Tensor
        Scalar from 0 to 1: mean over channels of the least sum of error and ridge, relative to
        the variance.
    """
    height, width_px = feature_map.shape[2:]
    brightness = functional.adaptive_avg_pool2d(patches.float(), (height, width_px))
    tokens, wanted = (x.float().movedim(1, -1).flatten(0, 2) for x in (feature_map, brightness))
    tokens, wanted = tokens - tokens.mean(0), wanted - wanted.mean(0)
    ridge = _RIDGE * tokens.square().sum(0).mean().clamp_min(1e-12)
    with torch.no_grad():  # at its minimum the sum does not change with the read-out
        gram = tokens.T @ tokens
        gram.diagonal().add_(ridge)
        read_out = torch.linalg.solve(gram, tokens.T @ wanted)
    missed = (wanted - tokens @ read_out).square().sum(0) + ridge * read_out.square().sum(0)
    shares: Tensor = missed / wanted.square().sum(0).clamp_min(1e-12)
    return shares.mean()


class KeyQueue:
    """The latest labelled keys, first in first out, in half precision; grows from empty."""

    def __init__(self, capacity: int, width: int, *, device: torch.device) -> None:
        self.capacity = capacity
        self.keys = torch.empty(0, width, dtype=torch.float16, device=device)
        self.labels = torch.empty(0, dtype=torch.int64, device=device)

    def push(self, keys: Tensor, labels: Tensor) -> None:
        """Append keys ``(B, width)`` with labels ``(B,)``; drop the oldest beyond the capacity."""
        surplus = max(0, len(self.keys) + len(keys) - self.capacity)
        self.keys = torch.cat([self.keys, keys.detach().half()])[surplus:]
        self.labels = torch.cat([self.labels, labels])[surplus:]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what `load_state_dict` restores."""
        return {"keys": self.keys, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore keys and labels, on the device that the queue is on."""
        self.keys = state["keys"].to(self.keys)
        self.labels = state["labels"].to(self.labels)

    def pool(self, keys: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the given keys with those of the queue behind them, and all labels."""
        return torch.cat([keys, self.keys.to(keys.dtype)]), torch.cat([labels, self.labels])


@torch.no_grad()
def follow(key_network: nn.Module, query_network: nn.Module, *, momentum: float = 0.995) -> None:
    """Move each weight of the key network towards the query's, in place (moving average)."""
    pairs = zip(key_network.parameters(), query_network.parameters(), strict=True)
    for key, query in pairs:
        key.lerp_(query, 1 - momentum)


def rotate_randomly(patches: Tensor, *, rng: torch.Generator) -> Tensor:
    """Rotate each square patch ``(n, channel, side, side)`` by a random multiple of 90 degrees."""
    return rotate(patches, torch.randint(4, (len(patches),), generator=rng))


def rotate(patches: Tensor, turns: Tensor) -> Tensor:
    """Rotate each square patch ``(n, channel, side, side)`` by its number of quarter turns."""
    rotated = torch.empty_like(patches)
    for turn in range(4):
        chosen = turns == turn
        rotated[chosen] = torch.rot90(patches[chosen], turn, (2, 3))
    return rotated


def crop_randomly(patches: Tensor, side: int, *, rng: torch.Generator) -> Tensor:
    """Cut a random window of ``side`` pixels from each patch ``(n, channel, height, width)``."""
    free = patches.shape[-1] - side
    return crop(patches, side, torch.randint(free + 1, (len(patches), 2), generator=rng))


def crop(patches: Tensor, side: int, corners: Tensor) -> Tensor:
    """Cut a window with its first pixel at ``corners`` (row, column) from each patch."""
    places = zip(patches, corners.tolist(), strict=True)
    return torch.stack([patch[:, y : y + side, x : x + side] for patch, (y, x) in places])
