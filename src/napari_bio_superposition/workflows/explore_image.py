"""Questions about one image of a table: regions, channels, what a feature does, its map."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import RegionError, TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys, feature_name, latent_of
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import BoolArray, FloatArray
from napari_bio_superposition.features.overlays import composite, fixed_scale, render_overlay
from napari_bio_superposition.features.regions import (
    nuclei_region,
    patches_in_region,
    patches_region,
    split_regions,
)
from napari_bio_superposition.features.search import write_list
from napari_bio_superposition.features.table import read_provenance
from napari_bio_superposition.models.attribution import ChannelAttribution
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import (
    ImageAnalysis,
    adapt_to_card,
    assign_roles,
    cut_patches,
    overlay,
    restore_tokens,
)
from napari_bio_superposition.workflows.config_files import config_from_plain
from napari_bio_superposition.workflows.explore_channels import (
    MatchedChannel,
    explain_channel,
    match_channel,
)
from napari_bio_superposition.workflows.explore_config import ExploreConfig
from napari_bio_superposition.workflows.explore_images import ImageLibrary
from napari_bio_superposition.workflows.explore_result import ExploreResult
from napari_bio_superposition.workflows.loading import LoadedModels, load_models
from napari_bio_superposition.workflows.region_query import rank_latents
from napari_bio_superposition.workflows.steering import measure_effect


def ask_image(
    table: AnnData,
    features: Sequence[str],
    config: ExploreConfig,
    out: Path,
    *,
    images: Sequence[Path] = (),
    mask: Path | None = None,
) -> Job[ExploreResult]:
    """Answer a question that needs the tokens of one image; see `explore`."""
    if config.do == "region" and mask is None and not config.patches:
        raise RegionError(
            "A region needs a place and the image. Give --mask (or --patches) and --images."
        )
    if not images:
        raise RegionError("This question needs the image. Give it, or its folder, with --images.")
    regions = {} if mask is None else _read_mask(mask, config.nuclei)
    models, library = yield from open_library(table, config, images)
    analysis = yield from encode_image(table, _choose_image(table, config), models, library)
    if config.patches:
        regions["patches"] = _region_of_patches(analysis, config.patches)
    if config.do == "region":
        return _rank_regions(analysis, models, regions, config, out)
    place = np.logical_or.reduce(list(regions.values())) if regions else None
    asked = _Asked(analysis, models, table, tuple(features), place, config, out)
    yield Progress("Asking the image")
    if config.do == "channel":
        return _explain(asked)
    if config.do == "match":
        return _match(asked)
    return (yield from _measure(asked) if config.do == "effect" else _draw_maps(asked))


@dataclass(frozen=True, eq=False)
class _Asked:
    """A question, and the image that it is about; *place* is all of it where ``None``."""

    analysis: ImageAnalysis
    models: LoadedModels
    table: AnnData
    features: tuple[str, ...]
    place: BoolArray | None
    config: ExploreConfig
    out: Path

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.config.seed)


def open_library(
    table: AnnData, config: ExploreConfig, images: Sequence[Path]
) -> Job[tuple[LoadedModels, ImageLibrary]]:
    """Load the networks of a table and list the images behind it.

    Raises
    ------
    TableError
        Where the table was made with another model.
    """
    settings = settings_of(table, config.model, config.device)
    models = yield from load_models(settings)
    check_models(table, models)
    return models, ImageLibrary.open(images, settings)


def check_models(table: AnnData, models: LoadedModels) -> None:
    """Make sure that a table was made with these networks.

    Raises
    ------
    TableError
        Where it was not.
    """
    made_with = read_provenance(table).models.values()
    sha256 = models.features.card.weights_sha256
    if sha256 and sha256 not in made_with:
        raise TableError(
            f"The table was made with another model than {models.features.card.name}. Give that "
            "one with --model."
        )


def settings_of(table: AnnData, model: str = "", device: str = "") -> AnalyzeConfig:
    """Return the settings that a table was made with, with another model or device if wanted."""
    plain = dict(read_provenance(table).config)
    plain = plain["differing"][0] if "differing" in plain else plain
    known = {entry.name for entry in dataclasses.fields(AnalyzeConfig)}
    own = {name: value for name, value in plain.items() if name in known}  # a demo has more
    settings = config_from_plain(own, AnalyzeConfig)
    return dataclasses.replace(
        settings,
        model=model or settings.model,
        device=device or settings.device,
        segmentation=dataclasses.replace(settings.segmentation, method="watershed"),
    )


def encode_image(
    table: AnnData, image_id: str, models: LoadedModels, library: ImageLibrary
) -> Job[ImageAnalysis]:
    """Encode the patches that a table has of an image, with the nuclei of its saved result.

    Raises
    ------
    RegionError
        Where the table has no patch of the image.
    ImageReadError
        Where the image is not in the library.
    """
    card = models.features.card
    image = assign_roles(library.read(image_id), library.config, card)
    patches = cut_patches(image, card.channel_roles, adapt_to_card(library.config, card))
    is_row = np.isin(np.array(patches.ids), table.obs_names.to_numpy(str))
    patches = dataclasses.replace(patches, accepted=is_row)
    if not is_row.any():
        raise RegionError(f"The table has no patch of the image {image_id}. Choose another image.")
    labels = library.read_nuclei(image_id)
    analysis = ImageAnalysis(
        image=image,
        labels=labels if labels is not None and labels.shape == image.shape else None,
        patches=patches,
        dye=None,
        death=None,
        table=None,
        tokens=None,
        provenance=Provenance(
            {}, {}, library.config.seed, models.device, {}, models.hashes, card.flags
        ),
    )
    return (yield from restore_tokens(analysis, models))


def _choose_image(table: AnnData, config: ExploreConfig) -> str:
    rows = table.obs
    if config.patches:
        rows = rows.loc[rows.index.intersection(config.patches)]
        if len(rows) < len(set(config.patches)):
            unknown = sorted(set(config.patches) - set(rows.index))
            raise RegionError(f"The table has no patch {unknown[0]}. Take names of its obs.")
    ids: list[str] = rows[Keys.IMAGE].astype(str).unique().tolist()
    if not config.image and len(ids) > 1:
        raise RegionError(f"Say in which image, with --image: {list_choices(ids[:8])}.")
    return config.image or ids[0]


def _read_mask(path: Path, nuclei: Sequence[int]) -> dict[str, BoolArray]:
    from skimage.io import imread

    try:
        painted = np.squeeze(np.asarray(imread(path)))
    except Exception as error:  # readers raise whatever a damaged byte leads to
        raise RegionError(
            f"{path.name} cannot be read as a mask ({type(error).__name__}: {error}). "
            "Save the Labels layer as TIFF or PNG."
        ) from error
    return {"nuclei": nuclei_region(painted, nuclei)} if nuclei else split_regions(painted)


def _region_of_patches(analysis: ImageAnalysis, names: Sequence[str]) -> BoolArray:
    patches = analysis.patches
    chosen = np.isin(np.array(patches.ids), names) & patches.accepted
    if chosen.sum() < len(set(names)):
        raise RegionError("The patches lie in several images. Ask about those of one.")
    return patches_region(patches.origins, patches.side, chosen, analysis.image.shape)


def _rank_regions(
    analysis: ImageAnalysis,
    models: LoadedModels,
    regions: Mapping[str, BoolArray],
    config: ExploreConfig,
    out: Path,
) -> ExploreResult:
    rng = np.random.default_rng(config.seed)
    found = rank_latents(analysis, models, regions, config.query, rng=rng)
    files = (
        write_list(found, out / "region.csv"),
        write_list(_list_patches(analysis, regions), out / "region_patches.csv"),
    )
    shown = found.groupby("region", sort=False).head(config.n_shown)
    notes = [f"{name}: {counts}" for name, counts in found.attrs.items()]
    return ExploreResult(shown, files, tuple(notes))


def _list_patches(analysis: ImageAnalysis, regions: Mapping[str, BoolArray]) -> pd.DataFrame:
    """Return the patches that each region touches, and which share of each it covers."""
    cut, parts = analysis.patches, []
    origins, names = cut.origins[cut.accepted], np.array(cut.ids)[cut.accepted]
    for name, mask in regions.items():
        share = patches_in_region(origins, cut.side, mask)
        touched = share > 0
        parts.append({"region": name, "patch": names[touched], "share": share[touched]})
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)


def _explain(asked: _Asked) -> ExploreResult:
    config = asked.config
    explained = explain_channel(
        asked.analysis, asked.models, asked.place, config.channel, rng=asked.rng
    )
    parts = explained.attribution
    found = pd.DataFrame(
        {
            "feature": [feature_name(int(k)) for k in parts.latents],
            "latent": parts.latents,
            "adds": parts.contributions.mean(axis=1),
            "explained": parts.explained,
            "shuffled": parts.shuffled,
        }
    )
    path = write_list(found, asked.out / f"channel_{parts.channel:05d}.csv")
    strong = ", ".join(map(str, explained.channels.tolist()))
    notes = (describe_attribution(parts), f"Strongest channels there: {strong}.")
    return ExploreResult(found.head(config.n_shown), (path,), notes)


def describe_attribution(parts: ChannelAttribution) -> str:
    """Return in words how much of a channel its features explain."""
    best = float(parts.explained[-1]) if len(parts.explained) else 0.0
    return (
        f"Channel {parts.channel}: {len(parts.latents)} features add up to {best:.0%} of it; "
        f"{parts.participation:.1f} would, if they shared it evenly."
    )


def _match(asked: _Asked) -> ExploreResult:
    matched = match_channel(
        asked.analysis, asked.models, asked.place, asked.config.channel, rng=asked.rng
    )
    found = pd.DataFrame(
        {
            "feature": [feature_name(k) for k in matched.match.latents],
            "latent": matched.match.latents,
            "overlap": matched.match.overlap,
            "coverage": matched.match.coverage,
            "coverage_rolled": matched.rolled.coverage,
        }
    )
    path = write_list(found, asked.out / f"match_{matched.channel:05d}.csv")
    return ExploreResult(found, (path,), (describe_match(matched),))


def describe_match(matched: MatchedChannel) -> str:
    """Return in words how a channel's map was covered, and how the control does."""

    def count(n_rounds: int) -> str:
        return f"{n_rounds} maps cover 80 %" if n_rounds > 0 else "80 % is never covered"

    return (
        f"Channel {matched.channel}, patch {matched.patch}: {count(matched.match.n_for_coverage)}; "
        f"maps moved at random: {count(matched.rolled.n_for_coverage)}. Greedy, as published; "
        "uses no decoder."
    )


