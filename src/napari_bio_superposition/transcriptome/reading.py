"""Read count matrices: 10x h5 and folders (v2, v3), .h5ad, .zarr, CSV. No judging of cells."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.transcriptome.config import CountsConfig
from napari_bio_superposition.transcriptome.counts import repeated_names, take_counts

if TYPE_CHECKING:
    import anndata

ENDINGS = (".h5", ".h5ad", ".zarr", ".csv", ".csv.gz")
_MATRICES = ("matrix.mtx", "matrix.mtx.gz")
_DAMAGED = (OSError, KeyError, ValueError, IndexError, EOFError, TypeError, gzip.BadGzipFile)


def read_counts(path: str | Path, config: CountsConfig | None = None) -> "anndata.AnnData":
    """Read one file or folder of raw counts.

    Parameters
    ----------
    path
        ``.h5`` (10x v2 or v3), a 10x folder with ``matrix.mtx``, ``.h5ad``, ``.zarr``, ``.csv`` or
        ``.csv.gz``.
    config
        What is read; the defaults where omitted.

    Returns
    -------
    anndata.AnnData
        ``X`` CSR float32 of whole counts; ``obs`` with the sample; ``uns["notes"]`` says what was
        changed.

    Raises
    ------
    TableError
        Where the file is missing, damaged, of no known kind, empty, or holds no raw counts.
    """
    import anndata

    path, config = Path(path), config or CountsConfig()
    read, notes = _choose_reader(path, config), []
    try:
        table = read(path)
    except TableError:
        raise
    except _DAMAGED as error:
        raise TableError(
            f"{path.name} cannot be read as counts ({type(error).__name__}: {_brief(error)}). It "
            "may be damaged or of another kind."
        ) from error
    if _is_tenx(path):
        notes += _separate_genes(table)
    if path.name.lower().endswith((".csv", ".csv.gz")) and table.n_obs and table.n_vars:
        notes.append(
            f"{path.name} was read as {table.n_obs} cells such as {table.obs_names[0]} x "
            f"{table.n_vars} genes such as {table.var_names[0]}; where it is the other way round, "
            f"--counts.csv-rows {'cells' if config.csv_rows == 'genes' else 'genes'}."
        )
    layer = config.layer
    if layer == "raw" and layer not in table.layers and table.raw is not None:
        table, layer = table.raw.to_adata(), "X"
    counts, more = take_counts(table, layer, path.name)
    result = anndata.AnnData(counts, obs=table.obs.copy(), var=table.var.copy())
    _name_sample(result, path, config.sample_key)
    result.uns["notes"] = [*notes, *more]
    return result


def read_samples(
    paths: Sequence[str | Path], config: CountsConfig | None = None, samples: Path | None = None
) -> "Job[anndata.AnnData]":
    """Read several files of counts and join them on the genes they share.

    Parameters
    ----------
    paths
        One or more files or folders.
    config
        What is read; the defaults where omitted.
    samples
        CSV with a column of the samples' names and any others (genotype, flow_cell, sex ...), which
        become columns of obs.

    Raises
    ------
    TableError
        Where a file cannot be used, samples repeat, or the files have different genes.
    """
    config = config or CountsConfig()
    if not paths:
        raise TableError("No RNA file is given. Give at least one.")
    tables = []
    for done, path in enumerate(paths):
        yield Progress("Reading counts", done, len(paths), "files")
        tables.append(read_counts(path, config))
    yield Progress("Joining samples")
    joined = _join(tables, [Path(path).name for path in paths], config)
    if samples is not None:
        _describe_samples(joined, samples, config.sample_key)
    return joined


def _choose_reader(path: Path, config: CountsConfig) -> Callable[[Path], Any]:
    if not path.exists():
        raise TableError(f"There is no file or folder {path}. Check the name.")
    name = path.name.lower()
    if path.is_dir() and name.endswith(".zarr"):
        return _read_zarr
    if path.is_dir():
        return _read_folder
    if name.endswith(".h5ad"):
        return _read_h5ad
    if name.endswith(".h5"):
        return lambda file: _read_tenx_h5(file, config.genome)
    if name.endswith((".csv", ".csv.gz")):
        return lambda file: _read_csv(file, config.csv_rows)
    raise TableError(
        f"{path.name} is of no known kind. Give a 10x folder (matrix.mtx) or one of: "
        f"{list_choices(ENDINGS)}."
    )


def _is_tenx(path: Path) -> bool:
    return path.suffix == ".h5" or (path.is_dir() and path.suffix != ".zarr")


def _read_h5ad(path: Path) -> Any:
    import anndata

    return anndata.read_h5ad(path)


def _read_zarr(path: Path) -> Any:
    import anndata

    return anndata.read_zarr(path)


def _read_tenx_h5(path: Path, genome: str) -> Any:
    import warnings

    import h5py
    import scanpy

    with h5py.File(path, "r") as file:
        genomes = [] if "matrix" in file else list(file)
    if (genome and genomes and genome not in genomes) or (not genome and len(genomes) > 1):
        raise TableError(
            f"{path.name} holds the genomes {list_choices(genomes)}. Choose one of them with "
            "--counts.genome."
        )
    with warnings.catch_warnings():  # names that repeat are dealt with, and told, by ourselves
        warnings.filterwarnings("ignore", "Variable names are not unique")
        return scanpy.read_10x_h5(path, genome=genome or None)


def _read_folder(path: Path) -> Any:
    """Read ``matrix.mtx`` with its barcodes and genes, plain or gzipped, of any 10x version."""
    from scipy.io import mmread

    folder = _find_matrix(path)
    matrix = mmread(_one_of(folder, _MATRICES))
    barcodes = _read_lines(_one_of(folder, ("barcodes.tsv", "barcodes.tsv.gz")))
    names = ("features.tsv", "features.tsv.gz", "genes.tsv", "genes.tsv.gz")
    genes = _read_lines(_one_of(folder, names))
    return _assemble(sparse.csr_matrix(matrix.T), barcodes, genes, folder)


def _assemble(
    counts: sparse.csr_matrix, barcodes: pd.DataFrame, genes: pd.DataFrame, folder: Path
) -> Any:
    import anndata

    if counts.shape != (len(barcodes), len(genes)):
        raise TableError(
            f"{folder.name}: the matrix has {counts.shape[1]} genes x {counts.shape[0]} cells, but "
            f"there are {len(genes)} genes and {len(barcodes)} barcodes. Use files of one run."
        )
    symbols = genes[1] if genes.shape[1] > 1 else genes[0]
    var = pd.DataFrame({"gene_ids": genes[0].to_numpy()}, index=symbols.to_numpy())
    if genes.shape[1] > 2:
        var["feature_types"] = genes[2].to_numpy()
    obs = pd.DataFrame(index=barcodes[0].to_numpy())
    table = anndata.AnnData(counts, obs=obs, var=var)
    if "feature_types" not in var:
        return table
    return table[:, (var["feature_types"] == "Gene Expression").to_numpy()].copy()


def _find_matrix(path: Path) -> Path:
    """Return the folder of ``matrix.mtx``: this one, or the one filtered matrix below it."""
    found = sorted({file.parent for name in _MATRICES for file in path.glob(f"**/{name}")}, key=str)
    if path in found:
        return path
    filtered = [folder for folder in found if "filtered" in str(folder.relative_to(path))]
    chosen = filtered or found
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise TableError(f"The folder {path.name} holds no matrix.mtx. Give a 10x folder.")
    inside = list_choices(folder.relative_to(path) for folder in chosen)
    raise TableError(f"The folder {path.name} holds several matrices ({inside}). Name one of them.")


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise TableError(f"The folder {folder.name} lacks {names[0]}. Copy it from the same 10x run.")


def _read_lines(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False)


def _read_csv(path: Path, rows: str) -> Any:
    import anndata

    try:
        frame = pd.read_csv(path, index_col=0)
    except pd.errors.EmptyDataError as error:
        raise TableError(f"{path.name} is empty. Give a table of counts.") from error
    text = [str(column) for column, kind in frame.dtypes.items() if kind.kind not in "fiub"]
    if text:
        raise TableError(
            f"{path.name} has columns that are no numbers ({list_choices(text[:5])}). The first "
            "column names the rows, the header the columns; all else has to be counts."
        )
    frame.columns = _true_header(path)[1:]
    if rows == "genes":
        frame = frame.T
    cells, genes = frame.index.astype(str), frame.columns.astype(str)
    for names, what in ((cells, "cell names"), (genes, "gene names")):
        if names.has_duplicates:
            raise repeated_names(names, what, path.name)
    return anndata.AnnData(
        sparse.csr_matrix(frame.to_numpy()),
        obs=pd.DataFrame(index=cells),
        var=pd.DataFrame(index=genes),
    )


def _true_header(path: Path) -> pd.Index:
    """Return the header as it is written: pandas would rename a name that repeats."""
    first = pd.read_csv(path, nrows=1, header=None, dtype=str, keep_default_na=False)
    return pd.Index(first.iloc[0].to_numpy())


def _separate_genes(table: Any) -> list[str]:
    """Make the symbols of a 10x file unique: several genes share one symbol, as 10x delivers it."""
    repeated = int(table.var_names.duplicated().sum())
    if not repeated:
        return []
    table.var_names_make_unique()
    return [f"{repeated} gene symbols repeat and got a number behind their name."]


def _name_sample(table: Any, path: Path, key: str) -> None:
    if key not in table.obs:
        name = path.name
        for ending in (".gz", *ENDINGS):
            name = name.removesuffix(ending)
        table.obs[key] = name
    missing = int((table.obs[key].isna() | (table.obs[key].astype(str) == "")).sum())
    if missing:
        raise TableError(
            f"{missing} cells of {path.name} have no {key!r}. Fill the column in, or remove it."
        )
    table.obs[key] = pd.Categorical(table.obs[key].astype(str))


def _join(tables: list[Any], names: list[str], config: CountsConfig) -> Any:
    import anndata

    notes = [note for table in tables for note in table.uns.pop("notes")]
    if len(tables) > 1:
        notes += _check_genes(tables, names, config)
        _check_samples(tables, names, config.sample_key)
        for table in tables:
            table.obs_names = [
                f"{sample}:{cell}"
                for sample, cell in zip(table.obs[config.sample_key], table.obs_names, strict=True)
            ]
        joined = anndata.concat(tables, join="inner", merge="first")
    else:
        joined = tables[0]
    joined.obs[config.sample_key] = pd.Categorical(joined.obs[config.sample_key].astype(str))
    joined.X = sparse.csr_matrix(joined.X)
    joined.uns["notes"] = notes
    return joined


def _check_genes(tables: list[Any], names: list[str], config: CountsConfig) -> list[str]:
    shared = set(tables[0].var_names).intersection(*(table.var_names for table in tables[1:]))
    smallest = min(table.n_vars for table in tables)
    if not shared or len(shared) < config.min_shared_genes * smallest:
        examples = "; ".join(
            f"{name}: {table.n_vars} genes such as {table.var_names[0]}"
            for name, table in zip(names[:3], tables[:3], strict=True)
        )
        raise TableError(
            f"The files have different genes: {len(shared)} are in all of them ({examples}). Give "
            "files of one species and one kind of gene names, or lower --counts.min-shared-genes."
        )
    largest = max(table.n_vars for table in tables)
    if len(shared) == largest:
        return []
    return [f"The files do not have the same genes; the {len(shared)} in all of them were kept."]


def _check_samples(tables: list[Any], names: list[str], key: str) -> None:
    seen: dict[str, str] = {}
    for table, name in zip(tables, names, strict=True):
        for sample in table.obs[key].cat.categories:
            if sample in seen:
                raise TableError(
                    f"The sample {sample!r} is in {seen[sample]} and in {name}. Rename a file, or "
                    f"give different names in the column {key!r}."
                )
            seen[sample] = name


def _describe_samples(table: Any, path: Path, key: str) -> None:
    try:
        about = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise TableError(f"There is no file {path}. Check the name.") from error
    except (OSError, ValueError) as error:
        raise TableError(f"The table {path.name} cannot be read as CSV: {error}.") from error
    if key not in about:
        raise TableError(
            f"The table {path.name} has no column {key!r}; it has {list_choices(about.columns)}."
        )
    if about[key].duplicated().any():
        raise TableError(f"The table {path.name} names a sample more than once. Keep one row each.")
    about = about.set_index(key)
    absent = sorted(set(table.obs[key].cat.categories) - set(about.index))
    if absent:
        raise TableError(
            f"The table {path.name} has no row for {list_choices(absent[:5])}; it has "
            f"{list_choices(about.index[:5])}. Samples are named after their files."
        )
    for column in about:
        values = about[column].loc[table.obs[key].astype(str)].to_numpy()
        table.obs[column] = pd.Categorical(values)


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or "no further message"


def genes_of(table: Any) -> np.ndarray[Any, np.dtype[np.str_]]:
    """Return the gene names of a table in upper case."""
    return np.char.upper(table.var_names.to_numpy(dtype=str))
