"""Turn a training run into the bundled model: thresholds, held-out accuracy, half precision.

    python scripts/export_stardist.py --data ../shared/data/dsb2018_train_fluo --run RUN_FOLDER

Thresholds are tuned on training images only. Held-out images are looked at once, with the files
exactly as they are shipped.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import stardist_data
import torch
import tyro
from stardist.matching import matching
from stardist_data import AnnotatedImage

from napari_bio_superposition.core.progress import run as run_job
from napari_bio_superposition.segmentation import stardist as prediction
from napari_bio_superposition.segmentation.config import SegmentationConfig
from napari_bio_superposition.segmentation.model_folder import read_model_folder
from napari_bio_superposition.segmentation.watershed import watershed_nuclei

log = logging.getLogger("export_stardist")

IOU = 0.5
PROB_THRESHOLDS = (0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80)
NMS_THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
# These images cut many nuclei at their border, and annotate the pieces.
BORDER_CELLS = 0
WEIGHTS_NAME = "stardist_bundled.safetensors"


def average_precision(truth: np.ndarray, found: np.ndarray) -> float:
    """Return TP / (TP + FP + FN) at the intersection over union that is asked for."""
    return float(matching(truth, found, thresh=IOU).accuracy)


def candidates_of(
    model: prediction.StarDistModel, image: AnnotatedImage, prob_threshold: float
) -> prediction.Candidates:
    """Return the network's candidates for one image."""
    return run_job(
        prediction.find_candidates(model, image.pixels, prob_threshold=prob_threshold, tile_px=1024)
    )


def labels_of(
    candidates: prediction.Candidates, image: AnnotatedImage, *, prob: float, nms: float
) -> np.ndarray:
    """Return the labels for one pair of thresholds."""
    kept = candidates[np.flatnonzero(candidates.prob > prob)]
    kept = run_job(prediction.suppress(kept, nms_threshold=nms))
    return prediction.render_labels(kept, (image.labels.shape[0], image.labels.shape[1]))


def tune_thresholds(
    model: prediction.StarDistModel, images: list[AnnotatedImage]
) -> dict[str, float]:
    """Return the pair of thresholds with the best mean average precision."""
    scores: dict[tuple[float, float], list[float]] = defaultdict(list)
    for image in images:
        candidates = candidates_of(model, image, min(PROB_THRESHOLDS))
        for prob, nms in itertools.product(PROB_THRESHOLDS, NMS_THRESHOLDS):
            labels = labels_of(candidates, image, prob=prob, nms=nms)
            scores[prob, nms].append(average_precision(image.labels, labels))
    for pair, values in sorted(scores.items()):
        log.debug("prob %.2f, nms %.2f: AP %.4f", *pair, np.mean(values))
    (prob, nms), best = max(scores.items(), key=lambda item: np.mean(item[1]))
    log.info("prob %.2f, nms %.2f: AP %.4f on training images", prob, nms, np.mean(best))
    return {"prob": prob, "nms": nms, "border_cells": BORDER_CELLS}


def stardist_precision(
    model: prediction.StarDistModel, images: list[AnnotatedImage]
) -> dict[str, Any]:
    """Return the accuracy of the model with its own thresholds."""
    found = [
        labels_of(
            candidates_of(model, image, model.prob_threshold),
            image,
            prob=model.prob_threshold,
            nms=model.nms_threshold,
        )
        for image in images
    ]
    return summarise(images, found)


def watershed_precision(images: list[AnnotatedImage]) -> dict[str, Any]:
    """Return the accuracy of the classical method on the same images."""
    config = SegmentationConfig()
    found = [
        watershed_nuclei(
            one.pixels, smoothing_px=config.smoothing_px, split_depth_px=config.split_depth_px
        )
        for one in images
    ]
    return summarise(images, found)


def summarise(images: list[AnnotatedImage], found: list[np.ndarray]) -> dict[str, Any]:
    """Return mean average precision over images, by size group, and over all objects pooled."""
    scores = [
        average_precision(image.labels, labels) for image, labels in zip(images, found, strict=True)
    ]
    groups: dict[str, list[float]] = defaultdict(list)
    for image, score in zip(images, scores, strict=True):
        groups[image.size_group].append(score)
    counts = np.sum(
        [
            (m.tp, m.fp, m.fn)
            for m in (
                matching(image.labels, labels, thresh=IOU)
                for image, labels in zip(images, found, strict=True)
            )
        ],
        axis=0,
    )
    return {
        "mean_over_images": round(float(np.mean(scores)), 4),
        "pooled_over_nuclei": round(float(counts[0] / counts.sum()), 4),
        "by_image_size": {
            name: {"images": len(values), "mean": round(float(np.mean(values)), 4)}
            for name, values in sorted(groups.items())
        },
    }


