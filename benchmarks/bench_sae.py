"""SAE training step, latent maps and token order against the published code, in one run: ratios.

The baseline is the published step re-expressed in a few lines: two products for gate and magnitude,
a dense decode of the auxiliary features, and a second forward pass for the FVU.
"""

from typing import Any

import torch
from torch import Tensor

from benchmarks.bench_models import (
    N_TOKENS,
    best_time,
    create_model,
    create_tokens,
    published_forward,
)
from napari_bio_superposition.models.inference import TokenCache, latent_maps
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_gated import GatedSAE
from napari_bio_superposition.models.sae_kinds import Batch, choose_objective, create_sae

STEP_TOKENS = 1024
SIZES = ((64, 512), (512, 2048), (512, 8192))
LAMBDA = 800.0
_OPEN_GATES = -2.2
"""Bias of the gates in units of the projections' spread: about 1.4 % are open."""


def benchmarks() -> list[dict[str, Any]]:
    """Return one row per measurement: what, size, seconds, baseline seconds, ratio."""
    rows = [bench_step(width, n_latents) for width, n_latents in SIZES]
    rows += [bench_kind(kind) for kind in ("jumprelu", "batch_topk", "matryoshka")]
    rows += [bench_maps(n_chosen) for n_chosen in (1, 32)]
    return rows


def bench_step(width: int, n_latents: int) -> dict[str, Any]:
    """Compare losses and gradients of one gated batch, L0 and FVU included."""
    sae, tokens = trained_gates(width, n_latents), create_tokens(width)[:STEP_TOKENS]
    config = SaeConfig(kind="gated", n_latents=n_latents, paper_lambda=LAMBDA)
    objective = choose_objective(sae, config)
    ours = best_time(lambda: our_step(sae, objective, tokens))
    published = best_time(lambda: published_step(sae, tokens))
    return _row("SAE training step, gated", f"{width} -> {n_latents}", ours, published)


def bench_kind(kind: Any) -> dict[str, Any]:
    """Compare the step of another kind with the published gated one, at a target L0 of 64."""
    width, n_latents = SIZES[-1]
    tokens = create_tokens(width)[:STEP_TOKENS]
    config = SaeConfig(kind=kind, n_latents=n_latents, target_l0=64)
    sae = create_sae(config, width, rng=torch.Generator().manual_seed(0))
    objective = choose_objective(sae, config)
    ours = best_time(lambda: our_step(sae, objective, tokens))
    gated = trained_gates(width, n_latents)
    published = best_time(lambda: published_step(gated, tokens))
    return _row(f"SAE training step, {kind}", f"{width} -> {n_latents}", ours, published)


def bench_maps(n_chosen: int) -> dict[str, Any]:
    """Compare the maps of some latents of one patch with the published forward pass."""
    width, n_latents = SIZES[-1]
    model, tokens = create_model(width, n_latents), create_tokens(width)
    cache = TokenCache(tokens[None].half().numpy(), torch.ones(1, N_TOKENS).numpy(), (64, 64))
    ours = best_time(lambda: latent_maps(model, cache, list(range(n_chosen))), repeats=20)
    published = best_time(lambda: published_forward(model.sae, tokens))
    what = f"maps of {n_chosen} chosen latents of a patch"
    return _row(what, f"{width} -> {n_latents}", ours, published)


def our_step(sae: Any, objective: Any, tokens: Tensor) -> float:
    """Return the FVU of a batch after its gradients are there."""
    terms = objective(Batch(tokens))
    sae.zero_grad()
    terms.total(LAMBDA).backward()
    return float(terms.fvu)


def published_step(sae: GatedSAE, tokens: Tensor) -> float:
    """Do the same as the published training loop does."""
    gate_in = tokens @ sae.W_mag + sae.b_gate
    magnitude = torch.relu(tokens @ sae.W_mag + sae.b_mag)
    hard, soft = (gate_in > 0).float(), torch.sigmoid(gate_in)
    gate = hard.detach() + soft - soft.detach()
    decoded = (gate * magnitude) @ sae.W_dec + sae.b_dec
    norms = sae.W_dec.detach().norm(dim=1)
    closed = magnitude * (1 - hard)
    values, latents = closed.topk(32, dim=1)
    chosen = torch.zeros_like(closed).scatter(1, latents, values)
    explained = chosen @ sae.W_dec.detach() + sae.b_dec.detach()
    loss = (
        (decoded - tokens).square().sum(1).mean()
        + LAMBDA * (torch.relu(gate_in) * norms).mean()
        + (explained - (tokens - decoded.detach())).square().sum(1).mean() / 32
    )
    sae.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        _, again = published_forward(sae, tokens)
        error = (again - tokens).square().sum()
        return float(error / (tokens - tokens.mean(0)).square().sum())


def trained_gates(width: int, n_latents: int) -> GatedSAE:
    """Return a gated SAE about as sparse as a trained one."""
    sae = GatedSAE.create(width, n_latents, rng=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.W_mag.copy_(sae.W_dec.T)
        sae.b_gate.fill_(_OPEN_GATES / width**0.5)
    return sae


def _row(what: str, size: str, ours: float, published: float) -> dict[str, Any]:
    return {
        "what": what,
        "size": size,
        "seconds": ours,
        "baseline_seconds": published,
        "ratio": published / ours,
    }
