"""The torch network beside TensorFlow StarDist, with the same random Keras weights.

Needs the extra `parity`. The pretrained weights are not needed: random ones exercise every layer,
and their heads are scaled so that polygons of plausible size appear.
"""

import importlib.util
from typing import Any

import numpy as np
import pytest
from stardist.data import test_image_nuclei_2d as nuclei_image
from stardist.matching import matching

from napari_bio_superposition.core.progress import run
from napari_bio_superposition.segmentation.model_folder import read_model_folder
from napari_bio_superposition.segmentation.normalize import normalize_percentiles
from napari_bio_superposition.segmentation.stardist import (
    Candidates,
    StarDistModel,
    find_candidates,
    render_labels,
    suppress,
)

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # those of TensorFlow are not ours
    pytest.mark.skipif(
        importlib.util.find_spec("tensorflow") is None,
        reason="TensorFlow is not installed: pip install 'napari-bio-superposition[parity]'",
    ),
]

IMAGE = normalize_percentiles(nuclei_image())
SIZES = [(512, 512), (256, 256), (250, 333), (129, 200), (97, 64), (300, 511)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, StarDistModel]:
    """Return TensorFlow's model and ours, read from the folder that TensorFlow's wrote."""
    from stardist.models import Config2D, StarDist2D

    base = tmp_path_factory.mktemp("stardist")
    config = Config2D(grid=(2, 2), n_rays=32, n_channel_in=1)
    theirs = StarDist2D(config, name="random", basedir=str(base))
    _make_plausible(theirs.keras_model)
    theirs.keras_model.save_weights(str(base / "random" / "weights_best.h5"))
    return theirs, read_model_folder(base / "random", name="random")


def _make_plausible(keras_model: Any) -> None:
    """Draw all weights anew and set the heads to probabilities about 0.5 and rays about 8 px."""
    rng = np.random.default_rng(1)
    for layer in keras_model.layers:
        if not layer.weights:
            continue
        kernel, bias = layer.get_weights()
        spread = np.sqrt(2 / np.prod(kernel.shape[:3]))
        layer.set_weights([rng.normal(0, spread, kernel.shape), rng.normal(0, 0.05, bias.shape)])
    pixels = IMAGE[None, :256, :256, None]
    prob, dist = keras_model.predict(pixels, verbose=0)
    logit = np.log(prob / (1 - prob))
    _rescale(keras_model.get_layer("prob"), logit, mean=-1.0, spread=1.5)
    _rescale(keras_model.get_layer("dist"), dist, mean=8.0, spread=2.0)


def _rescale(layer: Any, output: np.ndarray, *, mean: float, spread: float) -> None:
    kernel, bias = layer.get_weights()
    factor = spread / output.std()
    layer.set_weights([kernel * factor, (bias - output.mean()) * factor + mean])


def our_candidates(model: StarDistModel, image: np.ndarray, tile_px: int = 1024) -> Candidates:
    return run(find_candidates(model, image, prob_threshold=0.5, tile_px=tile_px))


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether two label images divide the pixels alike, whatever the ids."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return bool(
        len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
        and np.array_equal(one > 0, other > 0)
    )


@pytest.mark.parametrize("size", SIZES)
def test_probability_and_distances_agree(
    pair: tuple[Any, StarDistModel], size: tuple[int, int]
) -> None:
    theirs, ours = pair
    image = IMAGE[: size[0], : size[1]]
    prob, dist, points = theirs.predict_sparse(image, prob_thresh=0.5)
    mine = our_candidates(ours, image)
    # A candidate within rounding of the threshold may be on either side of it.
    common, i, j = np.intersect1d(_codes(points), _codes(mine.points), return_indices=True)
    assert len(common) > 100
    assert len(points) + len(mine) - 2 * len(common) <= 2
    assert np.abs(prob[i] - mine.prob[j]).max() < 1e-5
    assert np.abs(dist[i] - mine.dist[j]).max() < 1e-4


def _codes(points: np.ndarray) -> np.ndarray:
    return points[:, 0].astype(np.int64) * 100_000 + points[:, 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_tiles", [(1, 1), (2, 3)])
def test_the_partition_is_the_same(
    pair: tuple[Any, StarDistModel], size: tuple[int, int], n_tiles: tuple[int, int]
) -> None:
    theirs, ours = pair
    image = IMAGE[: size[0], : size[1]]
    expected, _ = theirs.predict_instances(
        image, prob_thresh=0.5, nms_thresh=0.3, n_tiles=n_tiles, show_tile_progress=False
    )
    tile_px = 1024 if n_tiles == (1, 1) else 128
    found = run(suppress(our_candidates(ours, image, tile_px), nms_threshold=0.3))
    labels = render_labels(found, size)
    assert expected.max() > 5
    assert same_partition(expected, labels), matching(expected, labels, thresh=0.9)
