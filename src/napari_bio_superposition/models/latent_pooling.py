"""Activations of all latents, pooled over tokens in the memory of some blocks. No files."""

from dataclasses import dataclass
from typing import Final

import torch
from scipy import sparse
from torch import Tensor

from napari_bio_superposition.models.products import FixedMatrix, map_single_threaded
from napari_bio_superposition.models.sae import JumpReLU
from napari_bio_superposition.models.sparse_codes import gather_codes

_TOKENS_CPU: Final = 1024
_LATENTS_CPU: Final = 512
"""Of one block: activations of 2 MB stay in a processor's cache."""
_TOKENS_GPU: Final = 8192


@dataclass(frozen=True, eq=False)
class PooledPatch:
    """Pooled activations of one patch, and the activations themselves where they were wanted.

    Parameters
    ----------
    values
        Mean and maximum of the scaled activations, share of active tokens, mean square of the
        scaled activations: ``(4, n_latents)`` float32.
    codes
        Activations before scaling, ``(token, n_latents)``, sparse by latents.
    """

    values: Tensor
    codes: sparse.csc_matrix | None


class LatentPooling:
    """Pools the activations of an SAE over the tokens of patches.

    The matrix token x latents exists only for blocks of it. On a processor, blocks of latents are
    computed side by side, each in one thread and in its core's cache; on a GPU one block has all
    latents.

    Parameters
    ----------
    jump
        The SAE's encoder. Its weights are laid out for the product here, so keep the object for
        all patches.
    """

    def __init__(self, jump: JumpReLU) -> None:
        self._device = jump.W.device
        on_cpu = self._device.type == "cpu"
        self._n_tokens = _TOKENS_CPU if on_cpu else _TOKENS_GPU
        size = _LATENTS_CPU if on_cpu else jump.W.shape[1]
        parts = (
            torch.split(jump.W, size, 1),
            *(torch.split(v, size) for v in (jump.b, jump.threshold)),
        )
        self._blocks = [
            _Block(FixedMatrix(W, n_rows=self._n_tokens), b, threshold)
            for W, b, threshold in zip(*parts, strict=True)
        ]

    @torch.no_grad()
    def pool(
        self, unit: Tensor, scale: Tensor | None = None, *, keep_codes: bool = False
    ) -> list[PooledPatch]:
        """Pool each of some patches.

        Parameters
        ----------
        unit
            ``(patch, token, width)`` float32 unit tokens.
        scale
            Factor of each token's activations when they are pooled, ``(patch, token)``; 1 where
            it is omitted.
        keep_codes
            Also return the activations.

        Returns
        -------
        list of PooledPatch
            The results do not depend on the number of threads, nor on the other patches.
        """

        def pool_block(at: tuple[int, int]) -> PooledPatch:
            patch, block = at
            scales = None if scale is None else torch.split(scale[patch], self._n_tokens)
            return self._blocks[block].pool(
                torch.split(unit[patch], self._n_tokens), scales, keep_codes
            )

        n_blocks = len(self._blocks)
        places = [(patch, block) for patch in range(len(unit)) for block in range(n_blocks)]
        parts = map_single_threaded(pool_block, places, device=self._device)
        return [_join(parts[at : at + n_blocks]) for at in range(0, len(parts), n_blocks)]


@dataclass(frozen=True, eq=False)
class _Block:
    """Some latents."""

    W: FixedMatrix
    b: Tensor
    threshold: Tensor

    def pool(
        self, tokens: tuple[Tensor, ...], scales: tuple[Tensor, ...] | None, keep_codes: bool
    ) -> PooledPatch:
        """Pool the tokens of one patch, given in chunks."""
        total, largest, count, squares = self.b.new_zeros((4, len(self.b)))
        buffers = self.b.new_empty((2, len(tokens[0]), len(self.b)))
        codes = []
        for number, chunk in enumerate(tokens):
            memory, active = buffers[:, : len(chunk)]
            out = self.W.multiply(chunk, self.b, memory=memory)
            torch.gt(out, self.threshold, out=active)  # as floats: booleans are slow to sum
            out.mul_(active)
            if keep_codes:
                codes.append(gather_codes(out))
            count += active.sum(0)
            if scales is not None:
                out.mul_(scales[number][:, None])
            total += out.sum(0)
            torch.maximum(largest, out.amax(0), out=largest)
            squares += torch.mul(out, out, out=active).sum(0)
        n_tokens = sum(map(len, tokens))
        values = torch.stack([total / n_tokens, largest, count / n_tokens, squares / n_tokens])
        return PooledPatch(values, sparse.vstack(codes, "csc") if keep_codes else None)


def _join(blocks: list[PooledPatch]) -> PooledPatch:
    codes = [block.codes for block in blocks if block.codes is not None]
    values = torch.cat([block.values for block in blocks], 1)
    return PooledPatch(values, sparse.hstack(codes, "csc") if codes else None)
