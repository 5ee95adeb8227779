"""Coupling as a job: two tables in; a plan, a verdict with its figures, and a joined table out."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from napari_bio_superposition.alignment.config import CouplingConfig
from napari_bio_superposition.alignment.coupling import Coupling, keep_top_entries
from napari_bio_superposition.alignment.representation import (
    RNA,
    Representation,
    choose_representation,
    look_up_representation,
)
from napari_bio_superposition.core.errors import TableError, list_choices, list_few
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.features.table_files import write_h5ad
from napari_bio_superposition.models.device import choose_device
from napari_bio_superposition.workflows.couple_config import CoupleConfig
from napari_bio_superposition.workflows.couple_figures import describe_coupling

if TYPE_CHECKING:
    import anndata

    from napari_bio_superposition.alignment.known import Known
    from napari_bio_superposition.alignment.scores import LabelScores, PairScores

_REPRESENTATIONS = (Keys.PCA,)
_REPRESENTATIONS_RNA = ("X_scVI", Keys.PCA)


@dataclass(frozen=True, eq=False)
class CoupledTables:
    """Two tables and their coupling.

    Parameters
    ----------
    image, rna
        The tables; rows of the plan are rows of *image*, columns are rows of *rna*.
    coupling
        Plan, figures and verdict.
    representations
        What was coupled, images first.
    labels, pairs
        Scores against the truth, where labels or pairs are given.
    config
        The settings.
    """

    image: "anndata.AnnData"
    rna: "anndata.AnnData"
    coupling: Coupling
    representations: tuple[Representation, Representation]
    labels: "LabelScores | None"
    pairs: "PairScores | None"
    config: CoupleConfig

    def as_plain(self) -> dict[str, Any]:
        """Return all figures as JSON values; the plan itself is not among them."""
        return describe_coupling(self)

    def as_lines(self) -> list[str]:
        """Return the verdict and the main figures for a person."""
        coupling = self.coupling
        first, second = (entry.describe() for entry in self.representations)
        lines = [f"Verdict: {coupling.verdict}", *coupling.explanation, *coupling.warnings]
        lines.append(
            f"k {list_choices(coupling.k)}, epsilon {coupling.epsilon:g}, "
            f"loss {coupling.loss:.4f}, {len(coupling.basins)} alternative alignments"
        )
        lines.append(f"Coupled: patches {first} with RNA {second}")
        if self.labels is not None and self.config.classes != "scores":
            lines.append("Label transfer says nothing: classes were given to the coupling.")
        elif self.labels is not None:
            score = self.labels.to_images
            lines.append(
                f"Label transfer to patches {score.barycentric:.3f} "
                f"(permuted labels {score.null_mean:.3f}, at most {score.null_max:.3f})"
            )
        if self.pairs is not None:
            within = self.pairs.within_class
            lines.append(
                f"FOSCTTM {self.pairs.overall:.4f} (0 perfect, 0.5 chance)"
                + ("" if within is None else f", within classes {within:.4f}")
            )
        return lines


def couple_tables(
    image: "anndata.AnnData", rna: "anndata.AnnData", config: CoupleConfig | None = None
) -> Job[CoupledTables]:
    """Couple two tables and score the coupling where the truth is given.

    Parameters
    ----------
    image
        Patches, with one representation to couple; see `CoupleConfig.use_rep`.
    rna
        RNA cells.
    config
        Settings; the defaults where omitted.

    Raises
    ------
    TableError
        Where names repeat, a key is missing, or the numbers cannot be coupled.
    """
    from napari_bio_superposition.alignment.per_class import couple_per_class
    from napari_bio_superposition.alignment.procedure import couple
    from napari_bio_superposition.alignment.verdict import judge_coupling

    config = config or CoupleConfig()
    for table, name in ((image, "image"), (rna, RNA)):
        _check_names(table, name)
    if config.paired:
        rna = _pair(image, rna)
    labels = read_labels(image, rna, config)
    rng = np.random.default_rng(config.seed)
    first = choose_representation(
        image, config.use_rep, preferred=_REPRESENTATIONS, name="image", rng=rng
    )
    second = choose_representation(
        rna, config.use_rep_rna, preferred=_REPRESENTATIONS_RNA, name=RNA, rng=rng
    )
    if config.classes == "per-class" and labels is not None:
        sides = np.asarray(labels[0]), np.asarray(labels[1])
        coupling = yield from couple_per_class(
            first.values, second.values, sides, _method(config), rng=rng
        )
    else:
        known = look_up_known(image, rna, labels, config)
        coupling = yield from couple(
            first.values, second.values, _method(config), rng=rng, known=known
        )
    yield Progress("Scoring the coupling")
    label_scores, pair_scores = _score(coupling, (first, second), labels, config, rng)
    if pair_scores is not None:
        coupling = judge_coupling(coupling, pair_scores.overall, pair_scores.within_class)
    coupling = _warn_of_genes(_warn_of_proportions(coupling, label_scores, config), rna)
    return CoupledTables(image, rna, coupling, (first, second), label_scores, pair_scores, config)


def couple_files(
    image: Path, rna: Path, config: CoupleConfig | None = None, out: Path = Path("coupling")
) -> Job[CoupledTables]:
    """Couple two ``.h5ad`` files and write the result to a folder.

    Writes ``plan.npz`` (scipy sparse, rows are patches: the largest entries of each row),
    ``coupling.json`` (verdict and figures) and ``coupled.h5ad`` (the image table with the strongest
    partner of each patch and what the coupling predicts of the RNA representation).

    Parameters
    ----------
    image, rna
        The tables.
    config
        Settings; the defaults where omitted.
    out
        Folder for the results; made where it does not exist.
    """
    config = config or CoupleConfig()
    yield Progress("Reading tables")
    tables = [_read(path) for path in (image, rna)]
    result = yield from couple_tables(tables[0], tables[1], config)
    yield Progress("Writing results")
    inputs = {"image": hash_file(image), "rna": hash_file(rna)}
    write_coupling(result, out, inputs=inputs, files={"image": image, "rna": rna})
    return result


def write_coupling(
    result: CoupledTables,
    out: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    files: Mapping[str, Path] | None = None,
) -> None:
    """Write plan, figures and joined table; each file whole or not at all.

    Parameters
    ----------
    result
        What to write.
    out
        Folder.
    inputs
        Hashes of the tables.
    files
        Where the tables lie, for the commands that go on from the folder.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    top, residual = keep_top_entries(result.coupling.plan, result.config.top_entries)
    with replaced_file(out / "plan.npz") as part:
        sparse.save_npz(part, top)
    joined = _join(result, residual)
    with replaced_file(out / "coupled.h5ad") as part:
        write_h5ad(joined, part)
    plain = result.as_plain()
    plain["plan"] = {
        "file": "plan.npz",
        "entries_per_row": result.config.top_entries,
        "residual_mass_mean": float(residual.mean()),
        "residual_mass_max": float(residual.max()),
    }
    plain["inputs"] = dict(inputs or {})
    plain["files"] = {name: str(path.resolve()) for name, path in (files or {}).items()}
    with replaced_file(out / "coupling.json") as part:
        part.write_text(json.dumps(plain, indent=2, allow_nan=False), encoding="utf-8")


