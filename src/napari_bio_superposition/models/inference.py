"""Patches to pooled SAE features and latent maps, in streaming memory. No training, no files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_bio_superposition.core.errors import DeviceError, ModelError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.latent_pooling import LatentPooling, PooledPatch
from napari_bio_superposition.models.memory import choose_batch_size, is_out_of_memory
from napari_bio_superposition.models.sparse_codes import CodeCollector, SparseCodes

_TOKEN_VALUES_PER_MAP_CHUNK = 1 << 19
_STEP = "Encoding patches"


@dataclass(frozen=True, eq=False)
class TokenCache:
    """Prepared tokens of the patches of one image, from which any latent's map follows quickly.

    Parameters
    ----------
    unit
        ``(n, token, width)`` float16 unit vectors: 8 times closer than bfloat16, so that gates
        near their threshold stay as they were.
    norms
        Length of each centred token, ``(n, token)`` float32.
    map_shape
        Height and width of a map; their product is the number of tokens.
    codes
        The activations themselves where there is room for them: maps follow without a product.
    """

    unit: npt.NDArray[np.float16]
    norms: FloatArray
    map_shape: tuple[int, int]
    codes: SparseCodes | None = None

    def __len__(self) -> int:
        return len(self.unit)


@dataclass(frozen=True, eq=False)
class EncodedPatches:
    """Pooled features of ``n`` patches; all activations with norms restored if the card says so.

    Parameters
    ----------
    activations
        Mean over all tokens, ``(n, n_latents)`` float32.
    maxima
        Largest activation of any token, same shape.
    firing
        Share of tokens on which the latent is active, same shape.
    squares
        Mean of the squared activation over all tokens, same shape.
    cnn
        Mean over the tokens that the SAE saw, ``(n, width)``: the CNN under the same
        preprocessing. With restored norms and centring ``image`` this is 0 by construction.
    tokens
        For latent maps; ``None`` unless asked for.
    """

    activations: FloatArray
    maxima: FloatArray
    firing: FloatArray
    squares: FloatArray
    cnn: FloatArray
    tokens: TokenCache | None = None

    def __len__(self) -> int:
        return len(self.activations)


def encode_patches(
    model: FeatureModel,
    pixels: FloatArray,
    *,
    keep_tokens: bool = False,
    batch_size: int | None = None,
) -> Job[EncodedPatches]:
    """Run encoder and SAE on patches and pool the activations (method specification, 8).

    The activations exist for one chunk of tokens at a time; beyond the result, memory does not
    grow with the number of patches. Where memory runs out, the batch is halved and the work goes
    on.

    Parameters
    ----------
    model
        From `load_model`; its device is used.
    pixels
        ``(n, channel, side, side)`` float32 in ``[0, 1]``, channels in the order of
        ``model.card.channel_roles``, scaled as ``model.card.intensity_scaling`` says.
    keep_tokens
        Also return the tokens (float16, in main memory) for `latent_maps`.
    batch_size
        Patches at a time; chosen by free memory and work per patch where ``None``.

    Raises
    ------
    ModelError
        Where the patches do not fit the model.
    DeviceError
        Where memory does not suffice for a single patch.
    """
    _check_pixels(model, pixels)
    results = _Results(model, pixels, keep_tokens=keep_tokens)
    pooling = LatentPooling(model.sae.jump())
    batch_size = batch_size or choose_batch_size(model, side=pixels.shape[-1])
    n, start = len(pixels), 0
    yield Progress(_STEP, 0, n, "patches")
    while start < n:
        stop = min(n, start + batch_size)
        if _fits(model, pooling, pixels[start:stop], results, start):
            start = stop
            yield Progress(_STEP, start, n, "patches")
        else:
            batch_size = _halve(stop - start, model)
            notice = f"Memory ran out on {model.device}; going on with batches of {batch_size}."
            yield Progress(_STEP, start, n, "patches", notice)
    return results.collect()


@torch.no_grad()
def latent_maps(model: FeatureModel, tokens: TokenCache, latents: Sequence[int]) -> FloatArray:
    """Return the maps of chosen latents over all patches, computing only their columns.

    Parameters
    ----------
    model
        The model that made *tokens*.
    tokens
        From ``encode_patches(..., keep_tokens=True)``.
    latents
        Indices in ``0 .. n_latents - 1``.

    Returns
    -------
    FloatArray
        ``(len(latents), n, height, width)`` float32; their mean over a patch is its entry in
        `EncodedPatches.activations`, up to the float16 of the cache. Read from
        ``tokens.codes`` where these are kept, computed from the tokens otherwise.

    Raises
    ------
    ModelError
        For an index outside the dictionary, or tokens of another width.
    """
    n_latents, width = model.card.n_latents, model.card.width
    if outside := [latent for latent in latents if not 0 <= latent < n_latents]:
        raise ModelError(
            f"No latent {outside[0]} in model {model.card.name!r}; "
            f"choose numbers from 0 to {n_latents - 1}."
        )
    if tokens.unit.shape[-1] != width:
        raise ModelError(
            f"These tokens have {tokens.unit.shape[-1]} channels, model {model.card.name!r} has "
            f"{width}. Encode the image again with this model."
        )
    maps = np.empty((len(latents), *tokens.norms.shape), np.float32)
    if tokens.codes is not None:
        for latent, one in zip(latents, maps, strict=True):
            tokens.codes.fill_map(latent, one)
    else:
        _compute_maps(model, tokens, latents, maps)
    if model.card.norm_restored:
        maps *= tokens.norms
    return maps.reshape(len(latents), len(tokens), *tokens.map_shape)


def _compute_maps(
    model: FeatureModel, tokens: TokenCache, latents: Sequence[int], maps: FloatArray
) -> None:
    """Multiply the tokens with the columns of some latents, into *maps* ``(latent, n, token)``."""
    jump = model.sae.jump(torch.as_tensor(latents, dtype=torch.int64, device=model.device))
    n_together = max(1, _TOKEN_VALUES_PER_MAP_CHUNK // (tokens.norms.shape[1] * model.card.width))
    for start in range(0, len(tokens), n_together):
        some = slice(start, start + n_together)
        half = torch.from_numpy(tokens.unit[some])  # torch widens it 15 times faster than numpy
        activations = jump.activate(half.to(model.device).float())
        maps[:, some] = activations.permute(2, 0, 1).cpu().numpy()


class _Results:
    """The arrays that a run fills, patch by patch."""

    def __init__(self, model: FeatureModel, pixels: FloatArray, *, keep_tokens: bool) -> None:
        n, side, card = len(pixels), pixels.shape[-1], model.card
        self.map_shape = ((side + 1) // 2, (side + 1) // 2)
        n_tokens = self.map_shape[0] * self.map_shape[1]
        self.activations = np.zeros((n, card.n_latents), np.float32)
        self.maxima = np.zeros_like(self.activations)
        self.firing = np.zeros_like(self.activations)
        self.squares = np.zeros_like(self.activations)
        self.cnn = np.zeros((n, card.width), np.float32)
        self.unit: npt.NDArray[np.float16] | None = None
        if keep_tokens:
            self.unit = np.empty((n, n_tokens, card.width), np.float16)
            self.norms = np.empty((n, n_tokens), np.float32)
            token_bytes = self.unit.nbytes
            self.codes = CodeCollector(n, n_tokens, card.n_latents, token_bytes=token_bytes)

    def collect(self) -> EncodedPatches:
        """Return the arrays as the result."""
        tokens = None
        if self.unit is not None:
            tokens = TokenCache(self.unit, self.norms, self.map_shape, self.codes.collect())
        pooled = self.activations, self.maxima, self.firing, self.squares
        return EncodedPatches(*pooled, self.cnn, tokens)

    @property
    def keep_codes(self) -> bool:
        """Whether activations are wanted, too."""
        return self.unit is not None and not self.codes.gave_up

    def put(self, row: int, pooled: PooledPatch) -> None:
        """Take what was pooled over a patch."""
        arrays = self.activations, self.maxima, self.firing, self.squares
        for array, values in zip(arrays, pooled.values.cpu().numpy(), strict=True):
            array[row] = values
        if pooled.codes is not None:
            self.codes.put(row, pooled.codes)


def _fits(
    model: FeatureModel, pooling: LatentPooling, pixels: FloatArray, results: _Results, start: int
) -> bool:
    """Encode a batch; False where memory ran out (all that it held is free on return)."""
    try:
        _encode_batch(model, pooling, pixels, results, start)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return False
        raise
    return True


@torch.no_grad()
def _encode_batch(
    model: FeatureModel, pooling: LatentPooling, pixels: FloatArray, results: _Results, start: int
) -> None:
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(model.device)
    tokens = model.prepare(model.feature_map(batch))
    seen = tokens.restored if model.card.norm_restored else tokens.unit
    stop = start + len(pixels)
    results.cnn[start:stop] = seen.mean(1).cpu().numpy()
    if results.unit is not None:
        results.unit[start:stop] = tokens.unit.half().cpu().numpy()
        results.norms[start:stop] = tokens.norms.cpu().numpy()
    scale = tokens.norms if model.card.norm_restored else None
    pooled = pooling.pool(tokens.unit, scale, keep_codes=results.keep_codes)
    for row, patch in enumerate(pooled, start=start):
        results.put(row, patch)


def _check_pixels(model: FeatureModel, pixels: FloatArray) -> None:
    roles = model.card.channel_roles
    if pixels.ndim != 4 or pixels.shape[1] != len(roles) or pixels.shape[2] != pixels.shape[3]:
        raise ModelError(
            f"Model {model.card.name!r} takes patches (n, {len(roles)}, side, side) with the "
            f"channels {', '.join(roles)}; these have the shape {pixels.shape}. "
            "Extract the patches with the model's roles."
        )
    if pixels.dtype != np.float32 or pixels.shape[-1] < 8:
        raise ModelError(
            f"Patches have to be float32 of at least 8 x 8 pixels; these are {pixels.dtype} of "
            f"{pixels.shape[-2]} x {pixels.shape[-1]}. Extract them with extract_patches."
        )
    if not np.isfinite(pixels).all():
        raise ModelError(
            "Some patches hold values that are no finite numbers (nan or infinity). "
            "Reject these patches, or repair the image."
        )


def _halve(n_patches: int, model: FeatureModel) -> int:
    if n_patches == 1:
        raise DeviceError(
            f"The memory of {model.device} does not suffice for one patch. "
            "Close other programs, or choose the device cpu or a smaller model."
        )
    if model.device.type == "cuda":
        torch.cuda.empty_cache()
    return n_patches // 2
