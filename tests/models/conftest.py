"""Fixtures of the room of torch: reference vectors, what they are computed from, tiny models."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_bio_superposition.models.card import TAPS, ModelCard
from napari_bio_superposition.models.encoder import (
    ContrastiveNetwork,
    Encoder,
    EncoderConfig,
    Projector,
    create_network,
    normalize_weights,
)
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.normalize import normalize_instances
from napari_bio_superposition.models.sae_gated import GatedSAE

VECTORS = Path(__file__).parent / "data" / "vectors.npz"


def uniform(n: int, seed: int) -> np.ndarray:
    """Return ``n`` numbers in [0, 1) from a 32-bit hash of their index."""
    with np.errstate(over="ignore"):
        h = np.arange(n, dtype=np.uint32) * np.uint32(2654435761)
        h += np.uint32((seed * 40503 + 1) % 2**32)
        h ^= h >> np.uint32(16)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
        h *= np.uint32(3266489917)
        h ^= h >> np.uint32(16)
    return h / 2.0**32


def fill(name: str, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Return a tensor whose values a formula makes from its name."""
    u = uniform(int(np.prod(shape)), sum(map(ord, name)))
    return torch.from_numpy(((u - 0.5) * np.sqrt(12) * scale).astype(np.float32).reshape(shape))