def _measure(asked: _Asked) -> Job[ExploreResult]:
    patches, factor = None, asked.config.factor
    if asked.place is not None:
        cut = asked.analysis.patches
        shares = patches_in_region(cut.origins[cut.accepted], cut.side, asked.place)
        patches = np.flatnonzero(shares > 0)
    effect = yield from measure_effect(
        asked.analysis,
        asked.models,
        asked.table,
        latent_of(asked.features[0]),
        factor=factor,
        patches=patches,
    )
    path = write_list(effect.outputs, asked.out / f"effect_{asked.features[0]}.csv")
    missing = [f"No {name}: {why}." for name, why in effect.missing.items()]
    note = f"{asked.features[0]} times {factor:g} in {effect.n_patches} patches."
    return ExploreResult(effect.outputs, (path,), (note, *missing))


def _draw_maps(asked: _Asked) -> Job[ExploreResult]:
    """Write the map of each feature as numbers, and over the image as a picture."""
    base, tops = composite(asked.analysis.image), []
    files: list[Path] = []
    for done, feature in enumerate(asked.features):
        yield Progress("Drawing features", done, len(asked.features), "features")
        values = overlay(asked.analysis, asked.models, latent_of(feature))
        scale = fixed_scale(asked.table, feature)
        tops.append(scale[1])
        files += [
            _write_map(values, asked.out / f"{feature}.tif"),
            _write_picture(render_overlay(0.8 * base, values, scale), asked.out / f"{feature}.png"),
        ]
    return ExploreResult(
        pd.DataFrame({"feature": asked.features, "top_of_scale": tops}), tuple(files)
    )


def _write_map(values: FloatArray, path: Path) -> Path:
    import tifffile

    with replaced_file(path) as part:
        tifffile.imwrite(part, values, compression="zlib")
    return path


def _write_picture(picture: FloatArray, path: Path) -> Path:
    from matplotlib.image import imsave

    with replaced_file(path) as part:
        imsave(part, np.asarray(255 * picture, np.uint8), format="png")
    return path
