"""Questions to a plan, scores and words, against values computed by hand."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from napari_bio_superposition.alignment.coupling import BasinReport, Coupling, keep_top_entries
from napari_bio_superposition.alignment.halves import HalvesComparison
from napari_bio_superposition.alignment.nulls import GAUSSIAN, SHUFFLED, WITHIN, rebuild_geometry
from napari_bio_superposition.alignment.scores import fraction_closer, score_labels, score_pairs
from napari_bio_superposition.alignment.verdict import judge_coupling
from napari_bio_superposition.core.errors import TableError

PLAN = np.array([[0.3, 0.1, 0.1], [0.1, 0.3, 0.1]]) / 1.0
LOW = (0.05, 0.051, 0.049, 0.05)


def make_coupling(plan=PLAN, **changes) -> Coupling:
    values = {
        "plan": plan,
        "verdict": "",
        "explanation": (),
        "loss": 0.01,
        "k": (20, 30),
        "epsilon": 5e-3,
        "solver": "exact",
        "basins": (BasinReport(0.01, 0.02, 0.0, 5, 1.0), BasinReport(0.02, 0.03, 1.0, 3, -0.5)),
        "agreement": {20: 1.0, 30: 0.9},
        "subsample_agreement": (0.9, 0.8, 0.9),
        "null_observed": (0.01,),
        "null_losses": {SHUFFLED: LOW, GAUSSIAN: LOW, WITHIN: LOW},
        "row_error": 0.0,
        "column_error": 0.0,
        "solver_error": 1e-7,
        "converged": True,
        "components": {},
    }
    return Coupling(**(values | changes))


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_pull_and_push_are_weighted_means(kind) -> None:
    coupling = make_coupling(kind(PLAN))
    np.testing.assert_allclose(coupling.pull([[0.0], [5.0], [10.0]]), [[3.0], [5.0]])
    np.testing.assert_allclose(coupling.push([0.0, 4.0]), [1.0, 3.0, 2.0])
    np.testing.assert_array_equal(coupling.match_hard(), [0, 1])
    np.testing.assert_array_equal(coupling.match_one_to_one(), [0, 1])
    support = np.exp(-(0.6 * np.log(0.6) + 2 * 0.2 * np.log(0.2)))
    np.testing.assert_allclose(coupling.effective_support, support)


def test_values_have_to_fit() -> None:
    with pytest.raises(TableError, match="2 rows of values do not fit 3 RNA cells"):
        make_coupling().pull([[1.0], [2.0]])


def test_classes_take_the_larger_mass() -> None:
    coupling = make_coupling()
    assert coupling.match_barycentric(["a", "b", "b"]) == ["a", "b"]
    classes, probabilities = coupling.class_probabilities(["a", "b", "b"])
    assert classes == ["a", "b"]
    np.testing.assert_allclose(probabilities, [[0.6, 0.4], [0.2, 0.8]])


def test_top_entries_say_what_is_missing() -> None:
    top, residual = keep_top_entries(PLAN, 1)
    np.testing.assert_allclose(top.toarray(), [[0.3, 0, 0], [0, 0.3, 0]])
    np.testing.assert_allclose(residual, 0.4, atol=1e-6)


def test_one_to_one_uses_no_partner_twice() -> None:
    plan = np.array([[0.30, 0.20], [0.29, 0.01]])
    assert make_coupling(plan).match_one_to_one().tolist() == [1, 0]


def test_fraction_closer_by_hand() -> None:
    distances = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 0.5], [1.0, 1.0, 1.0]])
    # Nothing closer; one of two closer; both tied, which is half of each.
    np.testing.assert_allclose(fraction_closer(distances, np.arange(3)), [0.0, 0.5, 0.5])


def test_pairs_of_perfect_and_flat_plans() -> None:
    cells = np.arange(4.0)[:, None]
    perfect = score_pairs(make_coupling(np.eye(4) / 4), cells, cells, list("aabb"))
    assert perfect.overall == 0
    assert perfect.within_class == 0
    assert perfect.projected_to_rna == 0
    flat = score_pairs(make_coupling(np.full((4, 4), 1 / 16)), cells, cells, list("aabb"))
    assert flat.overall == 0.5
    assert flat.within_class == 0.5


def test_a_class_map_is_at_chance_within_classes() -> None:
    plan = np.kron(np.eye(2), np.ones((3, 3))) / 18
    cells = np.arange(6.0)[:, None]
    scores = score_pairs(make_coupling(plan), cells, cells, list("aaabbb"))
    assert scores.within_class == 0.5
    assert scores.overall == pytest.approx(0.2)  # one of five others before it, on average


def test_different_sizes_cannot_be_pairs() -> None:
    with pytest.raises(TableError, match="2 patches and 3 RNA cells"):
        score_pairs(make_coupling(), np.ones((2, 1)), np.ones((3, 1)))


def test_labels_cross_a_perfect_plan(rng: np.random.Generator) -> None:
    labels = ["a"] * 10 + ["b"] * 10
    coupling = make_coupling(np.eye(20) / 20)
    scores = score_labels(coupling, labels, labels, n_permutations=50, rng=rng)
    for score in (scores.to_images, scores.to_rna):
        assert score.barycentric == score.hard == score.one_to_one == score.balanced == 1
        assert 0.3 < score.null_mean < 0.7
        assert score.p_value == pytest.approx(1 / 51)
    assert scores.imbalance == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a", "b"], "have one of the patches each: b"),
        (["a", "a", ""], "1 of 3 patches have no label"),
        (["a", "a"], "2 labels for 3 patches"),
        (["x", "x", "x"], "No class is in both"),
    ],
)
def test_bad_labels_are_refused(labels, message, rng) -> None:
    coupling = make_coupling(np.eye(3) / 3)
    with pytest.raises(TableError, match=message):
        score_labels(coupling, labels, ["a", "a", "a"], n_permutations=1, rng=rng)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "cell-level"),
        ({"solver_error": 0.2}, "no plan"),
        ({"null_observed": (0.05,)}, "no alignment"),
        ({"basins": (BasinReport(1, 1, 0, 1, 1), BasinReport(1, 1, 0.01, 1, -1))}, "ambiguous"),
        ({"agreement": {20: 1.0, 30: -0.5}, "subsample_agreement": (-0.2,)}, "low confidence"),
        (
            {"null_losses": {SHUFFLED: LOW, GAUSSIAN: LOW, WITHIN: (0.01, 0.011, 0.009, 0.01)}},
            "class-level only",
        ),
        (
            {"null_losses": {SHUFFLED: LOW, GAUSSIAN: (0.01, 0.011, 0.009, 0.01), WITHIN: LOW}},
            "class-level only",
        ),
        ({"null_losses": {}, "null_observed": ()}, "not tested"),
    ],
)
def test_verdicts_follow_the_figures(changes, verdict: str) -> None:
    judged = judge_coupling(make_coupling(**changes))
    assert judged.verdict == verdict
    assert all(sentence.endswith(".") for sentence in judged.explanation)


def test_measured_truth_counts_more_than_nulls() -> None:
    coupling = make_coupling(null_observed=(0.05,))
    assert judge_coupling(coupling, 0.1, 0.1).verdict == "cell-level"
    assert judge_coupling(coupling, 0.19, 0.45).verdict == "class-level only"
    assert judge_coupling(coupling, 0.66, 0.5).verdict == "no alignment"


def test_rebuilt_geometries_keep_what_they_promise(rng: np.random.Generator) -> None:
    centres = np.array([[0.0, 0.0], [20.0, 0.0]])
    cells = np.repeat(centres, 100, axis=0) + rng.normal(size=(200, 2)) @ [[1, 0.9], [0, 0.3]]
    shuffled = rebuild_geometry(cells, SHUFFLED, rng=rng)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(cells, axis=0))
    cloud = rebuild_geometry(np.tile(cells, (20, 1)), GAUSSIAN, rng=rng)
    np.testing.assert_allclose(np.cov(cloud.T), np.cov(cells.T), rtol=0.1, atol=0.5)
    within = rebuild_geometry(cells, WITHIN, rng=rng)
    assert abs(np.corrcoef(within[:100].T)[0, 1]) < np.corrcoef(cells[:100].T)[0, 1]
    assert within[:, 0].max() > 15


def test_a_coupling_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_coupling().loss = 1.0


@pytest.mark.parametrize(
    ("across", "reproduced", "words"),
    [
        (0.025, 0.9, "2.5 times that of two halves of the modality that fits better"),
        (0.024, 0.9, "1.6 times that of two halves of the same modality"),
        (0.011, -0.2, "couplings that share no cell agree by -0.20"),
    ],
)
def test_shapes_that_differ_or_are_not_repeated_are_no_alignment(
    across: float, reproduced: float, words: str
) -> None:
    floor = 0.01 if across != 0.024 else 0.0125
    losses = {"across": (across,), "images": (floor,), "rna": (0.0175,)}
    coupling = make_coupling(halves=HalvesComparison(losses, (reproduced,)))
    judged = judge_coupling(coupling)
    assert judged.verdict == "no alignment"
    assert words in judged.explanation[0]
    assert judge_coupling(coupling, 0.1, 0.1).verdict == "cell-level"


@pytest.mark.parametrize(
    ("reproduced", "words"),
    [((0.2,), "agree by 0.20"), ((0.9, 0.8, -0.3, -0.3, -0.3, -0.2), "agree by -0.25")],
)
def test_a_map_that_other_cells_hardly_repeat_or_flip_at_times_is_a_guess(
    reproduced: tuple[float, ...], words: str
) -> None:
    losses = {"across": (0.011,), "images": (0.01,), "rna": (0.01,)}
    judged = judge_coupling(make_coupling(halves=HalvesComparison(losses, reproduced)))
    assert judged.verdict == "low confidence"
    assert words in judged.explanation[0]
    assert judge_coupling(make_coupling(halves=HalvesComparison(losses, (0.7,)))).verdict == (
        "cell-level"
    )
