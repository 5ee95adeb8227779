"""The study without a screen: one per viewer, tables joined, groups and selection that follow."""

import gc
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.components import ViewerModel

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import Acquisition, LabelImage, MultichannelImage, PatchSet
from napari_bio_superposition.widgets.study import Study


@dataclass(frozen=True, eq=False)
class Analysis:
    """What a study reads of an analysis."""

    image: MultichannelImage
    patches: PatchSet
    table: AnnData | None
    labels: LabelImage | None = None


def make_analysis(image_id: str, *, model: str = "hash", value: float = 1.0) -> Analysis:
    """Return an image of 2 x 2 patches of 4 px; the last one is rejected."""
    image = MultichannelImage(
        np.zeros((1, 8, 8)), ("dna",), {"nuclei": "dna"}, 1.0, 0.5, Acquisition(image_id)
    )
    patches = PatchSet(
        image=image,
        pixels=np.zeros((4, 1, 4, 4), np.float32),
        channel_roles=("nuclei",),
        origins=np.array([(0, 0), (0, 4), (4, 0), (4, 4)]),
        accepted=np.array([True, True, True, False]),
        reasons=("", "", "", "blurred"),
    )
    provenance = Provenance({}, {}, 0, "cpu", {image_id: "pixels"}, {"small": model}, {})
    table = AnnData(
        X=value * np.arange(6, dtype=np.float32).reshape(3, 2),
        obs=pd.DataFrame(
            {
                **dict.fromkeys(
                    (Keys.PLATE, Keys.WELL, Keys.FIELD, Keys.LINE, Keys.GENOTYPE, Keys.TREATMENT),
                    "",
                ),
                Keys.IMAGE: image_id,
                Keys.GROUP: image_id,
                Keys.Y: [0, 0, 4],
                Keys.X: [0, 4, 0],
            },
            index=list(patches.ids[:3]),
        ),
        var=pd.DataFrame(index=[feature_name(k) for k in range(2)]),
        uns={Keys.PROVENANCE: provenance.to_json()},
    )
    for column in (Keys.FIRING_RATE, Keys.MEAN_ACTIVATION, Keys.MAX_ACTIVATION):
        table.var[column] = 1.0
    return Analysis(image, patches, table)


@pytest.fixture
def study() -> Study:
    return Study()


MODELS: Any = object()


def test_one_study_per_viewer_that_dies_with_it() -> None:
    one, two = ViewerModel(), ViewerModel()
    assert Study.of(one) is Study.of(one)
    assert Study.of(one) is not Study.of(two)
    forgotten = weakref.ref(Study.of(one))
    del one
    gc.collect()
    assert forgotten() is None


def test_the_table_holds_the_patches_of_all_images(study: Study) -> None:
    seen: list[str] = []
    study.table_changed.connect(lambda: seen.append("table"))
    study.images_changed.connect(lambda: seen.append("images"))
    study.add_analysis(make_analysis("a"), MODELS)
    study.selection.select([1], source="image")
    study.save_group("mine")
    study.add_analysis(make_analysis("b"), MODELS, name="shown as b")
    assert study.table is not None
    assert list(study.table.obs[Keys.IMAGE]) == ["a"] * 3 + ["b"] * 3
    assert study.images["b"].rows.tolist() == [3, 4, 5]
    assert study.images["b"].name == "shown as b"
    assert study.images["b"].origins.tolist() == [[0, 0], [0, 4], [4, 0]]
    assert study.selection.rows.tolist() == [1]
    assert study.groups["mine"].tolist() == [False, True, False, False, False, False]
    assert seen == ["table", "images"] * 2


def test_a_new_result_of_an_image_takes_the_place_of_the_old_one(study: Study) -> None:
    study.add_analysis(make_analysis("a"), MODELS)
    study.add_analysis(make_analysis("b"), MODELS)
    study.selection.select([1, 4])
    study.add_analysis(make_analysis("a", value=2.0), MODELS)
    assert study.table is not None
    assert list(study.table.obs[Keys.IMAGE]) == ["b"] * 3 + ["a"] * 3
    assert study.selection.rows.tolist() == [1, 4]
    assert study.images["b"].rows.tolist() == [0, 1, 2]


def test_a_table_that_knows_the_patches_keeps_its_embedding(study: Study) -> None:
    table = make_analysis("a").table
    assert table is not None
    table.obsm[Keys.UMAP] = np.zeros((3, 2))
    study.set_table(table)
    study.add_analysis(make_analysis("a"), MODELS)
    assert study.table is table
    assert study.images["a"].rows.tolist() == [0, 1, 2]


def test_features_of_another_model_are_never_mixed(study: Study) -> None:
    study.add_analysis(make_analysis("a"), MODELS)
    study.add_analysis(make_analysis("b", model="other"), MODELS)
    assert study.table is not None
    assert set(study.table.obs[Keys.IMAGE]) == {"b"}
    assert study.images["a"].rows.tolist() == [-1, -1, -1]


def test_groups_are_columns_of_the_table(study: Study) -> None:
    with pytest.raises(TableError, match="Analyse an image"):
        study.save_group("x")
    study.add_analysis(make_analysis("a"), MODELS)
    with pytest.raises(TableError, match="Nothing is selected"):
        study.save_group("x")
    with pytest.raises(TableError, match="name"):
        study.save_group(" ", [0])
    study.save_group("dying", [0, 2])
    assert study.table is not None
    assert study.table.obs["group_dying"].tolist() == [True, False, True]
    study.remove_group("dying")
    assert dict(study.groups) == {}


def test_views_ask_for_features_and_images(study: Study) -> None:
    asked: list[Any] = []
    study.shown_feature_changed.connect(asked.append)
    study.open_requested.connect(asked.append)
    study.show_feature(7)
    assert not study.request_open("far")
    study.add_analysis(make_analysis("near"), MODELS)
    assert study.request_open("near")
    study.close_image("near")
    assert not study.request_open("near")
    assert asked == [7, "far", "near"]
    assert study.shown_feature == 7


def test_one_view_alone_opens_what_is_asked_for() -> None:
    study, opened = Study(), []
    for name in ("batch", "features"):
        study.open_requested.connect(
            lambda image_id, name=name: (
                opened.append((name, image_id)) if study.claim_open() else None
            )
        )
    assert not study.request_open("far")
    assert study.is_claimed
    assert not study.request_open("farther")
    assert opened == [("batch", "far"), ("batch", "farther")]


def test_the_newest_place_is_looked_at_first_and_none_twice(tmp_path: Path) -> None:
    study, told = Study(), []
    study.places_changed.connect(lambda: told.append(study.places))
    for name in ("a", "b", "a"):
        study.add_place(tmp_path / name)
    assert told == [(tmp_path / "a",), (tmp_path / "b", tmp_path / "a")]
