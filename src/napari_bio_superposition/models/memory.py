"""How many patches fit at once, and what running out of memory looks like. Computes nothing."""

import psutil
import torch

from napari_bio_superposition.models.feature_model import FeatureModel

_BYTES_PER_FLOAT = 4
_LIVE_MAPS = 8
"""Feature maps alive at once: branches of a block, tokens before and after centring."""
_MEMORY_SHARE = 0.3
_FLOP_PER_BATCH_CPU = 6e10
"""About a second of work on a laptop, so that progress and cancelling stay prompt."""
_LARGEST_BATCH = {"mps": 64, "cuda": 256}
_SMALLEST_CPU_LIMIT = 4
"""On a processor more patches than threads only leave the cache."""


def choose_batch_size(model: FeatureModel, *, side: int) -> int:
    """Return how many patches of ``side`` pixels to encode at once on the model's device."""
    n_tokens = ((side + 1) // 2) ** 2
    bytes_per_patch = n_tokens * model.card.width * _LIVE_MAPS * _BYTES_PER_FLOAT
    fitting = int(_MEMORY_SHARE * free_memory(model.device) / bytes_per_patch)
    largest = _LARGEST_BATCH.get(model.device.type, 16)
    if model.device.type == "cpu":
        largest = max(_SMALLEST_CPU_LIMIT, torch.get_num_threads())
        n_weights = sum(weight.numel() for weight in model.encoder.parameters())
        largest = min(largest, int(_FLOP_PER_BATCH_CPU / (2 * n_weights * n_tokens)))
    return max(1, min(fitting, largest))


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device; for MPS, which shares it, in the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device.

    Only CUDA has a type for it; CPU and MPS raise a `RuntimeError` that says so.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )
