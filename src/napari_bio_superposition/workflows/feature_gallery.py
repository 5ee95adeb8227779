"""Features as one static page with pictures and figures, which opens without Python."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.image import imsave

from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.features.examples import choose_examples
from napari_bio_superposition.features.feature_page import FeaturePage, describe_feature
from napari_bio_superposition.features.notes import NoteBook
from napari_bio_superposition.features.overlays import ROLE_COLOURS, image_scale, render_overlay
from napari_bio_superposition.workflows.explore_images import (
    ImageLibrary,
    Thumbnail,
    cut_examples,
)
from napari_bio_superposition.workflows.loading import LoadedModels

_KINDS: Final = {
    "top": "Strongest",
    "q95": "95th percentile of its activity",
    "q50": "Median of its activity",
    "random": "Any patch in which it is active",
    "inactive": "Patches in which it is not active",
}
_FEATURES_TOGETHER: Final = 8
"""Their patches are in memory at once, and each image is read once for all of them."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """What a gallery shows.

    Parameters
    ----------
    features
        Names of columns, in order.
    notes
        Names and notes.
    groupby
        Column of ``obs`` with the classes.
    n_each
        Patches of each kind.
    """

    features: Sequence[str]
    notes: NoteBook
    groupby: str = Keys.GENOTYPE
    n_each: int = 5


def write_gallery(
    table: AnnData,
    gallery: Gallery,
    path: Path,
    *,
    library: ImageLibrary | None = None,
    models: LoadedModels | None = None,
    rng: np.random.Generator | None = None,
) -> Job[Path]:
    """Write the page of some features, whole or not at all.

    Parameters
    ----------
    table
        A feature table.
    gallery
        What is shown.
    path
        The page, ``.html``; it needs no other file and no network.
    library, models
        The images and models behind the table; without them there are no pictures.
    rng
        Draws random examples and intervals; seed 0 where omitted.
    """
    rng = rng or np.random.default_rng(0)
    entries: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for start in range(0, len(gallery.features), _FEATURES_TOGETHER):
        yield Progress("Describing features", start, len(gallery.features), "features")
        some = gallery.features[start : start + _FEATURES_TOGETHER]
        examples = {
            feature: choose_examples(table, feature, n_each=gallery.n_each, rng=rng)
            for feature in some
        }
        cut: dict[str, dict[int, Thumbnail]] = {}
        if library is not None and models is not None:
            wanted = {feature: found["row"].tolist() for feature, found in examples.items()}
            cut = yield from cut_examples(table, wanted, library, models, missing=missing)
        for feature in some:
            yield Progress("Describing features", len(entries), len(gallery.features), "features")
            page = describe_feature(table, feature, groupby=gallery.groupby, rng=rng)
            rows: list[dict[str, Any]] = []
            if feature in cut and models is not None:
                roles = models.features.card.channel_roles
                rows = _draw_rows(examples[feature], cut[feature], roles, missing)
            entries.append(_describe(page, gallery, rows))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = files("napari_bio_superposition").joinpath("resources/gallery.html.j2")
    html = environment.from_string(template.read_text(encoding="utf-8")).render(
        entries=entries,
        n_patches=table.n_obs,
        n_images=table.obs[Keys.IMAGE].nunique(),
        missing=missing,
    )
    with replaced_file(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def paint_channels(channels: FloatArray, roles: Sequence[str]) -> FloatArray:
    """Return channels ``(channel, side, side)`` as one picture ``(side, side, 3)``."""
    spare = ((1.0, 0.8, 0.2), (0.2, 0.9, 0.9), (0.9, 0.4, 0.9))
    colours = [ROLE_COLOURS.get(role, spare[k % 3]) for k, role in enumerate(roles)]
    mixed = np.einsum("chw,cr->hwr", channels, np.array(colours, np.float32))
    picture: FloatArray = np.clip(mixed, 0, 1).astype(np.float32)
    return picture


def _draw_rows(
    examples: pd.DataFrame,
    thumbnails: Mapping[int, Thumbnail],
    roles: Sequence[str],
    missing: Mapping[str, str],
) -> list[dict[str, Any]]:
    # One scale for all patches of a feature; its largest activation anywhere may be one odd token.
    maps = [thumbnail.activation for thumbnail in thumbnails.values()]
    scale = image_scale(np.stack(maps)) if maps else (0.0, 1.0)
    rows = []
    for kind, title in _KINDS.items():
        part = examples[examples["kind"] == kind]
        pictures = []
        for _, example in part.iterrows():
            shown = {
                "label": f"{example.get(Keys.GENOTYPE, '')} {example[Keys.GROUP]}",
                "activation": f"{example['activation']:.3g}",
                "missing": missing.get(str(example[Keys.IMAGE]), ""),
            }
            thumbnail = thumbnails.get(int(example["row"]))
            pictures.append(shown if thumbnail is None else shown | _draw(thumbnail, roles, scale))
        if pictures:
            rows.append({"title": title, "pictures": pictures})
    return rows


def _draw(thumbnail: Thumbnail, roles: Sequence[str], scale: tuple[float, float]) -> dict[str, str]:
    base = paint_channels(thumbnail.channels, roles)
    return {
        "plain": _png(base),
        "overlay": _png(render_overlay(0.8 * base, thumbnail.activation, scale)),
        "seen": _png(paint_channels(thumbnail.seen, roles)),
    }


def _describe(
    page: FeaturePage, gallery: Gallery, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    latent = latent_of(page.feature)
    top = max(float(page.classes["high"].fillna(page.classes["mean"]).max()), 1e-12)
    tallest = max(int(page.histogram.max(initial=0)), 1)
    return {
        "anchor": page.feature,
        "title": gallery.notes.label(latent),
        "note": gallery.notes.notes.get(latent, ""),
        "figures": [
            ("share of places", _percent(page.firing_rate)),
            ("share of patches", _percent(page.active_patches)),
            ("largest activation", f"{page.max_activation:.3g}"),
            ("variance by plate", _percent(float(np.maximum(0.0, page.plate_effect)))),
        ],
        "bars": [round(100 * int(n) / tallest, 1) for n in page.histogram],
        "reach": f"{page.edges[-1]:.3g}",
        "classes": [
            {
                "name": one["class"],
                "mean": f"{one['mean']:.3g}",
                "interval": _interval(one),
                "width": round(100 * one["mean"] / top, 1),
                "wells": int(one["n_wells"]),
            }
            for one in page.classes.to_dict("records")
        ],
        "together": [gallery.notes.label(int(k)) for k in page.together["latent"].head(5)],
        "rows": rows,
    }


def _percent(share: float) -> str:
    return "not known" if np.isnan(share) else f"{100 * share:.3g} %"


def _interval(one: Mapping[str, Any]) -> str:
    return "one well" if np.isnan(one["low"]) else f"{one['low']:.3g} to {one['high']:.3g}"


def _png(picture: FloatArray) -> str:
    stream = io.BytesIO()
    imsave(stream, np.asarray(255 * picture, np.uint8), format="png")
    return base64.b64encode(stream.getvalue()).decode("ascii")
