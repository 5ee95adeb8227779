"""Nonzero activations of the tokens of an image, latent by latent, compact. No model, no files."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from napari_bio_superposition.core.types import FloatArray

_BYTES_PER_CODE: Final = 4
"""An index of 16 bit (patches of up to 512 px) and a float16."""
_MOST_BYTES: Final = 400_000_000
"""With the 1.07 GB of tokens of a 2048 x 2048 field (width 512) they stay below 1.5 GB."""
_SHARE_OF_TOKENS: Final = 0.37
"""The same relation, for fields that are larger than that."""


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Where each latent is active and how much, before norms are restored.

    Parameters
    ----------
    starts
        Where the entries of each latent begin, per patch: ``(n, n_latents + 1)``.
    tokens
        Per patch the numbers of active tokens, those of latent 0 first.
    values
        Per patch the activations of these, float16.
    """

    starts: npt.NDArray[np.uint32]
    tokens: tuple[npt.NDArray[np.unsignedinteger], ...]
    values: tuple[npt.NDArray[np.float16], ...]

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        return self.starts.nbytes + sum(a.nbytes for a in (*self.tokens, *self.values))

    def fill_map(self, latent: int, out: FloatArray) -> None:
        """Write the activations of one latent on all tokens into *out*, ``(n, token)``."""
        out.fill(0)
        ends = self.starts[:, latent : latent + 2].tolist()
        for row, (start, stop), tokens, values in zip(
            out, ends, self.tokens, self.values, strict=True
        ):
            if stop > start:
                row[tokens[start:stop]] = values[start:stop]


class CodeCollector:
    """Gathers codes while patches are pooled; gives up where they are too many to be worth it.

    Parameters
    ----------
    n, n_tokens, n_latents
        Patches, tokens per patch, latents.
    token_bytes
        Memory of the tokens beside which the codes are kept.
    """

    def __init__(self, n: int, n_tokens: int, n_latents: int, *, token_bytes: int) -> None:
        self._shape = n_tokens, n_latents
        self._most_codes = max(_MOST_BYTES, _SHARE_OF_TOKENS * token_bytes) // _BYTES_PER_CODE
        self._starts = np.zeros((n, n_latents + 1), np.uint32)
        self._most_codes -= self._starts.size
        self._index_type = np.min_scalar_type(max(0, n_tokens - 1))
        none = np.zeros(0, self._index_type), np.zeros(0, np.float16)
        self._patches = [none] * n
        self._parts: list[tuple[npt.NDArray[np.intp], FloatArray]] = []
        self._n_seen = 0
        self._n_codes = 0
        self.gave_up = self._most_codes <= 0

    def add_tokens(self, activations: Tensor) -> None:
        """Take the activations of the next tokens of a patch, ``(token, n_latents)``."""
        if self.gave_up:
            return
        flat, values = _find_nonzero(activations)
        self._parts.append((flat + self._n_seen * self._shape[1], values))
        self._n_seen += len(activations)

    def end_patch(self, patch: int) -> None:
        """Put what was added since the last patch under the number *patch*, in place of before."""
        if self.gave_up:
            return
        flat = np.concatenate([part for part, _ in self._parts])
        values = np.concatenate([part for _, part in self._parts])
        self._parts, self._n_seen = [], 0
        self._n_codes += len(flat) - len(self._patches[patch][0])
        if self._n_codes > self._most_codes:
            self.gave_up, self._patches = True, []
            return
        by_latent = _sort_by_latent(flat, values, self._shape)
        self._starts[patch] = by_latent.indptr
        self._patches[patch] = (
            by_latent.indices.astype(self._index_type),
            by_latent.data.astype(np.float16),
        )

    def forget_part(self) -> None:
        """Drop tokens of a patch that did not come to its end."""
        self._parts, self._n_seen = [], 0

    def collect(self) -> SparseCodes | None:
        """Return the codes of all patches; ``None`` where they were given up."""
        if self.gave_up:
            return None
        tokens = tuple(tokens for tokens, _ in self._patches)
        return SparseCodes(self._starts, tokens, tuple(values for _, values in self._patches))


def _find_nonzero(activations: Tensor) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return positions in the flattened matrix, and the values there."""
    if activations.device.type == "cpu":
        matrix = activations.numpy()
        flat = np.flatnonzero(matrix != 0)  # six times faster than on the numbers themselves
        return flat, matrix.reshape(-1)[flat]
    found = torch.nonzero(activations.reshape(-1))[:, 0]
    return found.cpu().numpy(), activations.reshape(-1)[found].cpu().numpy()


def _sort_by_latent(
    flat: npt.NDArray[np.intp], values: FloatArray, shape: tuple[int, int]
) -> sparse.csc_matrix:
    token, latent = np.divmod(flat, shape[1])
    ends = np.searchsorted(token, np.arange(shape[0] + 1))
    return sparse.csr_matrix((values, latent, ends), shape=shape).tocsc()
