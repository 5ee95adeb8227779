"""Genes as a job: a coupling in; a table of genes, its controls and a landscape out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.alignment.checks import check_features
from napari_bio_superposition.alignment.genes_controls import (
    Control,
    control_features,
    control_geometry,
    control_held_out,
    control_plates,
    control_split_cells,
    control_swapped,
    measure_genes,
    random_features,
    residual_z,
)
from napari_bio_superposition.alignment.genes_couplings import (
    Origin,
    Setting,
    find_alternatives,
    recouple,
)
from napari_bio_superposition.alignment.genes_landscape import Landscape, build_landscape
from napari_bio_superposition.alignment.genes_null import GeneScores
from napari_bio_superposition.alignment.genes_prediction import (
    ClassData,
    GeneData,
    divide_classes,
    score_network,
    score_ridge,
    score_trees,
)
from napari_bio_superposition.alignment.representation import choose_representation
from napari_bio_superposition.core.errors import MissingExtraError, TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.workflows.gene_painting import paint_gene
from napari_bio_superposition.workflows.genes_config import GenesConfig
from napari_bio_superposition.workflows.genes_data import (
    CoupledStudy,
    coupled_representations,
    latent_of_rna,
    load_coupling,
    read_design,
    read_expression,
    read_h5ad,
    setting_of,
)
from napari_bio_superposition.workflows.genes_files import write_genes
from napari_bio_superposition.workflows.genes_result import FOUND, GenesResult, as_frame, strictest
from napari_bio_superposition.workflows.genes_sets import enrich_lists, read_gene_sets

__all__ = ["GenesResult", "paint_gene", "predict_genes", "predict_genes_files"]

Matrix = npt.NDArray[Any]
_BESIDE = {"split_cells": "split_cells", "held_out": "held_out", "geometry": "geometry/gaussian"}
"""Control to the one of its scores whose r2, z and q stand in the table itself."""
_FEW_GENES = 0.02
"""Share of the genes that q should be able to find by themselves."""


def predict_genes(study: CoupledStudy, config: GenesConfig | None = None) -> Job[GenesResult]:
    """Predict genes from images within each class, and run the controls.

    Parameters
    ----------
    study
        From `genes_data.load_coupling`.
    config
        Settings; the defaults where omitted.

    Raises
    ------
    TableError
        Where columns are missing, or no class has enough patches and wells.
    """
    config = config or GenesConfig()
    rng = np.random.default_rng(config.seed)
    yield Progress("Reading expression")
    data, genes, notes = _collect(study, config, rng)
    sets = read_gene_sets(config.gene_sets, genes)
    parts, left_out = divide_classes(data.plan, data.features, data.design, config.min_patches)
    if not parts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise TableError(f"No class can be scored ({reasons}). Give more patches and wells.")
    notes += tuple(f"Left out: {name} ({reason})." for name, reason in left_out.items())
    notes += _check_axes(config, [part.name for part in parts])
    device = choose_device(config.device)
    step = _Step(study, data, config, device, setting_of(study, device), rng)
    table, latent = yield from _score_classes(step, parts, genes)
    controls = yield from _run_controls(step)
    table = _put_beside(table, controls, [part.name for part in parts])
    notes += _say_resolution(table, config, len(genes))
    yield Progress("Laying out genes")
    landscape, about_landscape = _lay_out(table, config, rng)
    enrichment, about_sets = enrich_lists(sets, table, landscape, rng=rng)
    notes += about_landscape + about_sets
    alternatives = []
    if config.alternatives:
        alternatives = yield from find_alternatives(
            data.representation, data.latent, step.setting, rng=rng
        )
    return GenesResult(
        table,
        tuple(controls),
        landscape,
        enrichment,
        latent,
        tuple(alternatives),
        study,
        config,
        notes,
    )


def predict_genes_files(
    folder: str | Path, config: GenesConfig | None = None, out: Path = Path("genes")
) -> Job[GenesResult]:
    """Predict genes from a folder of `couple` and write the result.

    Parameters
    ----------
    folder
        With ``plan.npz``, ``coupling.json`` and ``coupled.h5ad``.
    config
        Settings; the defaults where omitted.
    out
        Folder for ``genes.parquet``, ``controls.parquet``, ``genes.json``, the landscape and
        ``report.html``; made where it does not exist.

    Raises
    ------
    TableError, OutputError
        Where the folder is no coupling, or *out* cannot be written.
    """
    config = config or GenesConfig()
    yield Progress("Reading the coupling")
    result = yield from predict_genes(load_coupling(folder, config.rna), config)
    yield Progress("Writing results")
    write_genes(result, out)
    return result


@dataclass(frozen=True, eq=False)
class _Step:
    """What all steps of one run share."""

    study: CoupledStudy
    data: GeneData
    config: GenesConfig
    device: str
    setting: Setting
    rng: np.random.Generator

    def couple(self, image: Matrix, rna: Matrix, origin: Origin) -> Job[Any]:
        """Couple other data at the settings of this coupling."""
        return recouple(image, rna, self.setting, origin, rng=self.rng)


def _collect(
    study: CoupledStudy, config: GenesConfig, rng: np.random.Generator
) -> tuple[GeneData, list[str], tuple[str, ...]]:
    expression, genes, notes = read_expression(study.rna, config)
    representation, latent = coupled_representations(study, rng)
    features = choose_representation(
        study.image, config.use_rep, preferred=(), name="image", rng=rng
    ).values
    check_features(features, f"image ({config.use_rep})")
    others = {}
    if "features" in config.controls and Keys.CNN in study.image.obsm:
        cnn = np.asarray(study.image.obsm[Keys.CNN], dtype=np.float64)
        others = {"cnn": cnn, "random_sae": random_features(cnn, features, rng=rng)}
    unrelated = None
    if config.unrelated and "geometry" in config.controls:
        other = read_h5ad(Path(config.unrelated))
        unrelated = latent_of_rna(other, "", rng), read_expression(other, config)[0]
    design = read_design(study, config)
    data = GeneData(
        study.plan, features, representation, latent, expression, design, others, unrelated
    )
    return data, genes, notes


def _score_classes(
    step: _Step, parts: list[ClassData], genes: list[str]
) -> Job[tuple[pd.DataFrame, Mapping[str, GeneScores]]]:
    """Return the table of genes, and XGBoost's scores of latent dimensions."""
    config, data, frames, latent = step.config, step.data, [], {}
    for part in parts:
        scores = yield from score_ridge(
            part, data.expression, config, config.n_permutations, rng=step.rng
        )
        frame = as_frame(scores, genes)
        frame.insert(1, "class", part.name)
        cells = data.expression[part.cells]
        measured = measure_genes(cells, data.latent[part.cells])
        frame = frame.assign(**measured, z_residual=residual_z(scores.z, measured))
        if "mlp" in config.regressors:
            found = yield from score_network(
                part, data.expression, config, device=step.device, rng=step.rng
            )
            frame = frame.assign(r2_mlp=found.r2, z_mlp=found.z, q_mlp=found.q)
        if "xgboost" in config.regressors:
            latent[part.name] = yield from score_trees(part, data.latent, config, rng=step.rng)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True), latent


