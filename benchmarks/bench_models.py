"""Encoder and SAE against the published algorithm, in one run: ratios, memory, growth.

The baseline is the published forward pass re-expressed in a few lines: two products, six copies of
the activations, and the reconstruction that pooling does not need.
"""

import argparse
import copy
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.encoder import PRESETS, create_network, use_channels_last
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import (
    TokenCache,
    encode_patches,
    latent_maps,
)
from napari_bio_superposition.models.latent_pooling import LatentPooling
from napari_bio_superposition.models.sae import SparseAutoencoder
from napari_bio_superposition.models.sae_gated import GatedSAE

N_TOKENS = 4096
SIZES = ((64, 512), (512, 1024), (512, 8192))


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement: what, size, seconds, baseline seconds, ratio, memory."""
    rows = []
    for width, n_latents in SIZES:
        model = create_model(width, n_latents)
        tokens = create_tokens(width)
        rows += [bench_pooling(model, tokens), bench_maps(model, tokens)]
    rows.append(bench_encoding(create_model(64, 512), n_patches=8))
    rows.append(bench_convolutions(n_patches=1))
    return rows


def bench_pooling(model: FeatureModel, tokens: Tensor) -> dict[str, Any]:
    """Compare pooling features in blocks, four patches at once, with the published pass of one."""
    pooling, patches = LatentPooling(model.sae.jump()), tokens.repeat(4, 1, 1)
    ours, published = best_times(
        lambda: pooling.pool(patches), lambda: published_forward(model.sae, tokens)
    )
    ours /= len(patches)
    d = model.sae.n_latents
    return {
        "what": "pooled features of a patch",
        "size": f"{model.sae.width} -> {d}",
        "seconds": ours,
        "baseline_seconds": published,
        "ratio": published / ours,
        "megabytes": torch.get_num_threads() * 3 * 1024 * 512 * 4 / 1e6,
        "baseline_megabytes": 6 * len(tokens) * d * 4 / 1e6,
    }


def bench_maps(model: FeatureModel, tokens: Tensor) -> dict[str, Any]:
    """Compare the map of one latent with encoding all of them."""
    cache = TokenCache(tokens[None].half().numpy(), torch.ones(1, N_TOKENS).numpy(), (64, 64))
    ours = best_time(lambda: latent_maps(model, cache, [5]))
    published = best_time(lambda: published_forward(model.sae, tokens))
    return {
        "what": "map of one latent of a patch",
        "size": f"{model.sae.width} -> {model.sae.n_latents}",
        "seconds": ours,
        "baseline_seconds": published,
        "ratio": published / ours,
    }


def bench_encoding(model: FeatureModel, *, n_patches: int) -> dict[str, Any]:
    """Time encoder and SAE on whole patches; per patch, against the encoder in NCHW alone."""
    pixels = torch.rand(n_patches, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    ours = best_time(lambda: run(encode_patches(model, pixels.numpy())), repeats=2) / n_patches
    plain = create_network(model.encoder.config, rng=torch.Generator().manual_seed(0)).encoder
    eager = best_time(lambda: plain(pixels, "stage5_out"), repeats=2) / n_patches
    return {
        "what": "encoder and SAE on a patch (baseline: encoder, NCHW)",
        "size": f"{model.sae.width} -> {model.sae.n_latents}",
        "seconds": ours,
        "baseline_seconds": eager,
        "ratio": eager / ours,
    }


@torch.no_grad()
def bench_convolutions(*, n_patches: int) -> dict[str, Any]:
    """Compare the encoder of the paper's size with itself on the library's convolutions."""
    encoder = create_network(PRESETS["paper"], rng=torch.Generator().manual_seed(0)).encoder
    patches = torch.randn(n_patches, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    library = encoder.train()  # in training it takes the library's convolutions
    expected = library(patches, "stage5_out")
    eager = best_time(lambda: library(patches, "stage5_out"), repeats=3)
    use_channels_last(encoder)
    patches = patches.contiguous(memory_format=torch.channels_last)
    fast = copy.deepcopy(encoder).eval()
    ours, channels_last = best_times(
        lambda: fast(patches, "stage5_out"), lambda: library(patches, "stage5_out")
    )
    eager = min(eager, channels_last)
    error = (fast(patches, "stage5_out") - expected).abs().max() / expected.abs().max()
    return {
        "what": "encoder of the paper's size, float32 (baseline: the library's convolutions)",
        "size": f"512, {n_patches} patch",
        "seconds": ours / n_patches,
        "baseline_seconds": eager / n_patches,
        "ratio": eager / ours,
        "max_relative_error": float(error),
    }


@torch.no_grad()
def published_forward(sae: SparseAutoencoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return pooled activations and reconstruction as the published code computes them."""
    assert isinstance(sae, GatedSAE)
    gate_in = tokens @ sae.W_mag + sae.b_gate
    gate = (gate_in > 0).float()
    magnitude = torch.relu(tokens @ sae.W_mag + sae.b_mag)
    activations = gate * magnitude
    return activations.mean(0), activations @ sae.W_dec + sae.b_dec


def create_model(width: int, n_latents: int) -> FeatureModel:
    """Return a random model; about a tenth of the gates is open."""
    card = ModelCard(
        name="benchmark",
        channel_roles=("mitochondria", "lysosomes", "nuclei"),
        width=width,
        blocks=(1, 1, 1, 2),
        n_latents=n_latents,
        centring="image",
    )
    chance = torch.Generator().manual_seed(0)
    encoder = create_network(card.shape, rng=chance).encoder
    use_channels_last(encoder)
    sae = GatedSAE.create(width, n_latents, rng=chance)
    with torch.no_grad():
        sae.W_mag.copy_(sae.W_dec.T)
        sae.b_gate.fill_(-1.3 / width**0.5)
    return FeatureModel(
        card, encoder.requires_grad_(False).eval(), sae.requires_grad_(False).eval()
    )


def create_tokens(width: int) -> Tensor:
    """Return the unit tokens of one patch, ``(4096, width)``."""
    tokens = torch.randn(N_TOKENS, width, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(tokens, dim=1)


def best_times(*works: Callable[[], object], repeats: int = 7) -> list[float]:
    """Return the shortest of some runs of each, taken in turns so that all meet the same load."""
    rounds = [[best_time(work, repeats=1) for work in works] for _ in range(repeats)]
    return [min(times) for times in zip(*rounds, strict=True)]


def best_time(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Return the shortest of some runs in seconds, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    for row in benchmarks():
        times = f"{row['seconds'] * 1e3:9.1f} ms  {row['baseline_seconds'] * 1e3:9.1f} ms"
        print(f"{row['what']:55s} {row['size']:12s} {times}  {row['ratio']:7.1f} x")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of the process: {peak:.0f} MB")


if __name__ == "__main__":
    main()