def _method(config: CoupleConfig) -> CouplingConfig:
    """Return the settings of the method alone, with the device chosen."""
    names = [field.name for field in dataclasses.fields(CouplingConfig)]
    values = {name: getattr(config, name) for name in names}
    return CouplingConfig(**values | {"device": choose_device(config.device)})


def _read(path: Path) -> "anndata.AnnData":
    import anndata

    try:
        return anndata.read_h5ad(path)
    except FileNotFoundError as error:
        raise TableError(f"There is no file {path}. Check the name.") from error
    except (OSError, KeyError, ValueError) as error:
        raise TableError(
            f"{path.name} cannot be read as .h5ad ({type(error).__name__}). Give a table written "
            "by anndata, scanpy or this program."
        ) from error


def _check_names(table: "anndata.AnnData", name: str) -> None:
    repeated = table.obs_names[table.obs_names.duplicated()].unique()
    if len(repeated):
        raise TableError(
            f"{len(repeated)} row names of the {name} table repeat, for instance {repeated[0]!r}. "
            "Make them unique (adata.obs_names_make_unique())."
        )


def _pair(image: "anndata.AnnData", rna: "anndata.AnnData") -> "anndata.AnnData":
    """Return the RNA table in the order of the patches: by name where the names are the same."""
    if image.n_obs != rna.n_obs:
        raise TableError(
            f"--paired needs the same cells in both tables; there are {image.n_obs} patches and "
            f"{rna.n_obs} RNA cells. Leave it out, or give tables of the same cells."
        )
    common = len(image.obs_names.intersection(rna.obs_names))
    if common == image.n_obs:
        return rna[image.obs_names].copy()
    if common:
        raise TableError(
            f"--paired: {common} of {image.n_obs} row names are in both tables. Give all rows of a "
            "cell the same name, or none, to pair the tables by the order of rows."
        )
    return rna


