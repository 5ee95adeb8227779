"""What gene prediction starts from: a folder of `couple`, its RNA table, expression, classes."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.genes_couplings import Setting
from napari_bio_superposition.alignment.genes_targets import Design, make_design
from napari_bio_superposition.alignment.representation import choose_representation
from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.transcriptome.counts import LOG_AT_MOST
from napari_bio_superposition.workflows.config_files import config_from_plain
from napari_bio_superposition.workflows.couple import look_up_known, read_labels
from napari_bio_superposition.workflows.couple_config import CoupleConfig
from napari_bio_superposition.workflows.genes_config import GenesConfig

if TYPE_CHECKING:
    import anndata

Matrix = npt.NDArray[Any]
_RNA_REPRESENTATIONS = ("X_scVI", Keys.PCA)
_FIGURES = ("verdict", "settings", "k_averaged", "epsilon")
_NO_LABEL = ("", "nan", "None", "<NA>")
_STRONGEST = 0.5
"""Share of patches whose partner in the table has to be that of the plan: ties differ, at most."""


@dataclass(frozen=True, eq=False)
class CoupledStudy:
    """A coupling with both its tables.

    Parameters
    ----------
    image, rna
        The tables: rows of the plan are patches, columns RNA cells.
    plan
        ``(n, m)``, CSR: the largest entries of each row.
    figures
        ``coupling.json``.
    """

    image: "anndata.AnnData"
    rna: "anndata.AnnData"
    plan: Any
    figures: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """Confidence in the coupling, in a word."""
        return str(self.figures["verdict"])

    @property
    def settings(self) -> CoupleConfig:
        """The settings of the coupling."""
        return config_from_plain(dict(self.figures["settings"]), CoupleConfig)

    def method(self, device: str) -> CouplingConfig:
        """Return the settings of the method alone."""
        names = [field.name for field in dataclasses.fields(CouplingConfig)]
        values = {name: getattr(self.settings, name) for name in names}
        return CouplingConfig(**values | {"device": device})

    @property
    def k(self) -> tuple[int, ...]:
        """Numbers of neighbours that were averaged."""
        return tuple(self.figures["k_averaged"])


def setting_of(study: CoupledStudy, device: str) -> Setting:
    """Return what the coupling was made with, classes and shared features included.

    Raises
    ------
    TableError
        Where the tables lack what the coupling used.
    """
    config = study.settings
    labels = None if config.classes == "scores" else read_labels(study.image, study.rna, config)
    known = look_up_known(study.image, study.rna, labels, config)
    sides = None
    if config.classes == "per-class" and labels is not None:
        sides = np.asarray(labels[0]), np.asarray(labels[1])
    return Setting(study.method(device), study.k, float(study.figures["epsilon"]), known, sides)


def load_coupling(folder: str | Path, rna: str = "") -> CoupledStudy:
    """Read a folder of `couple` and the RNA table it was made with.

    Parameters
    ----------
    folder
        With ``plan.npz``, ``coupling.json`` and ``coupled.h5ad``.
    rna
        The RNA table, where it has moved.

    Raises
    ------
    TableError
        Where a file is missing, or the RNA table is not the one that was coupled.
    """
    folder = Path(folder)
    missing = [
        name
        for name in ("plan.npz", "coupling.json", "coupled.h5ad")
        if not (folder / name).exists()
    ]
    if missing:
        raise TableError(
            f"{folder} lacks {list_choices(missing)}. Give the folder that `bio-superposition "
            "couple` wrote."
        )
    try:
        figures = json.loads((folder / "coupling.json").read_text(encoding="utf-8"))
        plan = sparse.load_npz(folder / "plan.npz").tocsr()
        wanted = figures["inputs"]["rna"]
        absent = [name for name in _FIGURES if name not in figures]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise TableError(
            f"{folder} is no whole coupling ({type(error).__name__}). Run couple again."
        ) from error
    if absent:
        raise TableError(f"coupling.json lacks {list_choices(absent)}. Run couple again.")
    path = Path(rna or figures.get("files", {}).get("rna", ""))
    if not path.is_file():
        raise TableError(
            f"The RNA table of this coupling is not at {path}. Say where with --rna FILE.h5ad."
        )
    if hash_file(path) != wanted:
        raise TableError(
            f"{path.name} is not the RNA table that was coupled (its content differs). Run couple "
            "again, or give the table with --rna FILE.h5ad."
        )
    tables = [read_h5ad(folder / "coupled.h5ad"), read_h5ad(path)]
    return _check(CoupledStudy(tables[0], tables[1], plan, figures))


def read_h5ad(path: Path) -> "anndata.AnnData":
    """Read a table.

    Raises
    ------
    TableError
        Where it cannot be read.
    """
    import anndata

    try:
        return anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{path} cannot be read as .h5ad ({type(error).__name__}). Give one of this program."
        ) from error


def _check(study: CoupledStudy) -> CoupledStudy:
    shape = (study.image.n_obs, study.rna.n_obs)
    if study.plan.shape != shape:
        raise TableError(
            f"The plan is {study.plan.shape[0]} x {study.plan.shape[1]}, the tables have "
            f"{shape[0]} patches and {shape[1]} RNA cells. Run couple again."
        )
    names = study.rna.obs_names
    if study.settings.paired and names.isin(study.image.obs_names).all():
        study = dataclasses.replace(study, rna=study.rna[study.image.obs_names].copy())
    _check_partners(study)
    return study


def _check_partners(study: CoupledStudy) -> None:
    """Refuse a table of patches whose rows are not those of the plan."""
    partners = study.image.obs.get("coupled_cell")
    if partners is None:
        return
    cells = study.rna.obs_names.get_indexer(partners.astype(str))
    mass = np.asarray(study.plan[np.arange(len(cells)), cells]).ravel()
    strongest = np.asarray(study.plan.max(axis=1).todense()).ravel()
    right = (cells >= 0) & (mass >= strongest * (1 - 1e-6))
    if right.mean() < _STRONGEST:
        raise TableError(
            f"The patches of coupled.h5ad are not the rows of plan.npz: {int((~right).sum())} of "
            f"{len(right)} have another partner there. Run couple again."
        )


def choose_labels(study: CoupledStudy, config: GenesConfig) -> tuple[str, str]:
    """Return the columns with the classes of patches and RNA cells; empty where there are none."""
    if config.pooled:
        return "", ""
    label = config.label or study.settings.label
    rna = config.label_rna or (config.label or study.settings.label_rna or label)
    return label, rna


def read_design(study: CoupledStudy, config: GenesConfig) -> Design:
    """Return wells, plates and classes.

    Raises
    ------
    TableError
        Where a column is missing, or the classes do not fit.
    """
    obs = study.image.obs
    if Keys.GROUP not in obs and Keys.IMAGE not in obs:
        raise TableError(
            f"The image table has no column {Keys.GROUP!r} (the well of each patch) and no "
            f"{Keys.IMAGE!r}; it has {list_choices(obs.columns)}. Genes are scored on wells that "
            "did not teach them: add one of these columns and couple again."
        )
    groups = _column(study.image, Keys.GROUP if Keys.GROUP in obs else Keys.IMAGE, "image")
    plates = obs[Keys.PLATE].astype(str).tolist() if Keys.PLATE in obs else ["plate"] * len(obs)
    label, label_rna = choose_labels(study, config)
    classes = rna_classes = None
    if label:
        classes = _column(study.image, label, "image")
        rna_classes = _column(study.rna, label_rna, "RNA")
    design = make_design(groups, plates, classes, rna_classes, n_rna=study.rna.n_obs)
    used = label or study.settings.label
    if used not in obs:
        return design
    pairs = [f"{plate}/{name}" for plate, name in zip(plates, obs[used].astype(str), strict=True)]
    return dataclasses.replace(design, balanced=np.asarray(pairs))


def _column(table: "anndata.AnnData", key: str, name: str) -> list[str]:
    if key not in table.obs:
        raise TableError(
            f"No column {key!r} in obs of the {name} table; it has "
            f"{list_choices(table.obs.columns)}. Choose one of these."
        )
    values: list[str] = table.obs[key].astype(str).tolist()
    missing = sum(value in _NO_LABEL for value in values)
    if missing:
        raise TableError(
            f"{missing} of {table.n_obs} rows of the {name} table have no {key!r}. Fill them in, "
            "or remove these rows, and couple again."
        )
    return values


def read_expression(
    rna: "anndata.AnnData", config: GenesConfig
) -> tuple[Matrix, list[str], tuple[str, ...]]:
    """Return log expression ``(m, n_genes)`` float32 of the tested genes, their names, and notes.

    Raises
    ------
    TableError
        Where there is no such expression, or values are negative or NaN.
    """
    if config.target == "denoised":
        if "denoised" not in rna.obsm:
            raise TableError(
                "The RNA table has no denoised expression. Make it with "
                "`bio-superposition rna --latent.method scvi`, or take --target log."
            )
        frame = rna.obsm["denoised"]
        return _limit(frame.to_numpy(np.float32), list(map(str, frame.columns)), config, ())
    if rna.var_names.has_duplicates:
        raise TableError("Gene names of the RNA table repeat. Prepare it with `rna`.")
    variable = rna.var.get("highly_variable")
    genes = rna.var_names if variable is None else rna.var_names[variable.to_numpy(dtype=bool)]
    if not len(genes):
        raise TableError(
            'No gene of the RNA table is marked in var["highly_variable"]. Prepare it with '
            "`bio-superposition rna`, or remove that column to test all genes."
        )
    values = rna[:, genes].X
    dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
    if not np.isfinite(dense).all() or dense.min(initial=0.0) < 0:
        raise TableError(
            "X of the RNA table holds negative or NaN values, so it is no log expression. Prepare "
            "raw counts with `bio-superposition rna`."
        )
    notes: tuple[str, ...] = ()
    is_whole = dense.max(initial=0.0) > 1 and np.array_equal(dense, np.round(dense))
    if is_whole or dense.max(initial=0.0) > LOG_AT_MOST:
        total = np.maximum(np.asarray(rna.X.sum(axis=1)).reshape(-1, 1), 1.0)  # of all genes
        dense = np.log1p(dense / total * 1e4)
        notes = ("X of the RNA table are no logarithms; log1p of counts per 10,000 was taken.",)
    return _limit(dense.astype(np.float32), list(map(str, genes)), config, notes)


def _limit(
    values: Matrix, genes: list[str], config: GenesConfig, notes: tuple[str, ...]
) -> tuple[Matrix, list[str], tuple[str, ...]]:
    """Keep the genes of largest variance where there are too many."""
    if len(genes) <= config.max_genes:
        return values, genes, notes
    kept = np.sort(np.argsort(-values.var(axis=0), kind="stable")[: config.max_genes])
    note = f"{config.max_genes} of {len(genes)} genes were tested, those of largest variance."
    return values[:, kept], [genes[index] for index in kept], (*notes, note)


def coupled_representations(study: CoupledStudy, rng: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Return what was coupled, of patches and of RNA cells."""
    settings = study.settings
    image = choose_representation(
        study.image, settings.use_rep, preferred=(Keys.PCA,), name="image", rng=rng
    )
    return image.values, latent_of_rna(study.rna, settings.use_rep_rna, rng)


def latent_of_rna(rna: "anndata.AnnData", key: str, rng: np.random.Generator) -> Matrix:
    """Return the representation of RNA cells that is coupled."""
    chosen = choose_representation(rna, key, preferred=_RNA_REPRESENTATIONS, name="RNA", rng=rng)
    return chosen.values


_BANNERS = {
    "no plan": "The coupling failed; nothing here may be read.",
    "no alignment": "The coupling is no better than chance; nothing here may be read.",
    "ambiguous": "The coupling is ambiguous (its mirror image fits as well): genes may belong to "
    "the opposite patches.",
    "low confidence": "Couplings disagree; treat every gene as a guess.",
    "class-level only": "The coupling holds for classes only: differences between patches of one "
    "class are not to be read.",
    "not tested": "The coupling was not compared with chance; its genes cannot be judged.",
}


def banner_of(verdict: str) -> str:
    """Return the warning that belongs to a verdict; empty for a coupling of single cells."""
    text = _BANNERS.get(verdict, "")
    return f"Verdict {verdict!r}. {text}" if text else ""
