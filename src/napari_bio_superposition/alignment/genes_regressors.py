"""XGBoost and the MLP of the method, fold by fold, scored like ridge. No nulls, no files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.alignment.genes_config import GenePredictionConfig
from napari_bio_superposition.alignment.genes_folds import Fold, split_wells
from napari_bio_superposition.core.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

Matrix = npt.NDArray[Any]
_N_TREES, _DEPTH, _TREE_RATE = 200, 5, 0.1
_HIDDEN, _DROPOUT, _RATE, _DECAY, _BATCH = 128, 0.4, 1e-3, 1e-4, 256
_INNER_SHARE = 0.15


def score_predictions(folds: Sequence[Fold], predicted: Matrix, targets: Matrix) -> Matrix:
    """Return R2 per column over all held-out rows, as `genes_ridge.score_hats` does."""
    error = total = np.zeros(targets.shape[1])
    for fold in folds:
        true = targets[fold.test]
        error = error + np.sum((true - predicted[fold.test]) ** 2, axis=0)
        total = total + np.sum((true - true.mean(axis=0)) ** 2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 1e-12, 1 - error / total, np.nan))


def predict_by_trees(folds: Sequence[Fold], targets: Matrix, *, seed: int) -> Matrix:
    """Predict held-out rows by boosted trees: 200 of depth 5 at rate 0.1 for every column.

    Predictions are clipped to the range of the training targets.

    Raises
    ------
    MissingExtraError
        Where xgboost is not installed.
    """
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtraError("xgboost", "genes", "The regressor xgboost") from error
    predicted = np.full(targets.shape, np.nan)
    for fold in folds:
        trees = xgboost.XGBRegressor(
            n_estimators=_N_TREES,
            max_depth=_DEPTH,
            learning_rate=_TREE_RATE,
            tree_method="hist",
            multi_strategy="one_output_per_tree",
            random_state=seed,
        )
        known = targets[fold.train]
        trees.fit(fold.inputs_train.astype(np.float32), known.astype(np.float32))
        found = trees.predict(fold.inputs_test.astype(np.float32)).reshape(len(fold.test), -1)
        predicted[fold.test] = np.clip(found, known.min(axis=0), known.max(axis=0))
    return predicted


def predict_by_network(
    folds: Sequence[Fold],
    targets: Matrix,
    groups: npt.NDArray[np.str_],
    config: GenePredictionConfig,
    *,
    seed: int,
    device: str = "cpu",
) -> Matrix:
    """Predict held-out rows by the MLP of the method, all columns at once.

    Two hidden layers of 128 with batch norm, ReLU and dropout 0.4; AdamW (1e-3, decay 1e-4), cosine
    annealing, batches of 256, early stopping on 15 % of the training wells. Targets are
    standardised by the training part; predictions are clipped to its range.
    """
    predicted = np.full(targets.shape, np.nan)
    for number, fold in enumerate(folds):
        known = targets[fold.train].astype(np.float64)
        mean, spread = known.mean(axis=0), known.std(axis=0)
        spread = np.where(spread > 1e-12, spread, 1.0)
        inner = _hold_out_wells(groups[fold.train], np.random.default_rng(seed))
        found = _fit_network(
            fold, (known - mean) / spread, inner, config, seed=seed + number, device=device
        )
        found = found * spread + mean
        predicted[fold.test] = np.clip(found, known.min(axis=0), known.max(axis=0))
    return predicted


def _hold_out_wells(wells: npt.NDArray[np.str_], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which training rows validate: about 15 % of the wells; none of one well."""
    names = np.unique(wells)
    if len(names) < 2:
        return np.zeros(len(wells), dtype=bool)
    parts = split_wells(wells, wells, max(2, round(1 / _INNER_SHARE)), rng=rng)
    inner = np.zeros(len(wells), dtype=bool)
    inner[parts[0][1]] = True
    return inner


def _fit_network(
    fold: Fold,
    targets: Matrix,
    inner: npt.NDArray[np.bool_],
    config: GenePredictionConfig,
    *,
    seed: int,
    device: str,
) -> Matrix:
    import torch
    from torch import nn

    inputs = torch.as_tensor(fold.inputs_train, dtype=torch.float32, device=device)
    values = torch.as_tensor(targets, dtype=torch.float32, device=device)
    learn = torch.as_tensor(np.flatnonzero(~inner), device=device)
    check = torch.as_tensor(np.flatnonzero(inner), device=device)
    # A generator of its own, on the CPU: the same numbers on every device, and no global state.
    generator = torch.Generator().manual_seed(seed)
    network = _build_network(inputs.shape[1], values.shape[1], generator).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.max_epochs)
    best, best_state, waited = np.inf, network.state_dict(), 0
    for _ in range(config.max_epochs):
        network.train()
        shuffled = learn[torch.randperm(len(learn), generator=generator).to(device)]
        for rows in torch.split(shuffled, _BATCH):
            if len(rows) < 2:  # batch norm needs two
                continue
            loss = nn.functional.mse_loss(network(inputs[rows]), values[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        if not len(check):
            continue
        error = _measure_error(network, inputs[check], values[check])
        waited += 1
        if error < best:
            best, waited = error, 0
            best_state = {k: v.detach().clone() for k, v in network.state_dict().items()}
        if waited >= config.patience:
            break
    if len(check):
        network.load_state_dict(best_state)
    network.eval()
    with torch.no_grad():
        held_out = torch.as_tensor(fold.inputs_test, dtype=torch.float32, device=device)
        return np.asarray(network(held_out).cpu().numpy(), dtype=np.float64)


def _build_network(n_inputs: int, n_outputs: int, generator: "torch.Generator") -> Any:
    import torch
    from torch import nn

    class Dropout(nn.Module):
        """Dropout that draws from the generator of the fit."""

        def forward(self, values: Any) -> Any:
            if not self.training:
                return values
            kept = torch.rand(values.shape, generator=generator) >= _DROPOUT
            return values * kept.to(values.device) / (1 - _DROPOUT)

    layers: list[nn.Module] = []
    for width in (n_inputs, _HIDDEN):
        layers += [
            _draw_linear(width, _HIDDEN, generator),
            nn.BatchNorm1d(_HIDDEN),
            nn.ReLU(),
            Dropout(),
        ]
    return nn.Sequential(*layers, _draw_linear(_HIDDEN, n_outputs, generator))


def _draw_linear(n_inputs: int, n_outputs: int, generator: "torch.Generator") -> Any:
    """Return a layer with weights uniform in ``+-1 / sqrt(n_inputs)``, torch's own default."""
    from torch import nn

    layer = nn.utils.skip_init(nn.Linear, n_inputs, n_outputs)  # type: ignore[no-untyped-call]
    bound = n_inputs**-0.5
    for values in (layer.weight, layer.bias):
        nn.init.uniform_(values, -bound, bound, generator=generator)
    return layer


def _measure_error(network: Any, inputs: Any, values: Any) -> float:
    import torch

    network.eval()
    with torch.no_grad():
        return float(torch.nn.functional.mse_loss(network(inputs), values))
