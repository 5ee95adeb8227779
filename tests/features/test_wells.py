"""Controls of a plate: how far they lie apart, by hand; places of wells by name."""

import numpy as np
import pandas as pd
import pytest

from napari_bio_superposition.features.wells import place_of, separate_controls


def test_z_prime_and_ssmd_by_hand() -> None:
    values = pd.DataFrame({"death": [10.0, 12.0, 2.0, 4.0, 7.0, 1.0, 5.0]})
    plates = pd.Series(["p1"] * 4 + ["p2"] * 3)
    positive = np.array([True, True, False, False, True, False, False])
    table = separate_controls(values, plates, positive, ~positive).set_index("plate")
    # Means 11 and 3, deviations sqrt(2) each: 1 - 3 * 2 sqrt(2) / 8, and 8 / 2.
    assert table.loc["p1", "z_prime"] == pytest.approx(1 - 0.75 * np.sqrt(2))
    assert table.loc["p1", "ssmd"] == pytest.approx(4.0)
    assert table.loc["p2", ["n_positive", "n_negative"]].tolist() == [1, 2]
    assert table.loc["p2", ["z_prime", "ssmd"]].isna().all()


@pytest.mark.parametrize(
    ("well", "place"),
    [("A01", (0, 0)), ("B3", (1, 2)), ("AF48", (31, 47)), ("r02c03", (1, 2)), ("x", None)],
)
def test_places_of_wells(well: str, place: tuple[int, int] | None) -> None:
    assert place_of(well) == place
