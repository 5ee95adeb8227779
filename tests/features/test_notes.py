"""Notes survive, are shared and never half written; filters find what was planted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.features.differential import compare_groups
from napari_bio_superposition.features.notes import NoteBook, change_notes, notes_path, read_notes
from napari_bio_superposition.features.search import (
    FeatureFilter,
    filter_features,
    list_features,
    write_list,
)


def test_two_windows_write_into_one_book(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    assert read_notes(path).names == {}
    change_notes(path, lambda book: book.with_name(3, "  fragmented\n mitochondria "))
    change_notes(path, lambda book: book.with_note(5, "dim; see plate 2"))
    book = change_notes(path, lambda book: book.with_list("death", [5, 3, 5]))
    assert (book.names, book.notes) == ({3: "fragmented mitochondria"}, {5: "dim; see plate 2"})
    assert read_notes(path).latents_of("death") == (5, 3)
    assert book.label(3) == "fragmented mitochondria (3)"
    assert book.label(4) == "latent 4"
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.json"]
    emptied = change_notes(path, lambda b: b.with_name(3, "").with_list("death", []))
    assert (dict(emptied.names), dict(emptied.lists)) == ({}, {})


@given(st.dictionaries(st.integers(0, 9999), st.text(min_size=1, max_size=20), max_size=5))
def test_any_text_comes_back(notes: dict[int, str]) -> None:
    book = NoteBook()
    for latent, note in notes.items():
        book = book.with_note(latent, note)
    again = NoteBook.from_json(book.to_json())
    assert dict(again.notes) == dict(book.notes)


def test_names_are_unique_and_short() -> None:
    book = NoteBook().with_name(1, "soma")
    with pytest.raises(TableError, match="Latent 1 is called 'soma' already"):
        book.with_name(2, "soma")
    with pytest.raises(TableError, match="at most 80"):
        book.with_name(2, "x" * 81)
    with pytest.raises(TableError, match="Choose one of: \\(none\\)"):
        book.latents_of("x")
    with pytest.raises(TableError, match="needs a name"):
        book.with_list(" ", [1])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "features": 3}'])
def test_a_damaged_file_is_not_overwritten(text: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(TableError, match="no notes that can be read"):
        change_notes(path, lambda book: book.with_name(1, "x"))
    assert path.read_text() == text


def test_notes_lie_beside_a_model_that_may_be_written_to(tmp_path: Path) -> None:
    model, user = tmp_path / "model", tmp_path / "user"
    model.mkdir()
    assert notes_path(model, "abcdef" * 9, user) == model / "feature-notes-abcdefabcdef.json"
    assert notes_path(None, "abcdef" * 9, user).parent == user
    assert notes_path(tmp_path / "absent", "ab", user).parent == user


# --- search --------------------------------------------------------------------------------------


@pytest.fixture
def table(rng: np.random.Generator) -> AnnData:
    """Feature 1 follows death, feature 2 is of SNCA, feature 3 never fires."""
    death = rng.random(80)
    death[:5] = np.nan
    values = rng.gamma(1.0, size=(80, 5)).astype(np.float32)
    values[:, 1] = np.nan_to_num(death, nan=0.5)
    values[40:, 2] += 5
    values[:, 3] = 0
    obs = pd.DataFrame(
        {
            Keys.GENOTYPE: ["Control"] * 40 + ["SNCA"] * 40,
            Keys.GROUP: [f"w{i // 10}" for i in range(80)],
            Keys.DEATH: death,
        },
        index=[f"p{i}" for i in range(80)],
    )
    var = pd.DataFrame(
        {Keys.FIRING_RATE: [0.5, 0.4, 0.3, 0.0, 0.001], Keys.MEAN_ACTIVATION: values.mean(axis=0)},
        index=[feature_name(k) for k in range(5)],
    )
    return AnnData(values, obs=obs, var=var)


def test_features_are_found_by_what_is_known_of_them(table: AnnData, tmp_path: Path) -> None:
    notes = NoteBook().with_name(4, "Lipid rim").with_note(0, "rim as well")
    notes = notes.with_list("mine", [2, 4])
    compared = compare_groups(table, (table.obs[Keys.GENOTYPE] == "SNCA").to_numpy())
    features = list_features(table, differential=compared, notes=notes)

    def found(**wanted: object) -> list[int]:
        kept = filter_features(features, FeatureFilter(**wanted), notes)  # type: ignore[arg-type]
        return kept["latent"].tolist()

    assert found(correlates_with=Keys.DEATH, min_correlation=0.99) == [1]
    assert found(min_log2_fold_change=1.0) == [2]
    assert found(max_q=0.2) == [2]
    assert 2 in found(top_class="SNCA")
    assert found(max_firing_rate=0.0005) == [3]
    assert found(text="RIM", sort_by="latent", ascending=True) == [0, 4]
    assert found(text="00003") == [3]
    assert found(named_list="mine") == [2, 4]
    assert features.loc[3, "top_class"] == ""
    csv = write_list(features, tmp_path / "list.csv")
    assert pd.read_csv(csv)["name"].iloc[4] == "Lipid rim"


def test_a_filter_that_cannot_work_says_why(table: AnnData) -> None:
    features = list_features(table)
    with pytest.raises(TableError, match="Compare two groups first"):
        filter_features(features, FeatureFilter(max_q=0.1))
    with pytest.raises(TableError, match="no column 'beauty'"):
        filter_features(features, FeatureFilter(sort_by="beauty"))
    with pytest.raises(TableError, match="holds no numbers"):
        list_features(table, correlate=[Keys.GROUP])
    with pytest.raises(ConfigError, match="max_q"):
        FeatureFilter(max_q=2)
