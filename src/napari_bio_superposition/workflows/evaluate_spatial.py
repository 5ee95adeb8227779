"""Single features against masks in space: AUROC of the best one on other wells. No probes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import BoolArray, FloatArray
from napari_bio_superposition.evaluation.recovery import Places, best_agreeing
from napari_bio_superposition.models.evaluation_pass import PatchMeasures
from napari_bio_superposition.workflows.evaluation_data import EvaluationData, spatial_masks
from napari_bio_superposition.workflows.evaluation_result import flatten

_FOREIGN_MASKS: Final = 20


def agree_with_masks(
    maps: Mapping[str, FloatArray],
    measures: PatchMeasures,
    data: EvaluationData,
    *,
    rng: np.random.Generator,
) -> Job[list[dict[str, Any]]]:
    """Return, for each mask and representation, how well its best feature follows it in space.

    Parameters
    ----------
    maps
        Name to values at the sampled places of *measures*, ``(place, feature)``.
    measures, data
        Where these places are, and what lies there.
    rng
        Decides foreign masks and the bootstrap.
    """
    masks = yield from spatial_masks(data, measures.sampled)
    n_sampled, per_patch = measures.places.shape
    patch = np.repeat(np.arange(n_sampled), per_patch)
    groups, plates = (x[measures.sampled][patch] for x in (data.groups, data.plates))
    in_test = np.isin(measures.sampled, data.test)[patch]
    places = Places(np.flatnonzero(~in_test), np.flatnonzero(in_test), groups, plates)
    others = [rng.permutation(n_sampled) for _ in range(_FOREIGN_MASKS)]
    rows = []
    for done, (name, mask) in enumerate(masks.items()):
        at = mask[patch, measures.places.ravel()]
        foreign = np.stack([mask[order[patch], measures.places.ravel()] for order in others])
        for kind, values in maps.items():
            best = best_agreeing(values, at, foreign, places, rng=rng)
            inside = _share_inside(values[places.score, best.feature], at[places.score])
            rows.append(
                {
                    "mask": name,
                    "share_of_places": float(at.mean()),
                    "representation": kind,
                    **flatten(dataclasses.asdict(best), "auroc", "score"),
                    "top_share_inside": inside,
                }
            )
            yield Progress("Comparing maps with masks", done + 1, len(masks), "masks")
    return rows


def _share_inside(activation: FloatArray, mask: BoolArray) -> float:
    """Return the share of the one percent of places with the strongest activation in a mask.

    A latent that is silent on most of a mask has an AUROC near one half however well its few
    active places are chosen; this tells the two apart.
    """
    n = max(1, len(activation) // 100)
    strongest = np.argpartition(activation, -n)[-n:]
    return float(mask[strongest].mean())
