"""Loss recovered: 1 for the original, 0 for the ablation, between for what keeps a half."""

import numpy as np
import pytest

from napari_bio_superposition.evaluation.splicing import loss_recovered


def test_recovered_goes_from_nothing_to_all():
    rng = np.random.default_rng(0)
    wells = np.repeat(np.arange(20), 10)
    classes = wells % 2
    original = rng.normal(size=(200, 8)).astype(np.float32)
    original[:, 0] += 2 * classes - 1
    ablated = np.repeat(original.mean(0, keepdims=True), 200, axis=0)
    train, test = np.flatnonzero(wells < 12), np.flatnonzero(wells >= 12)

    def score(spliced):
        return loss_recovered(
            (original, spliced, ablated), classes, train, test, groups=wells, rng=rng
        )

    assert score(original).recovered == pytest.approx(1)
    assert score(ablated).recovered == pytest.approx(0)
    half = score((0.5 * original + 0.5 * rng.permuted(original, axis=0)).astype(np.float32))
    assert half.recovered < 0.9
    assert half.interval.low < half.recovered < half.interval.high
    assert half.accuracy > half.ablated_accuracy == 0.5
