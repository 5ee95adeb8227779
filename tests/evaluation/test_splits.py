"""Splits: whole wells, every class in every part, the published split labelled as leaking."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.core.errors import ConfigError, TableError
from napari_bio_superposition.evaluation.splits import PARTS, Split, split_groups


def make_obs(wells_per_class: int = 10, patches: int = 4) -> pd.DataFrame:
    rows = [
        {
            "plate": f"P{c}{w % 2}",
            "group": f"P{c}{w % 2}/W{c}{w}",
            "image_id": f"I{c}{w}{p // 2}",
            "class": name,
        }
        for c, name in enumerate(("Control", "SNCA"))
        for w in range(wells_per_class)
        for p in range(patches)
    ]
    return pd.DataFrame(rows, index=[f"patch{i}" for i in range(len(rows))])


def test_wells_stay_together_and_classes_are_dealt_alike():
    obs = make_obs()
    split = split_groups(obs, rng=np.random.default_rng(0))
    assert not split.leaking
    assert (len(split.train), len(split.validation), len(split.test)) == (14, 4, 2)
    rows = [split.rows(obs, part) for part in PARTS]
    assert sorted(np.concatenate(rows)) == list(range(len(obs)))
    for part in rows:
        counts = obs.iloc[part]["class"].value_counts()
        assert counts["Control"] == counts["SNCA"]


def test_the_split_by_patch_is_the_papers_and_leaks():
    obs = make_obs()
    split = split_groups(obs, "patch", shares=(0.5, 1 / 6, 1 / 3), rng=np.random.default_rng(0))
    assert split.leaking
    assert len(split.rows(obs, "train")) == 40


def test_fields_of_one_well_in_two_parts_leak():
    obs = make_obs()
    assert split_groups(obs, "image_id", rng=np.random.default_rng(0)).leaking
    assert not split_groups(
        obs, "plate", shares=(0.5, 0, 0.5), rng=np.random.default_rng(0)
    ).leaking


def test_plates_that_hold_all_classes_are_dealt_among_themselves():
    obs = make_obs().assign(plate=[f"P{i % 4}" for i in range(80)])
    split = split_groups(obs, "plate", rng=np.random.default_rng(0))
    assert (len(split.train), len(split.validation), len(split.test)) == (2, 1, 1)


@pytest.mark.parametrize(("n", "expected"), [(2, (1, 0, 1)), (3, (1, 1, 1)), (20, (14, 3, 3))])
def test_scarce_units_go_to_training_then_test(n, expected):
    split = split_groups(make_obs(n), rng=np.random.default_rng(1))
    counts = (len(split.train) / 2, len(split.validation) / 2, len(split.test) / 2)
    assert counts == expected


def test_a_class_in_one_well_only_is_refused_with_a_way_out():
    with pytest.raises(TableError, match=r"without Control, SNCA.*smaller unit"):
        split_groups(make_obs(1), rng=np.random.default_rng(0))


def test_same_seed_same_split_and_json_keeps_it():
    obs = make_obs()
    split = split_groups(obs, rng=np.random.default_rng(3))
    assert split_groups(obs.sample(frac=1, random_state=0), rng=np.random.default_rng(3)) == split
    assert Split.from_json(split.to_json()) == split


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "train": 3}'])
def test_what_is_no_split_is_said(text):
    with pytest.raises(TableError, match="no split"):
        Split.from_json(text)


def test_rows_of_unknown_wells_belong_to_no_part():
    split = Split(("a",), (), ("b",))
    obs = pd.DataFrame({"group": ["a", "c", "b"]})
    assert split.rows(obs, "train").tolist() == [0]
    assert split.rows(obs, "validation").tolist() == []
    with pytest.raises(ConfigError, match="No part 'tests'"):
        split.rows(obs, "tests")


def test_bad_requests_are_refused():
    obs = make_obs()
    rng = np.random.default_rng(0)
    with pytest.raises(TableError, match="no column 'line'"):
        split_groups(obs, stratify="line", rng=rng)
    with pytest.raises(ConfigError, match="shares"):
        split_groups(obs, shares=(0.5, 0.5, 0.5), rng=rng)
    with pytest.raises(ConfigError, match="No split unit"):
        Split((), (), (), "well")
    with pytest.raises(TableError, match="more than once"):
        Split(("a",), ("a",), ())
