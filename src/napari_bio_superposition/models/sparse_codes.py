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
        self._most_codes = max(_MOST_BYTES, _SHARE_OF_TOKENS * token_bytes) // _BYTES_PER_CODE
        self._starts = np.zeros((n, n_latents + 1), np.uint32)
        self._most_codes -= self._starts.size
        self._index_type = np.min_scalar_type(max(0, n_tokens - 1))
        none = np.zeros(0, self._index_type), np.zeros(0, np.float16)
        self._patches = [none] * n
        self._n_codes = 0
        self.gave_up = self._most_codes <= 0

    def put(self, patch: int, codes: sparse.csc_matrix) -> None:
        """Take the codes ``(token, n_latents)`` of a patch, in place of those it had before."""
        if self.gave_up:
            return
        self._n_codes += codes.nnz - len(self._patches[patch][0])
        if self._n_codes > self._most_codes:
            self.gave_up, self._patches = True, []
            return
        self._starts[patch] = codes.indptr
        self._patches[patch] = (
            codes.indices.astype(self._index_type),
            codes.data.astype(np.float16),
        )

    def collect(self) -> SparseCodes | None:
        """Return the codes of all patches; ``None`` where they were given up."""
        if self.gave_up:
            return None
        tokens = tuple(tokens for tokens, _ in self._patches)
        return SparseCodes(self._starts, tokens, tuple(values for _, values in self._patches))


def gather_codes(activations: Tensor) -> sparse.csr_matrix:
    """Return the nonzero ones of activations ``(token, latent)`` as a sparse matrix."""
    shape = activations.shape
    if activations.device.type == "cpu":
        matrix = activations.numpy()
        flat = np.flatnonzero(matrix != 0)  # six times faster than on the numbers themselves
        values = matrix.reshape(-1)[flat]
    else:
        found = torch.nonzero(activations.reshape(-1))[:, 0]
        flat, values = found.cpu().numpy(), activations.reshape(-1)[found].cpu().numpy()
    token, latent = np.divmod(flat, shape[1])
    ends = np.searchsorted(token, np.arange(shape[0] + 1))
    return sparse.csr_matrix((values, latent, ends), shape=tuple(shape))
