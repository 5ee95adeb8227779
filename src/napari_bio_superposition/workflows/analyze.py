"""The main job on one image: nuclei, patches, features, cell death, table. No files, no Qt."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.errors import ChannelError, list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import Provenance, package_versions
from napari_bio_superposition.core.types import (
    DEATH,
    NUCLEI,
    FloatArray,
    LabelImage,
    MultichannelImage,
    PatchSet,
)
from napari_bio_superposition.features.overlays import assemble_overlay
from napari_bio_superposition.features.table import build_table
from napari_bio_superposition.imaging.cell_death import (
    DyeMeasurement,
    choose_threshold,
    explain_threshold,
    measure_death_dye,
    score_cell_death,
)
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patches import check_pixel_size, extract_patches
from napari_bio_superposition.imaging.roles import resolve_roles
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.inference import (
    EncodedPatches,
    TokenCache,
    encode_patches,
    latent_maps,
)
from napari_bio_superposition.segmentation import segment_nuclei
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.config_files import config_to_plain
from napari_bio_superposition.workflows.hashing import hash_image
from napari_bio_superposition.workflows.loading import LoadedModels, load_models

T = TypeVar("T")
_DECIDED_BY_MODEL = ("side_px", "intensity_scaling", "low_percentile", "high_percentile")


@dataclass(frozen=True, eq=False)
class ImageAnalysis:
    """Everything that is known about one image after its analysis."""

    image: MultichannelImage
    labels: LabelImage | None
    """Nuclei, ``(height, width)``; ``None`` where no channel shows nuclei."""
    patches: PatchSet
    dye: DyeMeasurement | None
    """The death dye inside nuclei; kept, since the threshold may come from many images."""
    death: pd.DataFrame | None
    """One row per patch, rejected ones included; ``None`` where nuclei or death dye are missing."""
    table: AnnData | None
    """Accepted patches x SAE features; ``None`` where the model's channels are missing."""
    tokens: TokenCache | None
    """Prepared tokens of the accepted patches, when they were asked for: overlays need them."""
    provenance: Provenance
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Steps that were not done, with the reason."""
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time per step."""


def analyze_image(
    image: MultichannelImage,
    config: AnalyzeConfig | None = None,
    *,
    models: LoadedModels | None = None,
    keep_tokens: bool = False,
    provenance: Provenance | None = None,
) -> Job[ImageAnalysis]:
    """Find nuclei, score cell death, and describe every patch by SAE features.

    Parameters
    ----------
    image
        One field of view. Steps whose channel is missing are skipped, and the result says so.
    config
        Settings; the defaults where omitted.
    models
        Networks that are loaded already; loaded by *config* where omitted.
    keep_tokens
        Keep what overlays are computed from: ``tokens x width`` half-precision numbers a patch.
    provenance
        What `describe_provenance` says of these very inputs, where it is known already: it hashes
        all pixels.

    Returns
    -------
    ImageAnalysis
        Complete, or nothing: closing the job leaves nothing behind.

    Raises
    ------
    ChannelError
        Where no channel plays any role.
    """
    config = config or AnalyzeConfig()
    if models is None:
        models = yield from load_models(config)
    card = models.features.card
    notes = explain_adaptation(config, card)
    config = adapt_to_card(config, card)
    image = assign_roles(image, config, card)
    _check_any_role(image)
    log = _StepLog([*notes, *image.warnings])

    labels = yield from log.timed("nuclei", _find_nuclei(image, config, models, log))
    patches = yield from log.timed("patches", _cut_patches(image, config, card, log))
    encoded = yield from log.timed("features", _encode(patches, models, keep_tokens, log))
    dye = yield from log.timed("death", _measure_death(image, labels, patches, config, log))
    death = None if dye is None else _score_death(dye, config, log)
    provenance = provenance or describe_provenance(image, config, models)
    table = None if encoded is None else build_table(patches, encoded, death, provenance)
    return ImageAnalysis(
        image=image,
        labels=labels,
        patches=patches,
        dye=dye,
        death=death,
        table=table,
        tokens=None if encoded is None else encoded.tokens,
        provenance=provenance,
        skipped=log.skipped,
        warnings=tuple(log.warnings),
        seconds=log.seconds,
    )


def assign_roles(
    image: MultichannelImage, config: AnalyzeConfig, card: ModelCard
) -> MultichannelImage:
    """Return *image* with the roles of the settings over those of its channel names."""
    roles = resolve_roles(image, config.roles, extra_roles=card.channel_roles)
    return image.with_roles(roles)


def overlay(analysis: ImageAnalysis, models: LoadedModels, latent: int) -> FloatArray:
    """Return the activation of one latent over the image, ``(height, width)``; nan outside patches.

    The encoder is not run again: the cached tokens are multiplied with one column of the SAE.

    Raises
    ------
    ValueError
        Where the analysis was made without ``keep_tokens``; see `restore_tokens`.
    """
    if analysis.tokens is None:
        raise ValueError("This analysis holds no tokens. Call restore_tokens first.")
    maps = latent_maps(models.features, analysis.tokens, [latent])[0]
    patches = analysis.patches
    return assemble_overlay(
        maps, patches.origins[patches.accepted], patches.side, analysis.image.shape
    )


def restore_tokens(analysis: ImageAnalysis, models: LoadedModels) -> Job[ImageAnalysis]:
    """Encode the accepted patches of a loaded analysis again, so that overlays can be shown."""
    job = encode_patches(models.features, analysis.patches.accepted_pixels, keep_tokens=True)
    encoded = yield from job
    return replace(analysis, tokens=encoded.tokens)


