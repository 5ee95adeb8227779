"""The whole coupling on planted truth, with few cells and few settings."""

import numpy as np
import pytest

from napari_bio_superposition.alignment import CouplingConfig, couple, score_pairs
from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.progress import run

FEW = CouplingConfig(
    metric="euclidean", neighbours=(8, 12), epsilons=(5e-3,), n_starts=6, n_nulls=0, n_resamples=0
)


def crescent(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a bent, tapering shape without symmetry."""
    along = rng.beta(1.2, 2.2, n)
    across = (rng.random(n) - 0.5) * (1 - along) * 0.8
    return np.c_[np.cos(2 * along) * (2 + across), np.sin(2 * along) * (2 + across), along**2]


def _couple(first, second, config=FEW, seed=0):
    return run(couple(first, second, config, rng=np.random.default_rng(seed)))


def test_a_rotated_copy_is_recovered_and_permuting_it_changes_nothing(rng) -> None:
    cells = crescent(70, rng)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(70)
    for copy, truth in ((cells @ rotation * 5 + 3, np.arange(70)), (cells[order], order)):
        coupling = _couple(cells, copy)
        assert score_pairs(coupling, cells[truth], copy).overall >= 0
        back = np.argsort(truth)
        straight = coupling.plan[:, back]
        assert np.mean(np.argmax(straight, axis=1) == np.arange(70)) > 0.6
        assert coupling.row_error < 1e-6
        assert coupling.column_error < 1e-6
        assert coupling.converged


def test_a_mirror_symmetric_pair_is_called_ambiguous() -> None:
    cells = np.c_[np.linspace(-1, 1, 50), np.zeros(50)]
    coupling = _couple(cells, cells * 3)
    assert coupling.verdict == "ambiguous"
    assert "mirror image" in coupling.explanation[0]


def test_shuffled_columns_are_no_alignment(rng) -> None:
    cells = crescent(60, rng)
    noise = rng.permuted(np.c_[cells, cells[::-1], cells[rng.permutation(60)]], axis=0)
    config = CouplingConfig(
        neighbours=(10,), epsilons=(1e-2,), n_starts=4, n_nulls=6, n_null_cells=50, n_resamples=0
    )
    coupling = _couple(np.c_[cells, cells**2], noise, config)
    assert coupling.verdict == "no alignment"
    assert set(coupling.null_losses)


@pytest.mark.parametrize("solver", ["low_rank", "landmarks"])
def test_solvers_for_many_cells_find_the_same_map(solver: str, rng) -> None:
    cells = crescent(150, rng)
    copy = crescent(150, rng)[:130] @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    config = CouplingConfig(
        metric="euclidean",
        neighbours=(10,),
        epsilons=(5e-3,),
        n_starts=6,
        n_nulls=0,
        n_landmarks=50,
        n_resamples=0,
        solver=solver,
    )
    coupling = _couple(cells, copy, config)
    assert coupling.shape == (150, 130)
    assert coupling.solver == solver
    assert coupling.row_error < 1e-6
    assert coupling.column_error < 1e-6
    # Position along the crescent is known on both sides through the third rotated coordinate.
    exact = _couple(cells, copy, FEW)
    moved = np.linalg.norm(coupling.pull(copy) - exact.pull(copy), axis=1)
    assert np.median(moved) < 0.35


def test_the_same_seed_gives_the_same_plan(rng) -> None:
    cells = crescent(60, rng)
    plans = [_couple(cells, cells[::-1], seed=4).plan for _ in range(2)]
    np.testing.assert_array_equal(plans[0], plans[1])


def test_separate_clusters_are_reported(rng) -> None:
    cells = np.r_[crescent(30, rng), crescent(30, rng) + 100]
    coupling = _couple(cells, cells)
    assert coupling.components["images"][8] == (30, 30)
    assert any("fell into components" in warning for warning in coupling.warnings)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda cells: np.where(cells > 0.9, np.nan, cells), "NaN or infinite"),
        (lambda cells: np.ones_like(cells), "constant"),
        (lambda cells: cells[:10], "10 rows"),
        (lambda cells: cells[:, 0], "shape"),
        (lambda cells: cells.astype(str), "matrix of numbers"),
    ],
)
def test_bad_features_are_refused(spoil, message: str, rng) -> None:
    cells = crescent(40, rng)
    with pytest.raises(TableError, match=message):
        _couple(cells, spoil(cells))


def test_too_many_neighbours_are_refused(rng) -> None:
    with pytest.raises(TableError, match="no geometry"):
        _couple(crescent(30, rng), crescent(30, rng), CouplingConfig(neighbours=(110,)))


@pytest.mark.parametrize(
    "values",
    [{"neighbours": ()}, {"neighbours": (1,)}, {"epsilons": (1.0,)}, {"n_nulls": 2}, {"rank": 1}],
)
def test_settings_check_themselves(values) -> None:
    with pytest.raises(ConfigError):
        CouplingConfig(**values)


def test_closing_the_job_cancels_it(rng) -> None:
    job = couple(crescent(40, rng), crescent(40, rng), FEW, rng=rng)
    next(job)
    job.close()