def write_model(run: Path, out: Path, thresholds: dict[str, float]) -> None:
    """Write weights in half precision with StarDist's config.json and thresholds.json."""
    state = safetensors.torch.load_file(run / "average.safetensors")
    halved = {name: value.to(torch.float16).contiguous() for name, value in state.items()}
    safetensors.torch.save_file(halved, out / WEIGHTS_NAME)
    network = json.loads((run / "config.json").read_text())["network"]
    (out / "config.json").write_text(json.dumps(as_stardist(network), indent=2) + "\n")
    (out / "thresholds.json").write_text(json.dumps(thresholds, indent=2) + "\n")


def as_stardist(network: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of the network in the words of StarDist's config.json."""
    return {
        "n_dim": 2,
        "axes": "YXC",
        "backbone": "unet",
        "n_channel_in": network["n_channels"],
        "n_rays": network["n_rays"],
        "grid": network["grid"],
        "unet_n_depth": network["depth"],
        "unet_n_filter_base": network["n_filters"],
        "unet_expansion": network["expansion"],
        "unet_n_conv_per_depth": network["n_convs"],
        "unet_kernel_size": network["kernel_size"],
        "unet_pool": network["pool"],
        "unet_activation": "relu",
        "unet_last_activation": "relu",
        "unet_batch_norm": False,
        "net_conv_after_unet": network["n_features"],
    }


def model_card(
    run: Path, accuracy: dict[str, Any], *, n_training: int, n_held_out: int
) -> dict[str, Any]:
    """Return what a user should know about the weights."""
    split = json.loads((run / "split.json").read_text())
    training = json.loads((run / "config.json").read_text())
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    earlier = run / "earlier.json"
    return {
        "name": "napari-bio-superposition bundled nuclei",
        "task": "instance segmentation of nuclei in one fluorescence channel",
        "architecture": "StarDist 2D (Schmidt et al., MICCAI 2018), shape of 2D_versatile_fluo",
        "input": "percentiles 1 and 99.8 of the whole image mapped to 0 and 1",
        "licence": "BSD-3-Clause",
        "training_data": {
            "name": "BBBC038 (Data Science Bowl 2018), fluorescence images of stage 1 training, "
            "with the community's corrections of the masks",
            "licence": "CC0-1.0",
            "n_images": n_training,
            "nuclei_diameter_px": "5 to 120",
        },
        "training": {
            **training,
            "steps_done": state["step"],
            "hours": round(state["seconds"] / 3600, 2),
            "continues": json.loads(earlier.read_text()) if earlier.exists() else None,
        },
        "split": {
            "rule": "within each group of equal image size, 15 % held out by the seed",
            "n_held_out": n_held_out,
            **split,
        },
        "accuracy": {
            "measure": f"average precision TP / (TP + FP + FN) at intersection over union {IOU}",
            "images": "not trained on, not used to tune thresholds; scores were read at interim "
            "checkpoints and between lengths of training, so they are slightly optimistic",
            **accuracy,
        },
        "limits": "Trained on nuclei 5 to 120 px across. Use the scale setting for other sizes.",
    }


def main(
    data: Path,
    run: Path,
    out: Path = Path("src/napari_bio_superposition/segmentation/weights"),
    tune_images: int = 100,
    threads: int = 1,
) -> None:
    """Write the model folder.

    Parameters
    ----------
    data
        Folder with index.csv, images/ and masks/.
    run
        Folder that train_stardist.py wrote.
    out
        Folder of the model.
    tune_images
        Training images to tune the thresholds on, drawn by the seed of the run.
    threads
        CPU threads of torch.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(threads)
    config = json.loads((run / "config.json").read_text())
    rng = np.random.default_rng(config["seed"])
    training, held_out = stardist_data.split_by_size(
        stardist_data.read_annotated(data), held_out_share=config["held_out_share"], rng=rng
    )
    out.mkdir(parents=True, exist_ok=True)
    write_model(run, out, {"prob": 0.5, "nms": 0.4, "border_cells": BORDER_CELLS})
    chosen = rng.choice(len(training), min(tune_images, len(training)), replace=False)
    thresholds = tune_thresholds(
        read_model_folder(out, name="bundled"), [training[i] for i in chosen]
    )
    write_model(run, out, thresholds)
    accuracy = {
        "stardist": stardist_precision(read_model_folder(out, name="bundled"), held_out),
        "watershed": watershed_precision(held_out),
    }
    card = model_card(run, accuracy, n_training=len(training), n_held_out=len(held_out))
    (out / "model_card.json").write_text(json.dumps(card, indent=1) + "\n")
    log.info("%s", json.dumps(accuracy, indent=1))


if __name__ == "__main__":
    tyro.cli(main)
