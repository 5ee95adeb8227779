"""Embedding a table file: reading it, and writing table, CSV files, figures, summary."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.provenance import hash_file
from napari_bio_superposition.features.lazy_table import open_table
from napari_bio_superposition.features.table import write_table
from napari_bio_superposition.workflows.config_files import write_config
from napari_bio_superposition.workflows.embed import embed_table
from napari_bio_superposition.workflows.embed_config import EmbedConfig
from napari_bio_superposition.workflows.embed_result import EmbedResult

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

TABLE = "embedded.h5ad"
_DPI = 150


def embed_files(
    table: Path, config: EmbedConfig | None = None, out: Path = Path("embedding")
) -> Job[EmbedResult]:
    """Embed a table file and write everything to a folder.

    Writes ``embedded.h5ad``, ``summary.json``, ``settings.toml``, ``tables/`` (CSV) and
    ``figures/`` (PNG, and SVG with editable text).

    Parameters
    ----------
    table
        ``.h5ad`` or ``.zarr``, with features in columns; need not come from this program. Of one
        larger than memory should hold, drawn patches are embedded; see `workflows.embed`.
    config
        Settings; the defaults where omitted.
    out
        Folder for the results; made where it does not exist.

    Raises
    ------
    TableError
        Where the file cannot be read.
    """
    config = config or EmbedConfig()
    yield Progress("Reading the table")
    adata = yield from open_table(table)
    result = yield from embed_table(adata, config)
    yield from write_embedding(result, out, source=table)
    return result


def read_any_table(path: Path) -> "AnnData":
    """Read an AnnData file that need not have been made here.

    Raises
    ------
    TableError
        Where it is missing or is no AnnData file.
    """
    import anndata

    if not path.exists():
        raise TableError(f"There is no table {path}. Check the name.")
    try:
        is_store = path.suffix == ".zarr" or path.is_dir()
        adata = anndata.read_zarr(path) if is_store else anndata.read_h5ad(path)
    except Exception as error:  # the readers raise their own kinds for every sort of damage
        raise TableError(
            f"{path.name} cannot be read as a table ({type(error).__name__}). Give an .h5ad or "
            ".zarr written by anndata, scanpy or this program."
        ) from error
    repeated = adata.obs_names[adata.obs_names.duplicated()]
    if len(repeated):
        raise TableError(
            f"{len(repeated)} row names of {path.name} repeat, for instance {repeated[0]!r}. "
            "Make them unique (adata.obs_names_make_unique())."
        )
    return adata


def write_embedding(result: EmbedResult, out: Path, *, source: Path | None = None) -> Job[None]:
    """Write table, CSV files, figures and summary; each file whole or not at all.

    Raises
    ------
    OutputError
        Where the folder cannot be written.
    """
    yield Progress("Writing tables")
    write_table(result.table, out / TABLE)
    for name, table in result_tables(result).items():
        with replaced_file(out / "tables" / f"{name}.csv") as part:
            table.to_csv(part)
    figures = draw_figures(result)
    for done, (name, figure) in enumerate(figures.items()):
        yield Progress("Drawing figures", done, len(figures), "figures")
        _save(figure, out / "figures", name)
    write_config(result.config, out / "settings.toml")
    plain = {"input": None if source is None else _describe(source), **result.as_plain()}
    with replaced_file(out / "summary.json") as part:
        part.write_text(json.dumps(plain, indent=2, allow_nan=False), encoding="utf-8")


def _describe(source: Path) -> dict[str, str | None]:
    return {"name": source.name, "hash": hash_file(source) if source.is_file() else None}


def _save(figure: "Figure", folder: Path, name: str) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        for ending in ("png", "svg"):
            with replaced_file(folder / f"{name}.{ending}") as part:
                metadata = {"Date": None} if ending == "svg" else None
                figure.savefig(part, format=ending, dpi=_DPI, metadata=metadata)


def result_tables(result: EmbedResult) -> dict[str, pd.DataFrame]:
    """Return the tables of a result by file name: coordinates, correlations, stages, dynamics."""
    tables = {"coordinates": _coordinates(result.table)}
    correlations, stages, pairs, roots, grids = [], [], [], [], []
    for group, one in result.trajectories.items():
        correlations += [{"group": group, **found.as_plain()} for found in one.correlation.values()]
        for cut, test in one.stages.items():
            stages.append(test.summary.reset_index().assign(group=group, cut=cut))
            pairs.append(test.pairs.assign(group=group, cut=cut, **_trend_columns(test)))
        roots += [{"group": group, "spearman": value} for value in one.root_spearman]
        if one.grid is not None:
            grids.append(one.grid.assign(group=group))
        tables[f"paga_{group}"] = one.paga.composition.set_axis(list(one.paga.names))
        if one.dynamics is not None:
            tables[f"dynamics_{group}"] = one.dynamics.as_table()
    parts = {
        "correlations": pd.DataFrame(correlations),
        "stages": _stack(stages),
        "stage_pairs": _stack(pairs),
        "root_perturbation": pd.DataFrame(roots),
        "grid": _stack(grids),
    }
    return tables | {name: table for name, table in parts.items() if len(table)}


def _trend_columns(test: object) -> dict[str, float]:
    trend = test.trend  # type: ignore[attr-defined]
    return {"trend_z": trend.z, "trend_p_wells": trend.p_wells, "trend_p_patches": trend.p_value}


def _stack(parts: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _coordinates(adata: "AnnData") -> pd.DataFrame:
    """Return the first two dimensions of each layout, and pseudotime and clusters, per patch."""
    table = pd.DataFrame(index=pd.Index(adata.obs_names, name="patch"))
    for key in (Keys.PHATE, Keys.UMAP, Keys.PCA, Keys.DIFFMAP):
        if key in adata.obsm:
            points = np.asarray(adata.obsm[key])
            first = 1 if key == Keys.DIFFMAP else 0  # its first component is constant
            for place in range(first, min(first + 2, points.shape[1])):
                table[f"{key.removeprefix('X_')}_{place + 1 - first}"] = points[:, place]
    kept = [name for name in adata.obs if name == Keys.LEIDEN or name.startswith(Keys.PSEUDOTIME)]
    return table.join(adata.obs[kept])


def draw_figures(result: EmbedResult) -> "dict[str, Figure]":
    """Draw everything there is to see in a result, by file name."""
    from napari_bio_superposition.workflows import trajectory_figures as draw

    found = result.trajectories
    figures = _draw_layouts(result)
    if any(one.curve is not None for one in found.values()):
        figures["pseudotime"] = draw.draw_pseudotime(found, result.outcome)
        for cut in ("terciles", "equal_width"):
            figures[f"stages_{cut}"] = draw.draw_stages(found, result.outcome, cut)
    if any(len(one.root_spearman) for one in found.values()):
        figures["root_perturbation"] = draw.draw_roots(found)
    if any(one.grid is not None for one in found.values()):
        figures["grid"] = draw.draw_grid(found)
    for place, (group, one) in enumerate(found.items()):
        if result.config.scope == "pairs" or place == 0:
            name = f"paga_{group}" if result.config.scope == "pairs" else "paga"
            figures[name] = draw.draw_paga(one.paga)
        if one.dynamics is not None:
            figures[f"dynamics_{group}"] = draw.draw_dynamics(one.dynamics, group)
    return figures


def _draw_layouts(result: EmbedResult) -> "dict[str, Figure]":
    from napari_bio_superposition.workflows.figures import draw_maps

    obs = result.table.obs
    colorings = {}
    for name in (result.config.group_by, result.config.block, result.outcome):
        if name in obs:
            colorings[name] = obs[name]
    times = [name for name in obs if str(name).startswith(Keys.PSEUDOTIME)]
    colorings |= {str(name): obs[name].replace(np.inf, np.nan) for name in times}
    colorings = colorings or {"patches": pd.Series("all", obs.index)}
    return {
        key.removeprefix("X_"): draw_maps(result.table.obsm[key], colorings, title)
        for key, title in ((Keys.PHATE, "PHATE"), (Keys.UMAP, "UMAP"))
        if key in result.table.obsm
    }
