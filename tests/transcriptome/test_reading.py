"""Reading counts: every format gives the same matrix; every bad file has its own message."""

import gzip
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmwrite

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.transcriptome.config import CountsConfig
from napari_bio_superposition.transcriptome.reading import read_counts, read_samples

COUNTS = np.array([[0, 3, 1], [2, 0, 0], [5, 1, 0], [0, 0, 7]])
CELLS = [f"AAAC-{i}" for i in range(4)]
GENES = ["GENEA", "GENEB", "MT-ND1"]


def make_table(counts: np.ndarray = COUNTS, genes: list[str] = GENES) -> anndata.AnnData:
    obs = pd.DataFrame(index=[f"AAAC-{i}" for i in range(len(counts))])
    return anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes)
    )


def write_tenx_folder(folder: Path, *, version: int) -> Path:
    folder.mkdir(parents=True)
    end = ".gz" if version == 3 else ""
    mmwrite(folder / "matrix.mtx", sparse.coo_matrix(COUNTS.T))
    kinds = "\tGene Expression" if version == 3 else ""
    genes = "".join(f"ENSG{i}\t{name}{kinds}\n" for i, name in enumerate(GENES))
    texts = {
        "matrix.mtx": (folder / "matrix.mtx").read_text(),
        "barcodes.tsv": "\n".join(CELLS) + "\n",
        ("features" if version == 3 else "genes") + ".tsv": genes,
    }
    (folder / "matrix.mtx").unlink()
    for name, text in texts.items():
        path = folder / f"{name}{end}"
        path.write_bytes(gzip.compress(text.encode()) if end else text.encode())
    return folder


def write_tenx_h5(path: Path) -> Path:
    columns = sparse.csc_matrix(COUNTS.T)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(CELLS, dtype="S")
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(columns, name)
        matrix["shape"] = np.array(columns.shape)
        features = matrix.create_group("features")
        for name, values in {
            "id": ["E0", "E1", "E2"],
            "name": GENES,
            "feature_type": ["Gene Expression"] * 3,
            "genome": ["GRCh38"] * 3,
        }.items():
            features[name] = np.array(values, dtype="S")
    return path


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("kind", ["v2", "v3", "nested", "h5", "h5ad", "zarr", "csv", "csv.gz"])
def test_every_format_gives_the_same_counts(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"sample1.{kind}"
    if kind in ("v2", "v3"):
        path = write_tenx_folder(tmp_path / "sample1", version=int(kind[1]))
    elif kind == "nested":
        path = tmp_path / "sample1"
        write_tenx_folder(path / "outs" / "filtered_feature_bc_matrix", version=3)
        write_tenx_folder(path / "outs" / "raw_feature_bc_matrix", version=3)
    elif kind == "h5":
        write_tenx_h5(path)
    elif kind == "h5ad":
        make_table().write_h5ad(path)
    elif kind == "zarr":
        anndata.io.write_zarr(path, make_table())
    else:
        pd.DataFrame(COUNTS, CELLS, GENES).to_csv(path)
    read = read_counts(path)
    np.testing.assert_array_equal(read.X.toarray(), COUNTS)
    assert read.var_names.tolist() == GENES
    assert read.obs["sample"].unique().tolist() == ["sample1"]


def test_csv_may_have_genes_in_rows(tmp_path: Path) -> None:
    pd.DataFrame(COUNTS.T, GENES, CELLS).to_csv(tmp_path / "a.csv")
    notes = read_counts(tmp_path / "a.csv").uns["notes"]
    assert "3 cells such as GENEA x 4 genes such as AAAC-0" in notes[0]
    read = read_counts(tmp_path / "a.csv", CountsConfig(csv_rows="genes"))
    np.testing.assert_array_equal(read.X.toarray(), COUNTS)


def _bad_table(kind: str) -> anndata.AnnData:
    table = make_table()
    if kind == "negative":
        return make_table(COUNTS - 1)
    if kind == "logged":
        return make_table(np.log1p(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4))
    if kind == "logged unequal":
        return make_table(np.log1p(COUNTS * 1.7))
    if kind == "normalized":
        return make_table(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4)
    if kind == "nan":
        return make_table(np.where(COUNTS == 7, np.nan, COUNTS))
    if kind == "zero":
        return make_table(COUNTS * 0)
    if kind == "no cells":
        return table[:0].copy()
    return make_table(genes=["A", "A", "B"])


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("negative", "negative values"),
        ("logged", "logarithms had been taken"),
        ("logged unequal", "logarithms had been taken"),
        ("normalized", "normalised already .* the same 1e"),
        ("nan", "NaN or infinite"),
        ("zero", "no count at all"),
        ("no cells", "is empty: 0 cells"),
        ("duplicated", "1 gene names of a.h5ad repeat, for instance 'A'"),
    ],
)
def test_what_is_no_count_matrix_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    _bad_table(kind).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(TableError, match=words):
        read_counts(tmp_path / "a.h5ad")