def describe_provenance(
    image: MultichannelImage, config: AnalyzeConfig, models: LoadedModels
) -> Provenance:
    """Return what the features of *image* depend on."""
    return Provenance(
        config=config_to_plain(config),
        versions=package_versions(),
        seed=config.seed,
        device=models.device,
        inputs={image.id: hash_image(image)},
        models=models.hashes,
        flags=models.features.card.flags,
    )


@dataclass
class _StepLog:
    """What the steps of one analysis have to say beside their results."""

    warnings: list[str]
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, job: Job[T]) -> Job[T]:
        start = time.perf_counter()
        result = yield from job
        self.seconds[step] = round(time.perf_counter() - start, 3)
        return result


def _check_any_role(image: MultichannelImage) -> None:
    if not image.roles:
        raise ChannelError(
            f"No channel of {image.id} plays a known role; its channels are "
            f"{list_choices(image.channel_names)}. Say which is which, for instance with "
            f'--roles "nuclei={image.channel_names[0]}".'
        )


def _find_nuclei(
    image: MultichannelImage, config: AnalyzeConfig, models: LoadedModels, log: _StepLog
) -> Job[LabelImage | None]:
    if not image.has(NUCLEI):
        log.skipped["nuclei"] = "no channel plays the role nuclei"
        return None
    return (
        yield from segment_nuclei(
            image.channel(NUCLEI),
            config.segmentation,
            pixel_size_um=image.pixel_size_um,
            model=models.nuclei,
            device=models.device,
        )
    )


def _cut_patches(
    image: MultichannelImage, config: AnalyzeConfig, card: ModelCard, log: _StepLog
) -> Job[PatchSet]:
    yield Progress("Cutting patches", unit="patches")
    warning = check_pixel_size(image, card.pixel_size_um)
    if warning:
        log.warnings.append(warning)
    missing = [role for role in card.channel_roles if not image.has(role)]
    if not missing:
        return cut_patches(image, card.channel_roles, config)
    if config.missing_roles == "blank" and len(missing) < len(card.channel_roles):
        log.warnings.append(
            f"Blank channels stand in for {list_choices(missing)}: the features mean less."
        )
        return cut_patches(image, card.channel_roles, config)
    log.skipped["features"] = (
        f"the model {card.name} needs {list_choices(card.channel_roles)}; no channel plays "
        f"{list_choices(missing)} (assign these roles, or allow blank channels)"
    )
    present = [role for role in card.channel_roles if image.has(role)] or list(image.roles)
    return cut_patches(image, present, config)


def cut_patches(image: MultichannelImage, roles: Sequence[str], config: AnalyzeConfig) -> PatchSet:
    """Cut patches of the channels that play *roles*, in this order; blank where none does."""
    patches = extract_patches(image, [role for role in roles if image.has(role)], config.patches)
    if len(patches.channel_roles) == len(roles):
        return patches
    pixels = np.zeros((len(patches), len(roles), patches.side, patches.side), np.float32)
    for position, role in enumerate(patches.channel_roles):
        pixels[:, list(roles).index(role)] = patches.pixels[:, position]
    return replace(patches, pixels=pixels, channel_roles=tuple(roles))


def adapt_to_card(config: AnalyzeConfig, card: ModelCard) -> AnalyzeConfig:
    """Return *config* with patch side and intensity scaling as the model was trained with."""
    patches = replace(
        config.patches,
        side_px=card.patch_side_px,
        intensity_scaling=card.intensity_scaling,
        low_percentile=card.low_percentile,
        high_percentile=card.high_percentile,
    )
    return replace(config, patches=patches)


def explain_adaptation(config: AnalyzeConfig, card: ModelCard) -> list[str]:
    """Return one sentence for each setting of the user that gives way to the model's own."""
    usual, wanted = PatchConfig(), config.patches
    used = adapt_to_card(config, card).patches
    return [
        f"The model {card.name} was trained with patches.{name}={getattr(used, name)}; this is "
        f"used in place of {getattr(wanted, name)}."
        for name in _DECIDED_BY_MODEL
        if getattr(wanted, name) not in (getattr(usual, name), getattr(used, name))
    ]


def _encode(
    patches: PatchSet, models: LoadedModels, keep_tokens: bool, log: _StepLog
) -> Job[EncodedPatches | None]:
    if "features" in log.skipped:
        return None
    if not patches.accepted.any():
        log.skipped["features"] = "no patch passed the quality control (see the reasons)"
        return None
    return (
        yield from encode_patches(models.features, patches.accepted_pixels, keep_tokens=keep_tokens)
    )


def _measure_death(
    image: MultichannelImage,
    labels: LabelImage | None,
    patches: PatchSet,
    config: AnalyzeConfig,
    log: _StepLog,
) -> Job[DyeMeasurement | None]:
    missing = [role for role in (NUCLEI, DEATH) if not image.has(role)]
    if labels is None or missing:
        log.skipped["death"] = f"no channel plays the role {list_choices(missing)}"
        return None
    yield Progress("Scoring cell death")
    return measure_death_dye(image, labels, patches, config.death)


def _score_death(dye: DyeMeasurement, config: AnalyzeConfig, log: _StepLog) -> pd.DataFrame:
    """Score with the threshold of this image alone."""
    threshold = choose_threshold([dye], config.death)
    warning = explain_threshold([dye], threshold, config.death)
    if warning:
        log.warnings.append(warning)
    return score_cell_death(dye, threshold, config.death)