def fill_network(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the published state dict, filled by name, before weight normalisation.

    The published encoder registers its stages twice, by name and in a list ``trunk``; filling every
    entry in order leaves the values of the later alias in the shared parameters.
    """
    state = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        scale = 0.05 if tensor.ndim == 1 else float(np.sqrt(2 / np.prod(shape[1:])))
        state[name] = fill(_alias(name), shape, scale)
    return state


def _alias(name: str) -> str:
    for index, stage in enumerate(("stem", "stage2", "stage3", "stage4", "stage5", "refine")):
        name = name.replace(f"encoder.{stage}.", f"encoder.trunk.{index}.")
    return name


def images() -> torch.Tensor:
    """Return the two 16-bit images in [0, 1], ``(2, 3, 128, 128)`` float32."""
    counts = np.floor(4000 * uniform(2 * 128 * 128 * 3, 7) + 500).reshape(2, 128, 128, 3)
    counts = counts.astype(np.uint16)
    y, x = np.mgrid[:128, :128]
    for b in range(2):
        for c in range(3):
            distance = (y - 40 - 20 * c) ** 2 + (x - 50 - 10 * b) ** 2
            blob = 20000 * np.exp(-distance / (2 * (8 + 4 * c) ** 2))
            counts[b, :, :, c] += blob.astype(np.uint16)
    counts[1, :, :, 2] = 700
    return torch.from_numpy(counts.astype(np.float32) / 65535).permute(0, 3, 1, 2).contiguous()


def sae_state() -> dict[str, torch.Tensor]:
    """Return the state dict of the reference SAE, 512 -> 1024."""
    W_dec = fill("sae.W_dec", (1024, 512), 1)
    return {
        "W_mag": fill("sae.W_mag", (512, 1024), 1 / np.sqrt(512)),
        "b_mag": fill("sae.b_mag", (1024,), 0.01),
        "b_gate": fill("sae.b_gate", (1024,), 0.02) - 0.03,
        "W_dec": W_dec / W_dec.norm(dim=1, keepdim=True),
        "b_dec": fill("sae.b_dec", (512,), 0.01),
    }


@dataclass(frozen=True, eq=False)
class Reference:
    """The published results, and ours for the same weights and images, each computed once."""

    vectors: dict[str, np.ndarray]

    @cached_property
    def patches(self) -> torch.Tensor:
        return normalize_instances(images())

    @cached_property
    def network(self) -> ContrastiveNetwork:
        with torch.device("meta"):
            network = ContrastiveNetwork(Encoder(EncoderConfig()), Projector(512))
        network.load_state_dict(fill_network(network), assign=True)
        normalize_weights(network)
        return network.requires_grad_(False).eval()

    @cached_property
    def maps(self) -> dict[str, torch.Tensor]:
        """The three taps from one pass: each map is the input of the block behind it."""
        encoder, blocks = self.network.encoder, {}
        hooks = [
            block.register_forward_hook(lambda _, args, out, tap=tap: blocks.update({tap: out}))
            for tap, block in zip(
                TAPS,
                (encoder.stage5.blocks[1], encoder.stage5.blocks[2], encoder.refine.blocks[0]),
                strict=True,
            )
        ]
        encoder(self.patches.clone().requires_grad_())  # the library's convolutions, not Winograd
        blocks = {tap: block.detach() for tap, block in blocks.items()}
        for hook in hooks:
            hook.remove()
        return blocks

    @cached_property
    def sae(self) -> GatedSAE:
        sae = GatedSAE(512, 1024)
        sae.load_state_dict(sae_state())
        return sae

    def check(self, key: str, value: object, tolerance: float = 1e-4) -> None:
        """Compare with a published value; the tolerance is relative to its largest entry."""
        published = self.vectors[key]
        value = np.asarray(value)
        assert value.shape == published.shape
        scale = max(float(np.abs(published).max()), 1e-12)
        assert float(np.abs(value - published).max()) / scale <= tolerance, key

    def check_pooled(self, key: str, value: torch.Tensor) -> None:
        """Compare in the mean square: one gate of 8 million may flip by the order of a sum.

        Such a flip moves one entry by a threshold over 4096 tokens, 1.4e-4 of the largest entry,
        and depends on the number of threads.
        """
        published = torch.from_numpy(self.vectors[key])
        assert float((value - published).norm() / published.norm()) <= 1e-4, key


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Return what the published implementation computes, beside our own results."""
    with np.load(VECTORS) as vectors:
        return Reference(dict(vectors))


def make_tiny_model(**changes: object) -> FeatureModel:
    """Return a random model of width 16 with 24 latents; *changes* go into its card.

    About a third of the latents fires on a token, so that gates matter.
    """
    card = ModelCard(
        name="tiny",
        channel_roles=("mitochondria", "lysosomes", "nuclei"),
        patch_side_px=32,
        width=16,
        blocks=(1, 1, 1, 1),
        n_latents=24,
    )
    card = replace(card, **changes)
    chance = torch.Generator().manual_seed(7)
    shape = EncoderConfig(n_channels=len(card.channel_roles), width=16, blocks=(1, 1, 1, 1))
    encoder = create_network(shape, rng=chance).encoder
    sae = GatedSAE.create(16, card.n_latents, rng=chance)
    with torch.no_grad():
        sae.W_mag.copy_(torch.randn(sae.W_mag.shape, generator=chance) / 4)
        sae.b_mag.fill_(0.02)
        sae.b_gate.uniform_(-0.15, 0.0, generator=chance)
    mean = torch.randn(16, generator=chance) / 8 if card.centring == "dataset" else None
    return FeatureModel(
        card, encoder.requires_grad_(False).eval(), sae.requires_grad_(False).eval(), mean
    )


@pytest.fixture
def tiny_model() -> FeatureModel:
    """Return a random model that encodes a 32-pixel patch in a millisecond."""
    return make_tiny_model()


@pytest.fixture
def make_model():
    """Return the factory behind `tiny_model`, for other cards."""
    return make_tiny_model


@pytest.fixture
def tiny_patches(rng: np.random.Generator) -> np.ndarray:
    """Return seven patches of uneven brightness, ``(7, 3, 32, 32)`` float32."""
    smooth = rng.random((7, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    return (0.7 * smooth + 0.3 * rng.random((7, 3, 32, 32))).astype(np.float32)


@pytest.fixture
def fill_rows():
    """Return what makes unit rows by the reference vectors' formula."""
    return lambda name, shape: nn.functional.normalize(fill(name, shape, 1), dim=1)