def test_counts_are_found_in_a_layer(tmp_path: Path) -> None:
    table = make_table(np.log1p(COUNTS * 1.3))
    table.layers["counts"] = sparse.csr_matrix(COUNTS)
    table.write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(read_counts(tmp_path / "a.h5ad").X.toarray(), COUNTS)
    with pytest.raises(TableError, match=r"No layer 'raw'.*X, counts"):
        read_counts(tmp_path / "a.h5ad", CountsConfig(layer="raw"))


def test_counts_are_found_in_raw(tmp_path: Path) -> None:
    table = make_table()
    table.raw = table
    table = table[:, :2].copy()
    table.X = table.X.log1p()
    table.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(TableError, match=r"--counts\.layer raw"):
        read_counts(tmp_path / "a.h5ad")
    read = read_counts(tmp_path / "a.h5ad", CountsConfig(layer="raw"))
    np.testing.assert_array_equal(read.X.toarray(), COUNTS)
    assert read.var_names.tolist() == GENES


def test_corrected_counts_are_rounded_and_told(tmp_path: Path) -> None:
    corrected = COUNTS.astype(float) * 10
    corrected[0, 1] = 29.4
    make_table(corrected).write_h5ad(tmp_path / "a.h5ad")
    read = read_counts(tmp_path / "a.h5ad")
    assert read.X[0, 1] == 29
    assert "rounded" in read.uns["notes"][0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.h5", None, "There is no file"),
        ("a.h5", b"not hdf5", "cannot be read as counts"),
        ("a.h5ad", b"", "cannot be read as counts"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"cell,G1,G2\nc1,3,many\n", r"no numbers \(G2\)"),
        ("a.csv", b"cell,G1,G1\nc1,3,2\n", "gene names of a.csv repeat"),
        ("a.csv", b"cell,G1,G2\nc1,3,2\nc1,1,1\n", "cell names of a.csv repeat"),
        ("a.loom", b"", "no known kind"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_counts(tmp_path / name)


def test_a_folder_without_its_barcodes_is_refused(tmp_path: Path) -> None:
    folder = write_tenx_folder(tmp_path / "a", version=3)
    (folder / "barcodes.tsv.gz").unlink()
    with pytest.raises(TableError, match=r"lacks barcodes\.tsv"):
        read_counts(folder)
    (tmp_path / "b").mkdir()
    with pytest.raises(TableError, match=r"holds no matrix\.mtx"):
        read_counts(tmp_path / "b")


def test_samples_are_joined_on_shared_genes_and_described(tmp_path: Path) -> None:
    make_table().write_h5ad(tmp_path / "s1.h5ad")
    make_table(genes=["GENEA", "GENEB", "OTHER"]).write_h5ad(tmp_path / "s2.h5ad")
    about = tmp_path / "samples.csv"
    about.write_text("sample,genotype\ns1,Control\ns2,SNCA\n")
    table = run(read_samples([tmp_path / "s1.h5ad", tmp_path / "s2.h5ad"], samples=about))
    assert table.shape == (8, 2)
    assert table.obs["genotype"].tolist() == ["Control"] * 4 + ["SNCA"] * 4
    assert "the 2 in all of them were kept" in table.uns["notes"][0]
    assert table.obs_names.is_unique


def test_different_genes_and_repeated_samples_are_refused(tmp_path: Path) -> None:
    make_table().write_h5ad(tmp_path / "s1.h5ad")
    make_table(genes=["Geneq", "Gener", "Genes"]).write_h5ad(tmp_path / "s2.h5ad")
    with pytest.raises(TableError, match="different genes: 0 are in all"):
        run(read_samples([tmp_path / "s1.h5ad", tmp_path / "s2.h5ad"]))
    with pytest.raises(TableError, match="The sample 's1' is in"):
        run(read_samples([tmp_path / "s1.h5ad", tmp_path / "s1.h5ad"]))


def test_real_tenx_files(shared_data: Path) -> None:
    folder = shared_data / "scrna" / "tenx" / "10x_data"
    v3 = read_counts(folder / "3.0.0" / "filtered_feature_bc_matrix.h5")
    again = read_counts(folder / "3.0.0" / "filtered_feature_bc_matrix")
    assert (v3.X != again.X).nnz == 0
    assert read_counts(folder / "1.2.0" / "filtered_gene_bc_matrices").shape == (12, 343)
    with pytest.raises(TableError, match=r"genomes .*--counts\.genome"):
        read_counts(folder / "1.2.0" / "multiple_genomes.h5")
