"""Fixtures that all tests share."""

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images and RNA beside the checkout; skip where it is absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data beside the checkout (../shared/data) are absent")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that is the same in every test."""
    return np.random.default_rng(0)
