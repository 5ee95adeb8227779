"""Load the models that an analysis needs, once, onto one device."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.models.checkpoint import load_model
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.segmentation import StarDistModel, load_stardist
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig


@dataclass(frozen=True, eq=False)
class LoadedModels:
    """The networks of an analysis and the device that they are on."""

    device: str
    features: FeatureModel
    nuclei: StarDistModel | None
    """``None`` where the classical watershed finds the nuclei."""

    hashes: Mapping[str, str] = field(default_factory=dict)
    """Model name to SHA-256 of its weights."""


def load_models(config: AnalyzeConfig) -> Job[LoadedModels]:
    """Choose the device and load the networks that *config* names.

    Raises
    ------
    ModelError
        Where a model is missing or damaged.
    DeviceError
        Where the device is not there.
    """
    yield Progress("Loading models")
    device = choose_device(config.device)
    features = load_model(config.model, device)
    hashes = {features.card.name: features.card.weights_sha256}
    nuclei = None
    if config.segmentation.method == "stardist":
        nuclei = load_stardist(config.segmentation.weights, device=device)
        hashes[f"stardist {config.segmentation.weights}"] = nuclei.sha256
    return LoadedModels(device, features, nuclei, hashes)
