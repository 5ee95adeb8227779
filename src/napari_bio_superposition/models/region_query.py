"""Activations of all latents on a few chosen tokens, streamed over the latents. No statistics."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import TokenCache

_ACTIVATIONS_PER_CHUNK: Final = 1 << 22
"""16 MB of activations at a time: what the statistics then go through stays near the processor."""


@torch.no_grad()
def stream_activations(
    model: FeatureModel, tokens: TokenCache, rows: IntArray
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield the activations of all latents on some tokens, some latents at a time.

    Parameters
    ----------
    model
        The model that made *tokens*.
    tokens
        From ``encode_patches(..., keep_tokens=True)``.
    rows
        Numbers of the tokens, ``patch * tokens_per_patch + token``, ``(m,)``.

    Yields
    ------
    tuple of slice and FloatArray
        The latents of this part, and their activations ``(m, part)``, norms restored if the card
        says so. The array is overwritten by the next part.

    Raises
    ------
    ModelError
        Where tokens and model have different widths, or a row does not exist.
    """
    _check_rows(model, tokens, rows)
    n_latents, width = model.card.n_latents, model.card.width
    chosen = tokens.unit.reshape(-1, width)[rows].astype(np.float32)
    unit = torch.from_numpy(chosen).to(model.device)
    norms = torch.from_numpy(tokens.norms.reshape(-1)[rows]).to(model.device)[:, None]
    part = max(1, min(n_latents, _ACTIVATIONS_PER_CHUNK // max(1, len(rows))))
    buffers = unit.new_empty((2, len(rows) * part))
    for start in range(0, n_latents, part):
        latents = torch.arange(start, min(n_latents, start + part), device=model.device)
        size = len(rows) * len(latents)
        out, active = buffers[:, :size].view(2, len(rows), len(latents))
        model.sae.jump(latents).activate_into(unit, out, active)
        if model.card.norm_restored:
            out.mul_(norms)
        yield slice(start, start + len(latents)), out.cpu().numpy()


def _check_rows(model: FeatureModel, tokens: TokenCache, rows: IntArray) -> None:
    if tokens.unit.shape[-1] != model.card.width:
        raise ModelError(
            f"These tokens have {tokens.unit.shape[-1]} channels, model {model.card.name!r} has "
            f"{model.card.width}. Encode the image again with this model."
        )
    n_tokens = tokens.norms.size
    if len(rows) and (rows.min() < 0 or rows.max() >= n_tokens):
        raise ModelError(
            f"There is no token {int(rows.max())} among {n_tokens}. Use the patches that these "
            "tokens were made from."
        )
