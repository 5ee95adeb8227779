"""What a result was made with, so that it can be made again: configs, versions, seeds, hashes."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_PACKAGES = (
    "napari-bio-superposition",
    "anndata",
    "numpy",
    "scanpy",
    "scikit-image",
    "stardist",
    "torch",
)


@dataclass(frozen=True)
class Provenance:
    """Everything that a result depends on, as plain JSON values.

    ``flags`` names the preprocessing of the features (centring, norm restoration, L2); tables whose
    flags differ must not be compared.
    """

    config: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    device: str
    inputs: Mapping[str, str]
    """Image id to SHA-256 of its content."""
    models: Mapping[str, str]
    """Model name to SHA-256 of its weights."""
    flags: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the provenance as JSON text with sorted keys."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    return dict(_read_versions())


@functools.cache  # metadata of eight packages are files to look for, and results are many
def _read_versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder with their relative names."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_config(config: Mapping[str, Any]) -> str:
    """Return a short hash of a config given as plain values, for names of cached results."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