Labels = tuple[list[str], list[str]]


def read_labels(
    image: "anndata.AnnData", rna: "anndata.AnnData", config: CoupleConfig
) -> Labels | None:
    """Return the classes of patches and of RNA cells; ``None`` where no column is named.

    Raises
    ------
    TableError
        Where a column is missing, a label is, or a class has one member.
    """
    if not config.label:
        return None
    from napari_bio_superposition.alignment.scores import check_labels

    keys = (config.label, config.label_rna or config.label)
    read = []
    for table, key, name in zip((image, rna), keys, ("image", "RNA"), strict=True):
        if key not in table.obs:
            raise TableError(
                f"No column {key!r} in obs of the {name} table; it has "
                f"{list_choices(table.obs.columns)}. Choose one of these."
            )
        labels = table.obs[key].astype(str).to_list()
        check_labels(np.asarray(labels), table.n_obs, f"rows of the {name} table")
        read.append(labels)
    return read[0], read[1]


def look_up_known(
    image: "anndata.AnnData", rna: "anndata.AnnData", labels: Labels | None, config: CoupleConfig
) -> "Known | None":
    """Return what the user has told to use of pairs of cells: nothing, by default.

    Raises
    ------
    TableError
        Where shared features are missing or do not fit, or a class is empty on one side.
    """
    from napari_bio_superposition.alignment.checks import check_features
    from napari_bio_superposition.alignment.known import Known

    shared = classes = None
    if config.shared:
        tables = [
            look_up_representation(table, config.shared, name).values
            for table, name in ((image, "image"), (rna, "RNA"))
        ]
        for values, name in zip(tables, ("shared image", "shared RNA"), strict=True):
            check_features(values, name)
        shared = tables[0], tables[1]
    if config.classes == "intra-class" and labels is not None:
        classes = np.asarray(labels[0]), np.asarray(labels[1])
    if shared is None and classes is None:
        return None
    return Known(shared, config.shared_weight, classes)


def _score(
    coupling: Coupling,
    representations: tuple[Representation, Representation],
    labels: Labels | None,
    config: CoupleConfig,
    rng: np.random.Generator,
) -> tuple["LabelScores | None", "PairScores | None"]:
    from napari_bio_superposition.alignment.scores import score_labels, score_pairs

    label_scores = pair_scores = None
    if labels is not None:
        label_scores = score_labels(
            coupling, *labels, n_permutations=config.n_permutations, rng=rng
        )
    if config.paired:
        first, second = (entry.values for entry in representations)
        pair_scores = score_pairs(coupling, first, second, None if labels is None else labels[0])
    return label_scores, pair_scores


_IMBALANCE = 0.1


def _warn_of_proportions(
    coupling: Coupling, scores: "LabelScores | None", config: CoupleConfig
) -> Coupling:
    if scores is None or scores.imbalance <= _IMBALANCE or config.classes == "per-class":
        return coupling  # per class, every class has a mass of its own
    shares = [
        f"{name} {patches:.0%} of patches and {cells:.0%} of RNA cells"
        for name, (patches, cells) in scores.proportions.items()
    ]
    warning = (
        f"The classes are not equally frequent in both tables ({list_few(shares)}): mass is forced "
        "into wrong classes, and the lowest loss may belong to a wrong alignment. Draw equal "
        "shares of each class from both tables, or align every class on its own (--classes "
        "per-class)."
    )
    return dataclasses.replace(coupling, warnings=(*coupling.warnings, warning))


def _warn_of_genes(coupling: Coupling, rna: "anndata.AnnData") -> Coupling:
    repeated = int(rna.var_names.duplicated().sum())
    if not repeated:
        return coupling
    warning = (
        f"{repeated} gene names of the RNA table repeat. That does not matter here, but `genes` "
        "will refuse it: make them unique (adata.var_names_make_unique()) and couple again."
    )
    return dataclasses.replace(coupling, warnings=(*coupling.warnings, warning))


def _join(result: CoupledTables, residual: Any) -> "anndata.AnnData":
    joined = result.image.copy()
    coupling = result.coupling
    joined.obs["coupled_cell"] = result.rna.obs_names[coupling.match_hard()].to_numpy(dtype=str)
    joined.obs["coupling_support"] = coupling.effective_support
    joined.obs["coupling_residual_mass"] = residual
    joined.obsm["X_rna_coupled"] = coupling.pull(result.representations[1].values)
    joined.uns["coupling"] = json.dumps(result.as_plain())
    return joined
