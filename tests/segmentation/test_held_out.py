"""The bundled weights on annotated images that took no part in their training."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.io import imread
from stardist.matching import matching

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.segmentation import SegmentationConfig, load_stardist, segment_nuclei
from napari_bio_superposition.segmentation.sources import find_model_folder

CARD = json.loads((find_model_folder("bundled") / "model_card.json").read_text())


def test_the_card_names_the_held_out_images() -> None:
    names = "\n".join(sorted(CARD["split"]["held_out"]))
    assert hashlib.sha256(names.encode()).hexdigest() == CARD["split"]["held_out_sha256"]


def test_accuracy_on_held_out_images(shared_data: Path) -> None:
    folder = shared_data / "dsb2018_train_fluo"
    model = load_stardist("bundled")
    # Every sixth of 82, so that the test stays short; the card has the figure of all.
    precision = {"stardist": [], "watershed": []}
    for name in CARD["split"]["held_out"][::6]:
        image = imread(folder / "images" / f"{name}.png")
        truth = tifffile.imread(folder / "masks" / f"{name}.tif").astype(np.int32)
        for method, scores in precision.items():
            config = SegmentationConfig(method=method, min_area_px=0)  # type: ignore[arg-type]
            labels = run(segment_nuclei(image, config, model=model))
            scores.append(matching(truth, labels, thresh=0.5).accuracy)
    assert np.mean(precision["stardist"]) > 0.8
    assert np.mean(precision["stardist"]) > np.mean(precision["watershed"])
    assert np.mean(precision["stardist"]) == pytest.approx(
        CARD["accuracy"]["stardist"]["mean_over_images"], abs=0.08
    )
