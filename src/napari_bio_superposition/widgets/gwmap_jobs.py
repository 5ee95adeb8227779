"""What the GW-map dock runs in a thread: the steps of the command line, with their files. No Qt.

The workflows are imported when a job runs: the widget opens without torch and scanpy.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.widgets.preload import gentle_imports

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from napari_bio_superposition.workflows.couple_config import CoupleConfig
    from napari_bio_superposition.workflows.gene_painting import PaintedGene
    from napari_bio_superposition.workflows.genes_config import GenesConfig
    from napari_bio_superposition.workflows.genes_data import CoupledStudy
    from napari_bio_superposition.workflows.rna_config import RnaPreparationConfig

RNA, COUPLING, GENES = "rna", "coupling", "genes"
"""Folders of the three steps within the folder of results."""
PATCHES = "patches.h5ad"
_RNA_TABLE = "rna.h5ad"


@dataclass(frozen=True)
class RnaRequest:
    """Which counts are prepared.

    Parameters
    ----------
    paths
        Files or 10x folders.
    samples
        CSV with what is known of the samples.
    """

    paths: tuple[Path, ...]
    samples: Path | None = None


@dataclass(frozen=True, eq=False)
class RnaCells:
    """RNA cells that can be shown and coupled.

    Parameters
    ----------
    table
        The cells.
    path
        The file that holds them.
    clusters
        One row per cluster: cells, lineage, marker scores; ``None`` where nothing is known.
    lines
        Quality in words.
    """

    table: "AnnData"
    path: Path
    clusters: "pd.DataFrame | None"
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RankedGenes:
    """Genes predicted from images, as the dock shows them.

    Parameters
    ----------
    genes
        One row per gene and class.
    landscape
        Genes on the plane of two classes with their clusters, and the same for the top genes;
        ``None`` where there are no two classes.
    classes
        On the two axes of the plane.
    controls
        Control to its figures, or to the reason why it was not run.
    lines
        Class to its outcome in words.
    notes
        What else the user should know.
    banner
        What stands above everything; may be empty.
    alternatives
        Couplings behind the uncertainty of painted genes.
    config
        Settings.
    folder
        Where the files lie.
    networks
        Cluster of the top genes to the nodes and edges of its network.
    sets
        Over-representation of gene sets in clusters and among the genes found; ``None`` where no
        sets were given.
    """

    genes: "pd.DataFrame"
    landscape: "tuple[pd.DataFrame, pd.DataFrame] | None"
    classes: tuple[str, str]
    controls: Mapping[str, Any]
    lines: Mapping[str, str]
    notes: tuple[str, ...]
    banner: str
    alternatives: tuple[Any, ...]
    config: "GenesConfig"
    folder: Path
    networks: "Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]" = field(default_factory=dict)
    sets: "pd.DataFrame | None" = None


def prepare_cells(
    request: RnaRequest, config: "RnaPreparationConfig", folder: Path
) -> Job[RnaCells]:
    """Prepare counts and write them to ``folder/rna``."""
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.workflows.rna import prepare_rna_files

    yield Progress("Loading libraries")
    out = folder / RNA
    found = yield from prepare_rna_files(request.paths, config, out, samples=request.samples)
    return RnaCells(found.table, out / _RNA_TABLE, found.clusters, tuple(found.as_lines()))


def open_cells(path: Path) -> Job[RnaCells]:
    """Open cells that were prepared before; a folder of `rna` brings its clusters and quality."""
    yield Progress("Opening RNA cells")
    path = path / _RNA_TABLE if path.is_dir() else path
    with gentle_imports():
        from napari_bio_superposition.workflows.genes_data import read_h5ad
    if not path.is_file():
        raise TableError(f"There is no file {path}. Choose the rna.h5ad that `rna` wrote.")
    return as_cells(read_h5ad(path), path)


def as_cells(table: "AnnData", path: Path) -> RnaCells:
    """Return a table with what lies beside its file."""
    import pandas as pd

    lines = (f"{table.n_obs:,} cells, {table.n_vars:,} genes.",)
    try:
        summary = json.loads((path.parent / "summary.json").read_text(encoding="utf-8"))
        clusters = pd.DataFrame(summary["clusters"]).astype({"cluster": str}).set_index("cluster")
        dropped = ", ".join(
            f"{n:,} {name}" for name, n in summary["verdicts"].items() if name != "accepted" and n
        )
        kept = f"{summary['cells']:,} of {summary['cells_read']:,} cells kept"
        lines = (f"{kept} ({dropped or 'none dropped'}), {table.n_vars:,} genes.",)
        lines += tuple(summary["notes"])
    except (OSError, ValueError, KeyError, TypeError):  # a table of another program
        clusters = None
    return RnaCells(table, path, clusters, lines)


def couple_patches(
    patches: "AnnData", rna: Path, config: "CoupleConfig", folder: Path
) -> Job["CoupledStudy"]:
    """Couple the patches of the study with prepared cells, into ``folder/coupling``."""
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.features.lazy_table import is_on_disk, save_table
        from napari_bio_superposition.workflows.couple import couple_files
        from napari_bio_superposition.workflows.genes_data import load_coupling
    if is_on_disk(patches):
        raise TableError(
            "The features of this table stay on disk. Couple it with `bio-superposition couple`, "
            "which needs no window, and open the result here."
        )
    yield from save_table(patches, folder / PATCHES)
    yield from couple_files(folder / PATCHES, rna, config, folder / COUPLING)
    yield Progress("Reading the coupling")
    return load_coupling(folder / COUPLING, str(rna))


def open_coupling(folder: Path, rna: str = "") -> Job["CoupledStudy"]:
    """Open a coupling that was made before, here or by the command line."""
    yield Progress("Opening the coupling")
    with gentle_imports():
        from napari_bio_superposition.workflows.genes_data import load_coupling
    nested = folder / COUPLING
    return load_coupling(nested if nested.is_dir() else folder, rna)


def rank_genes(coupling: Path, config: "GenesConfig", folder: Path) -> Job[RankedGenes]:
    """Predict genes from a coupling, into ``folder/genes``."""
    yield Progress("Loading libraries")
    with gentle_imports():
        from napari_bio_superposition.workflows.genes import predict_genes_files

    yield Progress("Loading libraries")
    yield from predict_genes_files(coupling, config, folder / GENES)
    return (yield from open_genes(folder / GENES))


def open_genes(folder: Path) -> Job[RankedGenes]:
    """Open genes that were ranked before.

    Raises
    ------
    TableError
        Where the folder is none of `genes`.
    """
    yield Progress("Opening genes")
    import pandas as pd

    from napari_bio_superposition.workflows.config_files import config_from_plain
    from napari_bio_superposition.workflows.genes_config import GenesConfig
    from napari_bio_superposition.workflows.genes_files import read_alternatives

    nested = folder / GENES
    folder = nested if nested.is_dir() else folder
    try:
        about = json.loads((folder / "genes.json").read_text(encoding="utf-8"))
        genes = pd.read_parquet(folder / "genes.parquet")
        config = config_from_plain(about["settings"], GenesConfig)
    except (OSError, ValueError, KeyError) as error:
        raise TableError(
            f"{folder} holds no ranked genes ({error}). Choose a folder that `genes` wrote."
        ) from error
    has_alternatives = (folder / "alternatives").is_dir()
    return RankedGenes(
        genes,
        _read_landscape(folder / "landscape"),
        _axes(list(genes["class"].unique()), config),
        about["controls"],
        _describe_classes(about),
        tuple(about["notes"]),
        about["banner"],
        read_alternatives(folder) if has_alternatives else (),
        config,
        folder,
        _read_networks(folder / "landscape"),
        _read_sets(folder / "enrichment.parquet"),
    )


def _read_sets(path: Path) -> "pd.DataFrame | None":
    import pandas as pd

    found = pd.read_parquet(path) if path.is_file() else None
    return found if found is not None and "list" in found else None


def _read_landscape(folder: Path) -> "tuple[pd.DataFrame, pd.DataFrame] | None":
    import pandas as pd

    if not (folder / "genes.csv").is_file():
        return None
    first, second = (
        pd.read_csv(folder / f"{name}.csv", index_col="gene") for name in ("genes", "top")
    )
    return first, second


def _read_networks(folder: Path) -> "dict[str, tuple[pd.DataFrame, pd.DataFrame]]":
    import pandas as pd

    names = [path.name.split("_")[1] for path in folder.glob("network_*_nodes.csv")]
    return {
        name: (
            pd.read_csv(folder / f"network_{name}_nodes.csv", dtype={"gene": str}),
            pd.read_csv(folder / f"network_{name}_edges.csv", dtype={"source": str, "target": str}),
        )
        for name in sorted(names, key=lambda name: (len(name), name))
    }


def _axes(classes: list[str], config: "GenesConfig") -> tuple[str, str]:
    others = [name for name in classes if name != config.control_class]
    return config.control_class, config.other_class or (others[0] if others else "")


def _describe_classes(about: Mapping[str, Any]) -> dict[str, str]:
    from napari_bio_superposition.workflows.genes_result import say_beside

    return {
        name: f"{figures['found']} of {figures['genes']} genes beat permuted couplings (expected "
        f"of any smooth map){say_beside(figures)}."
        for name, figures in about["classes"].items()
    }


def paint(
    study: "CoupledStudy",
    genes: Sequence[str],
    config: "GenesConfig",
    alternatives: tuple[Any, ...],
) -> Job["PaintedGene"]:
    """Predict a gene, or the score of a module, at every patch."""
    yield Progress("Painting")
    with gentle_imports():
        from napari_bio_superposition.workflows.gene_painting import paint_gene
    names = genes[0] if len(genes) == 1 else list(genes)
    return paint_gene(study, names, config, alternatives=alternatives)
