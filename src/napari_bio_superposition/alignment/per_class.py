"""One coupling per class, put together: for classes whose shapes are to be compared alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import Coupling
from napari_bio_superposition.alignment.known import Known
from napari_bio_superposition.alignment.procedure import couple
from napari_bio_superposition.alignment.verdict import VERDICTS
from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job

Labels = npt.NDArray[np.str_]


def couple_per_class(
    features: npt.NDArray[Any],
    rna_features: npt.NDArray[Any],
    labels: tuple[Labels, Labels],
    config: CouplingConfig,
    *,
    rng: np.random.Generator,
) -> Job[Coupling]:
    """Couple every class on its own and put the plans together.

    A class keeps the share of mass that it has among the patches; figures are those of the class
    with the gravest verdict, loss and marginals are of the whole.

    Parameters
    ----------
    features, rna_features
        ``(n, d)`` and ``(m, e)``.
    labels
        Classes of both, ``(n,)`` and ``(m,)``.
    config, rng
        As for `alignment.couple`.

    Raises
    ------
    TableError
        Where a class is missing in one modality or has too few cells.
    """
    Known(classes=labels)  # refuses classes that are empty on one side
    n, m = len(features), len(rna_features)
    plan = sparse.lil_matrix((n, m))
    found: dict[str, Coupling] = {}
    for name in np.unique(labels[0]).tolist():
        rows, columns = (np.flatnonzero(side == name) for side in labels)
        try:
            part = yield from couple(features[rows], rna_features[columns], config, rng=rng)
        except TableError as error:
            raise TableError(f"Class {name}: {error}") from error
        plan[np.ix_(rows, columns)] = part.plan * (len(rows) / n)
        found[name] = part
    return _put_together(plan.tocsr(), found)


def _put_together(plan: Any, found: dict[str, Coupling]) -> Coupling:
    n, m = plan.shape
    gravest = min(found, key=lambda name: VERDICTS.index(found[name].verdict))
    shares = [part.shape[0] / n for part in found.values()]
    loss = sum(s * part.loss for s, part in zip(shares, found.values(), strict=True))
    said = [f"Class {name}: {part.verdict}." for name, part in found.items()]
    warnings = [f"Class {name}: {text}" for name, part in found.items() for text in part.warnings]
    column_error = float(np.abs(np.asarray(plan.sum(axis=0)).ravel() - 1 / m).sum())
    return replace(
        found[gravest],
        plan=plan,
        loss=float(loss),
        explanation=(*said, *found[gravest].explanation),
        warnings=tuple(warnings),
        row_error=float(np.abs(np.asarray(plan.sum(axis=1)).ravel() - 1 / n).sum()),
        column_error=column_error,
        converged=all(part.converged for part in found.values()),
    )
