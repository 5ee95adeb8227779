"""From a region on an analysed image to a ranking of latents. No painting, no files."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import RegionError, list_choices
from napari_bio_superposition.core.types import BoolArray
from napari_bio_superposition.features.region_statistics import (
    RegionQueryConfig,
    RegionScores,
    affordable_tokens,
    sample_region,
)
from napari_bio_superposition.features.regions import TokenGrid, tokens_in_region
from napari_bio_superposition.models.region_query import stream_activations
from napari_bio_superposition.workflows.analyze import ImageAnalysis
from napari_bio_superposition.workflows.loading import LoadedModels


def rank_latents(
    analysis: ImageAnalysis,
    models: LoadedModels,
    region: BoolArray | Mapping[str, BoolArray],
    config: RegionQueryConfig | None = None,
    *,
    against: BoolArray | None = None,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Rank latents by how much more they are active in a region than elsewhere in the image.

    Parameters
    ----------
    analysis
        Of one image, with tokens (see `restore_tokens`).
    models
        Those of the analysis.
    region
        Pixels of the region, ``(height, width)``; or several by name, each ranked on its own.
        `nuclei_region`, `patches_region` and `split_regions` make masks.
    config
        Settings; the defaults where omitted.
    against
        Pixels to compare with; all outside of the region where ``None``.
    rng
        Draws tokens and random regions; seed 0 where omitted, so that a query repeats.

    Returns
    -------
    pandas.DataFrame
        Best AUROC first: ``region`` (its name; only with several), ``feature``, ``latent``,
        ``mean_inside``, ``mean_outside``, ``lift`` (their ratio, a little added to both so that
        silent latents do not top it), ``auroc`` (chance that a token inside is above one outside,
        ties half), ``area`` (share of the region on which it is active), ``firing_rate`` (the same
        over the whole image), ``z_score`` and ``p_value`` (the region's mean among those of random
        regions of the same shape: one-sided, at least ``1 / (n_random + 1)``; nan where it never
        fires), ``q_value`` (Benjamini-Hochberg over latents).
        ``attrs`` says how many tokens there are and how many were used.

    Raises
    ------
    RegionError
        Where the region is empty, too small, or of another image.
    """
    if isinstance(region, Mapping):
        if not region:
            raise RegionError("There is no region. Paint one, draw a shape, or select nuclei.")
        parts = {
            name: rank_latents(analysis, models, mask, config, against=against, rng=rng)
            for name, mask in region.items()
        }
        return _concat(parts)
    config, rng = config or RegionQueryConfig(), rng or np.random.default_rng(0)
    if analysis.tokens is None:
        raise ValueError("This analysis holds no tokens. Call restore_tokens first.")
    patches, shape = analysis.patches, analysis.tokens.map_shape
    origins = patches.origins[patches.accepted]
    inside = tokens_in_region(origins, patches.side, shape, region)
    outside = ~inside
    if against is not None:
        outside = tokens_in_region(origins, patches.side, shape, against) & ~inside
    card = models.features.card
    sample = sample_region(
        inside,
        outside,
        TokenGrid.of_patches(origins, patches.side, shape, analysis.image.shape),
        affordable_tokens(card.width, card.n_latents, config),
        config,
        rng=rng,
    )
    scores = RegionScores(sample, card.n_latents)
    for latents, activations in stream_activations(models.features, analysis.tokens, sample.rows):
        scores.add(latents, activations)
    return scores.as_table(config.n_top)


def spread_regions(ranked: pd.DataFrame, value: str = "mean_inside") -> pd.DataFrame:
    """Return one row per feature and one column per region, to compare several regions.

    Parameters
    ----------
    ranked
        From `rank_latents` with several regions.
    value
        The column that is compared.

    Returns
    -------
    pandas.DataFrame
        Index ``feature``; the feature that differs most between regions first.
    """
    if "region" not in ranked or value not in ranked:
        raise RegionError(
            f"This ranking has no columns region and {value}; it has "
            f"{list_choices(ranked.columns)}. Rank several regions by name."
        )
    wide = ranked.pivot_table(index="feature", columns="region", values=value, observed=True)
    wide = wide[list(dict.fromkeys(ranked["region"]))]
    order = np.argsort(-np.ptp(wide.to_numpy(), axis=1), kind="stable")
    return wide.iloc[order]


def _concat(parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    attrs = {name: part.attrs for name, part in parts.items()}
    for name, part in parts.items():
        part.insert(0, "region", name)
        part.attrs = {}
    table = pd.concat(parts.values(), ignore_index=True)
    table.attrs = attrs
    return table
