"""Encoder, tokens, SAE, checkpoints, inference, training: the room of torch."""

import importlib
from typing import Any

_HOME = {
    "ContrastiveConfig": "training_config",
    "EncodedPatches": "inference",
    "FeatureModel": "feature_model",
    "ModelCard": "card",
    "NormalizationConfig": "training_config",
    "SaeConfig": "training_config",
    "TokenCache": "inference",
    "choose_device": "device",
    "encode_patches": "inference",
    "find_model": "catalogue",
    "import_published": "published",
    "latent_maps": "inference",
    "list_devices": "device",
    "list_models": "catalogue",
    "load_model": "checkpoint",
    "read_card": "card",
    "save_model": "checkpoint",
    "train_encoder": "training",
    "train_sae": "sae_training",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: only what computes brings torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
