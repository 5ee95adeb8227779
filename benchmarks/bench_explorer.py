"""What a user of the explorer waits for: region query, overlay, selection, comparison of groups."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse, stats

from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.features.differential import compare_groups
from napari_bio_superposition.features.overlays import assemble_overlay
from napari_bio_superposition.features.region_statistics import (
    RegionQueryConfig,
    RegionScores,
    affordable_tokens,
    sample_region,
)
from napari_bio_superposition.features.regions import (
    TokenGrid,
    patches_in_region,
    tokens_in_region,
)
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.encoder import Encoder, EncoderConfig
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import TokenCache, latent_maps
from napari_bio_superposition.models.latent_pooling import LatentPooling
from napari_bio_superposition.models.region_query import stream_activations
from napari_bio_superposition.models.sae_gated import GatedSAE
from napari_bio_superposition.models.sparse_codes import CodeCollector, SparseCodes

_SIDE = 128
_TOKENS = 64


def benchmarks() -> list[dict[str, Any]]:
    """Time every action at growing image sides and dictionary sizes."""
    rows = []
    for side_px, n_latents in ((1024, 2048), (1024, 8192), (2048, 2048), (2048, 8192)):
        model, tokens = _make_model(n_latents), _make_tokens((side_px // _SIDE) ** 2)
        rows += _time_image(model, tokens, side_px)
    for n_patches in (10_000, 100_000):
        rows.append(_time_comparison(n_patches))
    return rows


def _time_image(model: FeatureModel, tokens: TokenCache, side_px: int) -> list[dict[str, Any]]:
    size = {"side_px": side_px, "n_latents": model.card.n_latents}
    starts = np.arange(0, side_px, _SIDE)
    origins = np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
    mask = np.zeros((side_px, side_px), bool)
    mask[300:520, 280:450] = True
    query = _time(lambda: _query(model, tokens, origins, mask))
    full = _time(lambda: _activate_patches(model, tokens, 2), repeats=1) * len(tokens) / 2
    one = _time(lambda: latent_maps(model, tokens, [3]))
    coded = replace(tokens, codes=_make_codes(model, tokens))
    read = _time(lambda: latent_maps(model, coded, [3]))
    maps = latent_maps(model, tokens, [3])[0]
    shown = _time(lambda: assemble_overlay(maps, origins, _SIDE, mask.shape))
    return [
        {
            "what": "region query",
            **size,
            "seconds": query,
            "all_tokens_seconds": full,
            "ratio": full / query,
            "tokens_gb": tokens.unit.nbytes / 1e9,
        },
        {
            "what": "overlay, first time",
            **size,
            "seconds": read + shown,
            "from_tokens_seconds": one + shown,
            "codes_gb": 0.0 if coded.codes is None else coded.codes.nbytes / 1e9,
        },
        {"what": "overlay, cached map", **size, "seconds": shown},
        {
            "what": "patches of a region",
            **size,
            "seconds": _time(lambda: patches_in_region(origins, _SIDE, mask)),
        },
    ]


def _query(model: FeatureModel, tokens: TokenCache, origins: Any, mask: Any) -> pd.DataFrame:
    config = RegionQueryConfig()
    inside = tokens_in_region(origins, _SIDE, tokens.map_shape, mask)
    grid = TokenGrid.of_patches(origins, _SIDE, tokens.map_shape, mask.shape)
    affordable = affordable_tokens(model.card.width, model.card.n_latents, config)
    sample = sample_region(inside, ~inside, grid, affordable, config, rng=np.random.default_rng(0))
    scores = RegionScores(sample, model.card.n_latents)
    for latents, activations in stream_activations(model, tokens, sample.rows):
        scores.add(latents, activations)
    return scores.as_table()


def _activate_patches(model: FeatureModel, tokens: TokenCache, n_patches: int) -> None:
    """Do what a query over all tokens would do, for some patches."""
    for _ in stream_activations(model, tokens, np.arange(n_patches * _TOKENS**2)):
        pass


def _time_comparison(n_patches: int, n_features: int = 1000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    values = rng.standard_gamma(1, size=(n_patches, n_features), dtype=np.float32)
    values[rng.random(values.shape, dtype=np.float32) < 0.9] = 0
    wells = np.arange(n_patches) % 96
    table = AnnData(
        sparse.csr_matrix(values),
        obs=pd.DataFrame({Keys.GROUP: wells.astype(str)}, index=np.arange(n_patches).astype(str)),
        var=pd.DataFrame(index=[feature_name(k) for k in range(n_features)]),
    )
    table.var[Keys.FIRING_RATE] = 0.1
    first = wells < 48
    seconds = _time(lambda: compare_groups(table, first), repeats=1)
    some = values[:, :20]
    usual = _time(lambda: stats.mannwhitneyu(some[first], some[~first], axis=0), repeats=1)
    usual *= n_features / 20
    return {
        "what": "differential features",
        "n_patches": n_patches,
        "n_features": n_features,
        "seconds": seconds,
        "scipy_seconds": usual,
        "ratio": usual / seconds,
    }


def _make_model(n_latents: int) -> FeatureModel:
    """Return a model with the paper's width whose latents fire on about 1 % of tokens."""
    card = ModelCard(
        name="bench",
        channel_roles=("a", "b", "c"),
        width=512,
        blocks=(2, 2, 2, 3),
        n_latents=n_latents,
        centring="image",
    )
    rng = torch.Generator().manual_seed(0)
    sae = GatedSAE.create(512, n_latents, rng=rng)
    with torch.no_grad():
        sae.W_mag.normal_(std=1.0, generator=rng)
        sae.b_gate.fill_(-2.3)
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig())
    return FeatureModel(replace(card), encoder, sae.requires_grad_(False).eval())


def _make_tokens(n_patches: int) -> TokenCache:
    rng = np.random.default_rng(0)
    some = rng.normal(size=(_TOKENS**2, 512)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    unit = np.empty((n_patches, _TOKENS**2, 512), np.float16)
    unit[:] = some.astype(np.float16)
    return TokenCache(unit, np.ones((n_patches, _TOKENS**2), np.float32), (_TOKENS, _TOKENS))


def _make_codes(model: FeatureModel, tokens: TokenCache) -> SparseCodes | None:
    """Return the codes of tokens whose patches are all alike, as those of `_make_tokens` are."""
    n_patches, n_tokens = tokens.norms.shape
    collector = CodeCollector(1, n_tokens, model.card.n_latents, token_bytes=0)
    unit = torch.from_numpy(tokens.unit[:1]).float()
    (pooled,) = LatentPooling(model.sae.jump()).pool(unit, keep_codes=True)
    collector.put(0, pooled.codes)
    one = collector.collect()
    if one is None:
        return None
    starts = np.tile(one.starts, (n_patches, 1))
    return SparseCodes(starts, one.tokens * n_patches, one.values * n_patches)


def _time(call: Callable[[], Any], repeats: int = 3) -> float:
    """Return the shortest of some runs in seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
