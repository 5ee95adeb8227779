"""Genes from images: planted modules are recovered, the null is calibrated, controls do work."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_controls import (
    control_features,
    control_geometry,
    control_held_out,
    control_plates,
    control_split_cells,
    control_swapped,
    measure_genes,
    measure_moran,
    random_features,
    residual_z,
)
from napari_bio_superposition.alignment.genes_couplings import (
    Alternative,
    Origin,
    Setting,
    find_alternatives,
    recouple,
)
from napari_bio_superposition.alignment.genes_folds import make_folds, reduce_features, split_wells
from napari_bio_superposition.alignment.genes_painting import paint_values
from napari_bio_superposition.alignment.genes_prediction import (
    GeneData,
    divide_classes,
    score_network,
    score_ridge,
    score_split_cells,
    score_targets,
    score_trees,
)
from napari_bio_superposition.alignment.genes_ridge import (
    Targets,
    compress_targets,
    make_hat,
    score_hats,
)
from napari_bio_superposition.alignment.genes_targets import (
    make_design,
    project_targets,
    weights_within,
)
from napari_bio_superposition.alignment.known import Known
from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.progress import Job, Progress, run

QUICK = GenePredictionConfig(n_components=10, n_permutations=40, control_permutations=20)


@dataclass
class Planted:
    data: GeneData
    linked: np.ndarray
    state: np.ndarray
    rna_state: np.ndarray


def plan_between(state: np.ndarray, rna_state: np.ndarray, blur: float = 0.05) -> np.ndarray:
    """Return a blurred plan of total mass 1 between cells of like state."""
    distance = ((state[:, None, :] - rna_state[None, :, :]) ** 2).sum(axis=2)
    plan = np.exp(-distance / blur)
    return plan / plan.sum(axis=1, keepdims=True) / len(state)


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Return 320 patches and 400 cells that share two states; 20 of 60 genes follow them."""
    rng = np.random.default_rng(3)
    state, rna_state = rng.random((320, 2)), rng.random((400, 2))
    features = np.maximum(state @ rng.normal(size=(2, 30)), 0) + 0.1 * rng.normal(size=(320, 30))
    linked = np.arange(60) < 20
    log_rate = np.tile(rng.normal(0.5, 0.8, 60), (400, 1))
    log_rate[:, linked] += (rna_state - 0.5) @ rng.normal(0, 2, (2, 20))
    log_rate[:, 20:30] += rng.normal(size=(400, 1))  # a module that no image shows
    expression = np.log1p(rng.poisson(np.exp(log_rate)).astype(float))
    wells = [f"p{i % 2}/w{i % 8}" for i in range(320)]
    design = make_design(wells, [well[:2] for well in wells], n_rna=400)
    data = GeneData(
        plan=plan_between(state, rna_state),
        features=features,
        representation=state,
        latent=rna_state,
        expression=expression,
        design=design,
    )
    return Planted(data, linked, state, rna_state)


def only_class(data: GeneData):
    return divide_classes(data.plan, data.features, data.design, 40)[0][0]


def couple_states(first: np.ndarray, second: np.ndarray, _: Origin) -> Job[np.ndarray]:
    """Couple by the states themselves: what a coupling that works finds."""
    yield Progress("Coupling")
    return plan_between(first, second[:, : first.shape[1]])


def test_planted_modules_are_recovered(planted: Planted) -> None:
    part = only_class(planted.data)
    rng = np.random.default_rng(0)
    scores = run(score_ridge(part, planted.data.expression, QUICK, 40, rng=rng))
    assert roc_auc_score(planted.linked, scores.z) > 0.9
    split = run(score_split_cells(part, planted.data.expression, QUICK, 40, rng=rng))
    assert roc_auc_score(planted.linked, split.z) > 0.95
    assert np.median(split.r2[planted.linked]) > 0.5
    assert np.median(split.r2[~planted.linked]) < 0.05
    found = split.q < 0.05
    assert np.mean(found[planted.linked]) > 0.8
    assert np.mean(found[~planted.linked]) < 0.05


def test_the_null_is_calibrated_under_a_permuted_coupling(planted: Planted) -> None:
    rng = np.random.default_rng(5)
    data = planted.data
    means = []
    for _ in range(6):
        shuffled = replace(data, plan=data.plan[rng.permutation(320)])
        part = only_class(shuffled)
        scores = run(score_ridge(part, data.expression, QUICK, 39, rng=rng))
        means.append(scores.p)
    pooled = np.concatenate(means)
    assert 0.35 < pooled.mean() < 0.65
    assert np.mean(pooled <= 0.1) < 0.25
    assert np.mean(pooled > 0.9) < 0.25


