"""The files of gene prediction: tables, figures, alternative couplings. No computing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from napari_bio_superposition.alignment.coupling import keep_top_entries
from napari_bio_superposition.alignment.genes_couplings import Alternative
from napari_bio_superposition.alignment.genes_landscape import build_network
from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_file, replaced_folder
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.workflows.genes_data import read_expression
from napari_bio_superposition.workflows.genes_report import build_genes_report, draw_network
from napari_bio_superposition.workflows.genes_result import GenesResult
from napari_bio_superposition.workflows.report import write_report

_ENTRIES = 50


def write_genes(result: GenesResult, out: Path) -> None:
    """Write tables, controls, landscape, alternatives and the page; each whole or not at all.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    _write_parquet(result.genes, out / "genes.parquet")
    _write_parquet(result.control_table(), out / "controls.parquet")
    plain = result.as_plain()
    for name, values in (("genes.json", plain), ("controls.json", plain["controls"])):
        with replaced_file(out / name) as part:
            part.write_text(to_json(values, indent=2), encoding="utf-8")
    if result.enrichment is None:
        (out / "enrichment.parquet").unlink(missing_ok=True)
    else:
        _write_parquet(result.enrichment, out / "enrichment.parquet")
    for name, is_made in (
        ("landscape", result.landscape is not None),
        ("alternatives", bool(result.alternatives)),
    ):
        if not is_made:  # that of an earlier run would be taken for this one's
            shutil.rmtree(out / name, ignore_errors=True)
    if result.landscape is not None:
        with replaced_folder(out / "landscape") as part:
            _write_landscape(result, part)
    if result.alternatives:
        write_alternatives(result.alternatives, out / "alternatives")
    write_report(build_genes_report(result), out)


def write_alternatives(alternatives: tuple[Alternative, ...], folder: Path) -> None:
    """Write the largest entries of alternative couplings, to be painted with later."""
    with replaced_folder(folder) as part:
        about = []
        for number, other in enumerate(alternatives):
            name = f"plan_{number:02d}.npz"
            sparse.save_npz(part / name, keep_top_entries(other.plan, _ENTRIES)[0])
            about.append({"file": name, "kind": other.kind, "k": list(other.k), "gap": other.gap})
        (part / "alternatives.json").write_text(to_json(about, indent=2), encoding="utf-8")


def read_alternatives(folder: str | Path) -> tuple[Alternative, ...]:
    """Read alternative couplings from the folder of `genes`.

    Raises
    ------
    TableError
        Where there are none.
    """
    folder = Path(folder) / "alternatives"
    try:
        about = json.loads((folder / "alternatives.json").read_text(encoding="utf-8"))
        return tuple(
            Alternative(
                entry["kind"],
                tuple(entry["k"]),
                entry["gap"],
                sparse.load_npz(folder / Path(entry["file"]).name),
            )
            for entry in about
        )
    except (OSError, ValueError, KeyError) as error:
        raise TableError(
            f"{folder} holds no alternative couplings ({error}). Run genes with --alternatives."
        ) from error


def _write_landscape(result: GenesResult, folder: Path) -> None:
    """Write the genes on the plane, Sankey data, and the networks of the top genes' clusters."""
    landscape = result.landscape
    if landscape is None:
        return
    tables = {
        "genes": landscape.genes.rename_axis("gene").reset_index(),
        "top": landscape.top.rename_axis("gene").reset_index(),
        "flows": landscape.flows,
        "top_flows": landscape.top_flows,
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    expression, genes, _ = read_expression(result.study.rna, result.config)
    columns = {gene: number for number, gene in enumerate(genes)}
    finest = landscape.top.columns[-1]
    for cluster, members in landscape.top.groupby(finest):
        names = list(members.index)
        if len(names) < 3:
            continue
        rng = np.random.default_rng(result.config.seed)
        try:
            nodes, edges = build_network(
                expression[:, [columns[name] for name in names]],
                names,
                result.config.landscape,
                rng=rng,
            )
        except TableError:  # genes that do not vary have no network
            continue
        for kind, table in (("nodes", nodes), ("edges", edges)):
            table.to_csv(folder / f"network_{cluster}_{kind}.csv", index=False)
        draw_network(nodes, edges).savefig(folder / f"network_{cluster}.svg", format="svg")


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    with replaced_file(path) as part:
        table.to_parquet(part, index=False)
