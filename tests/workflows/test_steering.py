"""What a feature does: planted read-outs are found, and a feature taken away moves only them."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_bio_superposition.core.errors import TableError
from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.workflows.steering import CLASS, DEATH, PLACE, fit_read_outs


def _table(n_rows: int = 120, *, classes: int = 2) -> AnnData:
    """Return patches whose class hangs on latent 0 and whose death hangs on latent 1."""
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 1.0, (n_rows, 4)).astype(np.float32)
    genotype = np.where(values[:, 0] > np.median(values[:, 0]), "GBA", "Control")
    obs = pd.DataFrame(
        {
            Keys.GENOTYPE: genotype if classes == 2 else "GBA",
            Keys.DEATH: 0.1 * values[:, 1] + rng.normal(0, 0.01, n_rows),
        },
        index=[str(row) for row in range(n_rows)],
    )
    var = pd.DataFrame(index=[feature_name(k) for k in range(4)])
    return AnnData(values, obs=obs, var=var)


def test_read_outs_follow_the_planted_features() -> None:
    table = _table()
    found, missing = fit_read_outs(table)
    assert missing == {}
    assert found[CLASS].names == ("Control", "GBA")
    values = np.asarray(table.X)
    read = found[CLASS].read(values)
    np.testing.assert_allclose(read.sum(axis=1), 1, rtol=1e-5)
    assert ((read[:, 1] > 0.5) == (table.obs[Keys.GENOTYPE] == "GBA")).mean() > 0.9
    without = values.copy()
    without[:, 1] = 0
    change = found[DEATH].read(without) - found[DEATH].read(values)
    np.testing.assert_allclose(change[:, 0], -0.1 * values[:, 1], atol=0.05)
    np.testing.assert_allclose(found[PLACE].read(values).mean(axis=0), 0, atol=1e-4)


def test_what_a_table_does_not_allow_is_said() -> None:
    table = _table(classes=1)
    del table.obs[Keys.DEATH]
    found, missing = fit_read_outs(table)
    assert set(found) == {PLACE}
    assert set(missing) == {CLASS, DEATH}
    with pytest.raises(TableError, match="too few"):
        fit_read_outs(table[:3])
