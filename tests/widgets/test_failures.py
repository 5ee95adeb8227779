"""What a user reads for each kind of failure."""

import numpy as np
import pytest

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.widgets.failures import explain


def test_own_errors_are_told_as_they_stand() -> None:
    failure = explain(ModelError("No model 'x'. Choose one of: small."))
    assert failure.message == "No model 'x'. Choose one of: small."
    assert failure.expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        np._core._exceptions._ArrayMemoryError((10**9,), np.dtype(float)),
    ],
)
def test_lack_of_memory_names_a_remedy(error: BaseException) -> None:
    failure = explain(error)
    assert "not enough memory" in failure.message
    assert "CPU" in failure.message
    assert failure.expected


def test_a_missing_file_is_named() -> None:
    message = explain(FileNotFoundError(2, "No such file or directory", "field.tif")).message
    assert message.startswith("No such file or directory (field.tif).")


def test_a_broken_installation_tells_how_to_repair_it() -> None:
    message = explain(ImportError("libtorch is broken", name="torch")).message
    assert "torch" in message
    assert "pip install" in message


def test_the_unexpected_is_one_line_and_keeps_its_traceback() -> None:
    try:
        raise KeyError("first line\nsecond line")
    except KeyError as error:
        failure = explain(error, "Encoding patches")
    assert "\n" not in failure.message
    assert "Encoding patches" in failure.message
    assert "KeyError" in failure.message
    assert "Traceback" in failure.details
    assert not failure.expected
