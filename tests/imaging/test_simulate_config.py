"""The configs of a simulated study check themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.config import describe_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.imaging.simulation_config import RnaConfig, SimulationConfig


@given(
    plates=st.integers(1, 500),
    wells=st.integers(1, 24),
    fields=st.integers(1, 100),
    confounded=st.booleans(),
)
def test_the_number_of_fields_follows_from_the_design(
    plates: int, wells: int, fields: int, confounded: bool
) -> None:
    values = {"n_plates": plates, "wells_per_class": wells, "fields_per_well": fields}
    if confounded and plates < 4:
        with pytest.raises(ConfigError, match="at least 4"):
            SimulationConfig(**values, confounded=True)
        return
    config = SimulationConfig(**values, confounded=confounded)
    assert config.n_fields == plates * 4 * wells * fields


@given(st.sampled_from([SimulationConfig, RnaConfig]), st.data())
def test_values_outside_their_range_are_refused_by_name(
    kind: type[SimulationConfig | RnaConfig], data: st.DataObject
) -> None:
    ranged = [field for field in describe_fields(kind) if field.range is not None]
    field = data.draw(st.sampled_from(ranged))
    assert field.range is not None
    outside = data.draw(st.sampled_from([field.range.low - 1, field.range.high + 1]))
    with pytest.raises(ConfigError, match=field.name):
        kind(**{field.name: field.type(outside)})


def test_every_field_is_documented() -> None:
    for kind in (SimulationConfig, RnaConfig):
        assert all(field.doc for field in describe_fields(kind))