def test_hat_matrices_equal_refitting(planted: Planted) -> None:
    part = only_class(planted.data)
    values = project_targets(part.weights, planted.data.expression[part.cells]).astype(float)
    order = np.random.default_rng(0).permutation(len(values))
    splits = split_wells(part.design.groups, part.design.plates, 4, rng=np.random.default_rng(0))
    folds = make_folds(part.features, splits, 8)
    targets = compress_targets(values)
    assert targets.basis.shape[1] < 60
    hats = [make_hat(fold, 3.0) for fold in folds]
    for rows in (np.arange(len(values)), order):
        found = score_hats(hats, targets, rows)
        true, error, total = values[rows], 0.0, 0.0
        for fold in folds:
            model = Ridge(alpha=3.0).fit(fold.inputs_train, true[fold.train])
            residual = true[fold.test] - model.predict(fold.inputs_test)
            error = error + (residual**2).sum(axis=0)
            total = total + ((true[fold.test] - true[fold.test].mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(found, 1 - error / total, atol=2e-5)


def test_a_gene_that_does_not_vary_has_no_score() -> None:
    values = np.c_[np.random.default_rng(0).normal(size=(40, 3)), np.full(40, 2.0)]
    targets = compress_targets(values)
    np.testing.assert_array_equal(targets.coefficients[:, 3], 0)
    fold = make_folds(values, [(np.arange(20), np.arange(20, 40))], 2)[0]
    scores = score_hats([make_hat(fold, 1.0)], targets)
    assert np.isnan(scores[3])
    assert np.isfinite(scores[:3]).all()


def test_r2_by_hand() -> None:
    """One fold, two test rows; the prediction is the training mean alone."""
    basis = np.array([[1.0], [3.0], [2.0], [6.0]])
    fold = make_folds(basis * 0 + [[1.0], [2.0], [1.0], [2.0]], [(np.r_[0, 1], np.r_[2, 3])], 1)[0]
    hat = make_hat(fold, 1e12)  # no slope
    found = score_hats([hat], Targets(basis, np.ones((1, 1))))
    # mean 2; errors 0, 16; spread around 4: 4 + 4
    np.testing.assert_allclose(found, [1 - 16 / 8], rtol=1e-6)


def test_folds_never_split_a_well_and_spread_plates() -> None:
    wells = np.array([f"p{i % 2}/w{i % 6}" for i in range(60)])
    plates = np.array([well[:2] for well in wells])
    for train, test in split_wells(wells, plates, 3, rng=np.random.default_rng(0)):
        assert not set(wells[train]) & set(wells[test])
        assert set(plates[test]) == {"p0", "p1"}
    with pytest.raises(TableError, match="one well"):
        split_wells(np.array(["a"] * 5), np.array(["p"] * 5), 3, rng=np.random.default_rng(0))


def test_components_are_fitted_on_the_training_part_alone() -> None:
    rng = np.random.default_rng(0)
    train, test = (
        np.maximum(rng.normal(size=(30, 120)), 0),
        np.maximum(rng.normal(size=(9, 120)), 0),
    )
    first, _ = reduce_features(train, test, 5)
    second, _ = reduce_features(train, test * 7, 5)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-10)
    spread = first.std(axis=0)
    assert spread[0] == pytest.approx(1)
    assert (np.diff(spread) < 0).all()


def test_targets_stay_within_the_class() -> None:
    plan = sparse.csr_matrix(np.array([[0.2, 0.1, 0.1], [0.0, 0.0, 0.3], [0.1, 0.1, 0.1]]))
    rows, cells = np.array([True, True, False]), np.array([True, True, False])
    weights, kept = weights_within(plan, rows, cells)
    assert kept.tolist() == [0]  # the second patch has no mass within its class
    np.testing.assert_allclose(weights.toarray(), [[2 / 3, 1 / 3]])
    np.testing.assert_allclose(project_targets(weights, np.array([[3.0], [0.0]])), [[2.0]])


def test_classes_are_checked() -> None:
    with pytest.raises(TableError, match="No class is in both"):
        make_design(["w"] * 4, ["p"] * 4, ["a"] * 4, ["b"] * 4, n_rna=4)
    with pytest.raises(TableError, match="'a' has 1 patches and 2 RNA cells"):
        make_design(["w"] * 3, ["p"] * 3, ["a", "b", "b"], ["a", "a", "b", "b"], n_rna=4)
    with pytest.raises(ConfigError, match="forest"):
        GenePredictionConfig(regressors=("ridge", "forest"))


def test_held_out_wells_are_scored_on_couplings_without_them(planted: Planted) -> None:
    seen = []

    def couple(first: np.ndarray, second: np.ndarray, origin: Origin) -> Job[np.ndarray]:
        seen.append(len(first))
        np.testing.assert_array_equal(first, planted.data.representation[origin.rows])
        return (yield from couple_states(first, second, origin))

    controls = run(control_held_out(planted.data, QUICK, couple, rng=np.random.default_rng(0)))
    assert seen == [160, 160]  # half of the wells each
    scores = controls[0].scores["all"]
    assert roc_auc_score(planted.linked, scores.z) > 0.9
    assert np.median(scores.r2[planted.linked]) > 0.5


def test_swapped_images_predict_nothing(planted: Planted) -> None:
    data = planted.data
    rng = np.random.default_rng(0)
    controls = {
        control.name: control.scores["all"]
        for control in run(control_swapped(data, QUICK, couple_states, rng=rng))
    }
    assert np.median(controls["swapped/from_images"].r2) < 0.05
    assert np.median(controls["swapped/from_swapped"].r2[planted.linked]) > 0.5  # circular


def test_a_cloud_of_equal_covariance_shows_the_circularity(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    tissue = rng.normal(size=(200, 2)) * 0.3 + 0.5, rng.poisson(1.0, (200, 60)).astype(float)
    data = replace(planted.data, unrelated=tissue)
    gaussian, unrelated = run(control_geometry(data, QUICK, couple_states, rng=rng))
    assert np.isfinite(gaussian.scores["all"].r2).all()
    assert not unrelated.same_genes
    without = run(control_geometry(planted.data, QUICK, couple_states, rng=rng))
    assert "--unrelated" in without[1].reason


def test_other_features_go_the_same_way(planted: Planted) -> None:
    data = planted.data
    rng = np.random.default_rng(0)
    noise = rng.random((320, 2))
    data = replace(data, other_features={"cnn": planted.state, "noise": noise})
    found = {
        c.name: c.scores["all"] for c in run(control_features(data, QUICK, couple_states, rng=rng))
    }
    assert np.median(found["features/cnn"].r2[planted.linked]) > 0.5
    assert set(found) == {"features/cnn", "features/noise"}
    assert "X_cnn" in run(control_features(planted.data, QUICK, couple_states, rng=rng))[0].reason


def test_plates_are_coupled_one_by_one(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    controls = run(control_plates(planted.data, QUICK, couple_states, rng=rng))
    assert [control.name for control in controls] == ["plates/p0", "plates/p1"]
    z = [control.scores["all"].r2 for control in controls]
    assert np.corrcoef(z)[0, 1] > 0.7
    assert run(control_split_cells(planted.data, QUICK, rng=rng))[0].scores["all"].z.shape == (60,)


def test_gene_level_explains_what_it_is_made_to_explain() -> None:
    rng = np.random.default_rng(0)
    latent = rng.random((150, 2))
    smooth = np.stack([latent[:, 0]] * 20, axis=1) + 0.05 * rng.random((150, 20))
    expression = np.concatenate([smooth, rng.random((150, 20))], axis=1)
    measured = measure_genes(expression, latent)
    assert measured["moran"][:20].min() > measured["moran"][20:].max()
    z = 5 * measured["moran"] + rng.normal(0, 0.1, 40)
    assert np.abs(residual_z(z, measured)).max() < 0.5
    z[0] = np.nan
    assert np.isnan(residual_z(z, measured)[0])


def test_moran_by_hand() -> None:
    """A path of three: neighbours agree once and disagree once."""
    graph = sparse.csr_matrix(np.array([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    values = np.array([[1.0, 5.0], [1.0, 5.0], [-2.0, 5.0]])
    # sum w z z = 2 (1 - 2) = -2; n / W = 3 / 4; sum z^2 = 6
    np.testing.assert_allclose(measure_moran(graph, values), [-0.25, 0.0])


def test_random_features_are_as_sparse_as_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    like = np.maximum(rng.normal(-1, 1, (200, 50)), 0)
    made = random_features(rng.random((200, 16)), like, rng=rng)
    assert made.shape == like.shape
    assert np.mean(made > 0) == pytest.approx(np.mean(like > 0), abs=0.02)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_network_and_trees_find_the_planted_modules(planted: Planted) -> None:
    part = only_class(planted.data)
    config = replace(QUICK, n_folds=2, n_permutations_slow=2, max_epochs=25)
    rng = np.random.default_rng(0)
    network = run(score_network(part, planted.data.expression, config, rng=rng))
    assert roc_auc_score(planted.linked, network.r2) > 0.85
    pytest.importorskip("xgboost")
    trees = run(score_trees(part, planted.rna_state, config, rng=rng))
    assert trees.r2.min() > 0.5
    assert trees.null_mean.max() < 0.2


def test_painted_values_follow_the_state_and_know_their_doubt(planted: Planted) -> None:
    flipped = planted.state[:, ::-1]  # the mirror image: another basin
    other = Alternative("basin", (15,), 0.01, plan_between(flipped, planted.rna_state))
    config = replace(QUICK, n_folds=4)
    rng = np.random.default_rng(0)
    values = planted.rna_state[:, 0] * 2
    painted = paint_values(planted.data, values, [other], config, rng=rng)
    assert r2_score(planted.state[:, 0] * 2, painted.values) > 0.8
    middle = np.abs(planted.state[:, 0] - planted.state[:, 1]) < 0.1
    apart = np.abs(planted.state[:, 0] - planted.state[:, 1]) > 0.6
    assert painted.spread_basins[apart].mean() > 4 * painted.spread_basins[middle].mean()
    assert np.all(painted.spread >= painted.spread_basins)
    np.testing.assert_array_equal(painted.spread_k, 0)


def test_scores_by_class_leave_small_classes_out(planted: Planted) -> None:
    data = planted.data
    classes = np.where(np.arange(320) < 30, "small", "large")
    rna = np.where(np.arange(400) < 200, "small", "large")
    design = make_design(data.design.groups, data.design.plates, classes, rna, n_rna=400)
    parts, left_out = divide_classes(data.plan, data.features, design, 40)
    assert [part.name for part in parts] == ["large"]
    assert left_out == {"small": "30 patches, 40 are asked for"}
    scores = run(
        score_targets(
            parts[0],
            compress_targets(project_targets(parts[0].weights, data.expression[parts[0].cells])),
            QUICK,
            10,
            rng=np.random.default_rng(0),
        )
    )
    assert scores.n_permutations == 10


def _in_two_classes() -> tuple[np.ndarray, np.ndarray]:
    """Return cells along a line, and the class of each: classes hardly differ in shape."""
    rng = np.random.default_rng(0)
    return np.c_[np.linspace(0, 3, 60), 0.05 * rng.normal(size=60)], np.repeat(["a", "b"], 30)


def test_other_couplings_use_the_classes_and_features_that_the_first_one_used() -> None:
    cells, names = _in_two_classes()
    flipped = names[::-1]  # couplings by shape alone may go either way; classes say which
    config = CouplingConfig(
        metric="euclidean", neighbours=(8,), epsilons=(5e-3,), n_starts=6, n_resamples=0
    )
    setting = Setting(config, (8,), 5e-3, known=Known(classes=(names, flipped)))
    plan = run(recouple(cells, cells, setting, rng=np.random.default_rng(0)))
    assert plan[names[:, None] == flipped[None, :]].sum() > 0.95
    kept = np.r_[10:50]
    part = run(
        recouple(cells[kept], cells, setting, Origin(rows=kept), rng=np.random.default_rng(0))
    )
    assert part[names[kept][:, None] == flipped[None, :]].sum() > 0.95
    others = run(find_alternatives(cells, cells, setting, rng=np.random.default_rng(0)))
    for other in others:
        assert other.plan[names[:, None] == flipped[None, :]].sum() > 0.95
    one_by_one = replace(setting, known=None, labels=(names, flipped))
    assert run(find_alternatives(cells, cells, one_by_one, rng=np.random.default_rng(0))) == []
    plan = run(recouple(cells, cells, one_by_one, rng=np.random.default_rng(0)))
    assert plan.toarray()[names[:, None] != flipped[None, :]].sum() == 0


def test_a_class_that_a_part_lacks_is_refused() -> None:
    known = Known(classes=(np.array(["a", "a", "b"]), np.array(["a", "b"])))
    with pytest.raises(TableError, match="classes are empty in one of the tables: b"):
        known.take(np.array([0, 1]), None)