def _run_controls(step: _Step) -> Job[list[Control]]:
    config, data, couple = step.config, step.data, step.couple
    jobs: Mapping[str, Callable[[], Job[list[Control]]]] = {
        "split_cells": lambda: control_split_cells(data, config, rng=step.rng),
        "held_out": lambda: control_held_out(data, config, couple, rng=step.rng),
        "geometry": lambda: control_geometry(data, config, couple, rng=step.rng),
        "swapped": lambda: control_swapped(data, config, couple, rng=step.rng),
        "features": lambda: control_features(data, config, couple, rng=step.rng),
        "plates": lambda: control_plates(data, config, couple, rng=step.rng),
    }
    controls: list[Control] = []
    for name, start in jobs.items():
        if name not in config.controls:
            controls.append(Control(name, {}, "left out (--controls)"))
            continue
        try:
            controls += yield from start()
        except TableError as error:  # a part too small to be coupled is told, not fatal
            controls.append(Control(name, {}, str(error)))
    return controls


def _put_beside(table: pd.DataFrame, controls: list[Control], classes: list[str]) -> pd.DataFrame:
    """Put the main controls' scores beside those of the table, nan where there are none."""
    by_name = {control.name: control for control in controls}
    table = table.copy()
    for column, name in _BESIDE.items():
        scores = by_name[name].scores if name in by_name else {}
        if not scores:
            continue
        for figure in ("r2", "z", "q"):
            table[f"{figure}_{column}"] = np.nan
            for label in classes:
                if label in scores:
                    rows = table["class"] == label
                    table.loc[rows, f"{figure}_{column}"] = getattr(scores[label], figure)
    return table


def _say_resolution(table: pd.DataFrame, config: GenesConfig, n_genes: int) -> tuple[str, ...]:
    """Return how many genes have to be found together where permuted couplings alone judge them.

    The smallest p is ``1 / (n + 1)``, and Benjamini-Hochberg multiplies it by the genes tested.
    """
    least = int(np.ceil(n_genes / (config.n_permutations + 1) / FOUND))
    if strictest(table)[0] or least <= _FEW_GENES * n_genes:
        return ()
    return (
        f"q can fall below {FOUND:g} only where at least {min(least, n_genes)} genes have the "
        f"smallest p that {config.n_permutations} permutations can give: that no gene was found "
        "does not mean that none follows the images. Run the control split_cells, or raise "
        "--n-permutations.",
    )


def _check_axes(config: GenesConfig, classes: list[str]) -> tuple[str, ...]:
    """Return why there will be no landscape, where there are classes for one.

    Raises
    ------
    TableError
        Where the class of an axis was named and does not exist.
    """
    others = [name for name in classes if name != config.control_class]
    if config.other_class and config.other_class not in others:
        raise TableError(
            f"No class {config.other_class!r} to lay genes out; there are {list_choices(others)}."
        )
    if len(classes) > 1 and config.control_class not in classes:
        return (
            f"There is no class {config.control_class!r}, so genes were not laid out. Name the "
            f"control with --control-class; there are {list_choices(classes)}.",
        )
    return ()


def _lay_out(
    table: pd.DataFrame, config: GenesConfig, rng: np.random.Generator
) -> tuple[Landscape | None, tuple[str, ...]]:
    """Return the landscape of two classes, or ``None`` and why."""
    classes = list(table["class"].unique())
    others = [name for name in classes if name != config.control_class]
    if config.control_class not in classes or not others:
        return None, ()
    other = config.other_class or others[0]
    z = table.pivot(index="gene", columns="class", values="z")
    try:
        found = build_landscape(z[config.control_class], z[other], config.landscape, rng=rng)
    except (TableError, MissingExtraError) as error:  # the table of genes stands without it
        return None, (f"Genes were not laid out: {error}",)
    return found, ()
