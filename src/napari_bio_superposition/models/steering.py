"""What a feature does: take it away or push it, and read what changes. No training, no files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.core.types import FloatArray, IntArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import TokenCache

SPACES: Final = ("sae", "cnn")


@dataclass(frozen=True, eq=False)
class LinearReadOut:
    """A linear function of a patch's pooled features: probe, regression, or embedding.

    ``y = (x - offset) / scale @ weights + bias``, where ``x`` is the row of the table, divided by
    its length first where ``unit_rows`` says so.

    Parameters
    ----------
    weights
        ``(n_features, n_outputs)``.
    bias
        ``(n_outputs,)``.
    names
        One per output: classes, ``death``, ``PC1`` and so on.
    space
        ``sae`` reads the mean activations, ``cnn`` the mean CNN channels (`Keys.CNN`).
    offset, scale
        ``(n_features,)``; 0 and 1 where ``None``.
    unit_rows
        Whether rows are divided by their length before.
    probabilities
        Whether the outputs go through a softmax.
    """

    weights: FloatArray
    bias: FloatArray
    names: tuple[str, ...]
    space: str = "sae"
    offset: FloatArray | None = None
    scale: FloatArray | None = None
    unit_rows: bool = False
    probabilities: bool = False

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ModelError(f"No space {self.space!r}. Choose one of: {list_choices(SPACES)}.")
        if self.weights.ndim != 2 or self.weights.shape[1] != len(self.names):
            raise ModelError(
                f"A read-out with the outputs {list_choices(self.names)} needs weights of shape "
                f"(features, {len(self.names)}); these have {self.weights.shape}."
            )

    def read(self, features: FloatArray) -> FloatArray:
        """Return the outputs ``(n, n_outputs)`` for pooled features ``(n, n_features)``."""
        if features.shape[1] != len(self.weights):
            raise ModelError(
                f"The read-out of {list_choices(self.names[:3])} takes {len(self.weights)} "
                f"features, and there are {features.shape[1]}. Fit it on this table."
            )
        x = np.asarray(features, np.float64)
        if self.unit_rows:
            x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        if self.offset is not None:
            x = x - self.offset
        if self.scale is not None:
            x = x / self.scale
        y = x @ self.weights + self.bias
        if self.probabilities:
            y = np.exp(y - y.max(axis=1, keepdims=True))
            y /= y.sum(axis=1, keepdims=True)
        return np.asarray(y, np.float32)


@dataclass(frozen=True, eq=False)
class SteeringEffect:
    """Outputs of each read-out before and after, by its name: ``(n, n_outputs)`` each."""

    before: Mapping[str, FloatArray]
    after: Mapping[str, FloatArray]

    def change(self, name: str) -> FloatArray:
        """Return after minus before of one read-out, ``(n, n_outputs)``."""
        return self.after[name] - self.before[name]


@torch.no_grad()
def steer(
    model: FeatureModel,
    tokens: TokenCache,
    latent: int,
    read_outs: Mapping[str, LinearReadOut],
    *,
    factor: float = 0.0,
    patches: IntArray | None = None,
) -> SteeringEffect:
    """Multiply one feature in chosen patches, and see what the read-outs make of it.

    In the tokens the feature's own part is changed, ``(factor - 1) a_i W_dec[i]``; all else,
    the residual included, stays. The SAE then reads the changed tokens anew, so features that
    overlap with it answer.

    Parameters
    ----------
    model
        The model that made *tokens*.
    tokens
        From ``encode_patches(..., keep_tokens=True)``.
    latent
        The feature.
    read_outs
        By name; see `LinearReadOut`.
    factor
        0 takes the feature away, 1 changes nothing, 2 doubles it.
    patches
        Rows of *tokens*; all where ``None``.

    Raises
    ------
    ModelError
        Where latent or read-outs do not fit the model.
    """
    if not 0 <= latent < model.card.n_latents:
        raise ModelError(
            f"No latent {latent} in model {model.card.name!r}; choose one from 0 to "
            f"{model.card.n_latents - 1}."
        )
    rows = np.arange(len(tokens)) if patches is None else np.asarray(patches)
    if len(rows) == 0:
        raise ModelError("No patch is chosen. Select at least one.")
    pooled = [_pool_changed(model, tokens, int(row), latent, factor) for row in rows]
    sae, cnn, new_sae, new_cnn = (np.stack(part) for part in zip(*pooled, strict=True))
    before, after = {"sae": sae, "cnn": cnn}, {"sae": new_sae, "cnn": new_cnn}
    return SteeringEffect(
        {name: one.read(before[one.space]) for name, one in read_outs.items()},
        {name: one.read(after[one.space]) for name, one in read_outs.items()},
    )


def _pool_changed(
    model: FeatureModel, tokens: TokenCache, row: int, latent: int, factor: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return pooled SAE and CNN features of one patch, before and after."""
    unit = torch.from_numpy(tokens.unit[row].astype(np.float32)).to(model.device)
    norms = torch.from_numpy(tokens.norms[row]).to(model.device)[:, None]
    restored = model.card.norm_restored
    scale = norms if restored else torch.ones_like(norms)
    activations = model.sae.encode(unit)
    own = activations[:, latent : latent + 1] * model.sae.W_dec[latent]
    moved = unit + (factor - 1) * own
    length = moved.norm(dim=1, keepdim=True).clamp_min(1e-12)
    new_unit, new_scale = moved / length, scale * length if restored else scale
    new = model.sae.encode(new_unit) * new_scale
    pooled = (
        (activations * scale).mean(0),
        (unit * scale).mean(0),
        new.mean(0),
        (new_unit * new_scale).mean(0),
    )
    first, second, third, fourth = (one.cpu().numpy() for one in pooled)
    return first, second, third, fourth
