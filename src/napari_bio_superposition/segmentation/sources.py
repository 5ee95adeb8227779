"""Find the folder of a StarDist model: bundled, the user's, a cache, or a checked download."""

import os
import tempfile
import zipfile
from pathlib import Path

import platformdirs

from napari_bio_superposition.core.errors import ModelError

__all__ = ["BUNDLED", "VERSATILE_FLUO", "find_model_folder", "unpack_model"]

BUNDLED = "bundled"
VERSATILE_FLUO = "2D_versatile_fluo"

_VERSATILE_FLUO_URL = (
    "https://github.com/stardist/stardist-models/releases/download/v0.1/"
    "python_2D_versatile_fluo.zip"
)
_VERSATILE_FLUO_SHA256 = "4ad678d0758eed6e55625f1b5ae30771e59adb79f1239e09b9772eac8846c3dd"

_MEMBERS = ("config.json", "thresholds.json", "weights_best.h5")
_LARGEST_MEMBER_BYTES = 200 * 2**20


def find_model_folder(weights: str) -> Path:
    """Return the folder that holds a StarDist model.

    Parameters
    ----------
    weights
        ``"bundled"``; ``"2D_versatile_fluo"``, taken from the cache of Keras or our own, else
        downloaded once and checked; or a folder.

    Raises
    ------
    ModelError
        Where there is no such folder, or the download fails or is not what it should be.
    """
    if weights == BUNDLED:
        return Path(__file__).parent / "weights"
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder
    if weights == VERSATILE_FLUO:
        return _in_keras_cache(keras_home()) or fetch_versatile_fluo(model_cache())
    raise ModelError(
        f"There is no folder {weights!r} with a StarDist model. Choose {BUNDLED}, "
        f"{VERSATILE_FLUO}, or a folder with config.json and weights."
    )


def keras_home() -> Path:
    """Return the folder in which Keras keeps what it downloads."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def model_cache() -> Path:
    """Return the user's folder for downloaded models; it may not exist yet."""
    return Path(platformdirs.user_cache_dir("napari-bio-superposition", appauthor=False)) / "models"


def _in_keras_cache(home: Path) -> Path | None:
    """Return the folder to which TensorFlow StarDist unpacked the model, if it ever did."""
    cache = home / "models" / "StarDist2D" / VERSATILE_FLUO
    # Keras below 3.6 unpacks here, later ones into a folder of their own.
    for folder in (cache, *sorted(cache.glob("*/"))):
        if all((folder / name).is_file() for name in ("config.json", "weights_best.h5")):
            return folder
    return None


def fetch_versatile_fluo(
    cache: Path, *, url: str = _VERSATILE_FLUO_URL, sha256: str = _VERSATILE_FLUO_SHA256
) -> Path:
    """Download StarDist's own model for fluorescent nuclei unless it is in the cache.

    Parameters
    ----------
    cache
        Folder for downloaded models.
    url, sha256
        Address of the zip and the hash that it must have.

    Raises
    ------
    ModelError
        Where the download fails or has another hash.
    """
    folder = cache / VERSATILE_FLUO
    if folder.is_dir():
        return folder
    # Imported here: it brings requests, and most users never download.
    import pooch

    try:
        archive = pooch.retrieve(
            url, known_hash=f"sha256:{sha256}", fname=f"{VERSATILE_FLUO}.zip", path=cache
        )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The model {VERSATILE_FLUO} could not be downloaded ({_first_line(error)}). Choose "
            f"the weights {BUNDLED}, which need no network, or download {url} elsewhere, unpack "
            "it, and choose its folder."
        ) from None
    unpack_model(Path(archive), folder)
    return folder


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def unpack_model(archive: Path, folder: Path) -> None:
    """Unpack the three files of a model; whatever else the archive names is never written.

    Parameters
    ----------
    archive
        Flat zip with config.json, thresholds.json and weights_best.h5.
    folder
        Made in one go once all files are complete.

    Raises
    ------
    ModelError
        Where the archive is damaged or is not that of a model.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as temporary:
        unpacked = Path(temporary) / folder.name
        unpacked.mkdir()
        try:
            with zipfile.ZipFile(archive) as content:
                for name in _MEMBERS:
                    _write_member(content, name, unpacked)
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise ModelError(
                f"{archive} is not the archive of a StarDist model ({_first_line(error)}). Delete "
                "it and try again."
            ) from None
        unpacked.replace(folder)


def _write_member(content: zipfile.ZipFile, name: str, folder: Path) -> None:
    # Exact names of our own choice, so a member such as ../../x cannot decide where it is written.
    if content.getinfo(name).file_size > _LARGEST_MEMBER_BYTES:
        raise zipfile.BadZipFile(f"{name} is larger than a StarDist model can be")
    (folder / name).write_bytes(content.read(name))
