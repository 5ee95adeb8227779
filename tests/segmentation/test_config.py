import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.config import describe_fields
from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.segmentation.config import SegmentationConfig


def test_defaults_are_those_of_the_paper_and_of_offline_use() -> None:
    config = SegmentationConfig()
    assert (config.method, config.weights, config.min_area_px) == ("stardist", "bundled", 40)
    assert config.prob_threshold is None
    assert not config.exclude_border


def test_every_field_is_documented() -> None:
    assert all(field.doc for field in describe_fields(SegmentationConfig))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "cellpose"),
        ("prob_threshold", 1.0),
        ("prob_threshold", float("nan")),
        ("nms_threshold", -0.1),
        ("scale", 0.0),
        ("tile_px", 64),
        ("tile_px", 512.0),
        ("min_area_px", -1),
        ("weights", " "),
    ],
)
def test_a_wrong_value_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        SegmentationConfig(**{field: value})


@given(scale=st.floats(), tile_px=st.integers(), prob=st.none() | st.floats())
def test_any_number_is_accepted_or_refused_by_our_own_error(
    scale: float, tile_px: int, prob: float | None
) -> None:
    try:
        config = SegmentationConfig(scale=scale, tile_px=tile_px, prob_threshold=prob)
    except ConfigError:
        return
    assert 0.05 <= config.scale <= 8
    assert 128 <= config.tile_px <= 8192


def test_importing_the_package_and_its_config_loads_no_torch() -> None:
    code = (
        "import sys; import napari_bio_superposition.segmentation as s; s.SegmentationConfig; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'stardist', 'skimage', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
