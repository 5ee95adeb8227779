import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.segmentation.sources import (
    fetch_versatile_fluo,
    find_model_folder,
    unpack_model,
)

FILES = {"config.json": b"{}", "thresholds.json": b"{}", "weights_best.h5": b"weights"}


def write_zip(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder on this machine; give its address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()
        thread.join()


def test_a_folder_of_the_user_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2D_versatile_fluo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model_folder("2D_versatile_fluo") == Path("2D_versatile_fluo")


@pytest.mark.parametrize("below", ["", "2D_versatile_fluo", "2D_versatile_fluo_extracted"])
def test_what_tensorflow_stardist_downloaded_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "models" / "StarDist2D" / "2D_versatile_fluo" / below
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    assert find_model_folder("2D_versatile_fluo") == folder


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ModelError, match="bundled, 2D_versatile_fluo, or a folder"):
        find_model_folder("2D_versatile_he")


def test_downloads_once_and_unpacks(tmp_path: Path, server: tuple[str, Path]) -> None:
    address, served = server
    archive = write_zip(served / "model.zip", FILES)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    url = f"{address}/model.zip"
    folder = fetch_versatile_fluo(tmp_path / "cache", url=url, sha256=sha256)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    archive.unlink()
    assert fetch_versatile_fluo(tmp_path / "cache", url=url, sha256=sha256) == folder


def test_another_hash_is_refused_and_nothing_is_left(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    address, served = server
    write_zip(served / "model.zip", FILES)
    with pytest.raises(ModelError, match="need no network"):
        fetch_versatile_fluo(tmp_path / "cache", url=f"{address}/model.zip", sha256="0" * 64)
    assert not (tmp_path / "cache" / "2D_versatile_fluo").exists()


def test_without_network_the_bundled_weights_are_named(
    tmp_path: Path, server: tuple[str, Path]
) -> None:
    with pytest.raises(ModelError, match="Choose the weights bundled"):
        fetch_versatile_fluo(tmp_path / "cache", url=f"{server[0]}/absent.zip")


def test_members_outside_the_folder_are_never_written(tmp_path: Path) -> None:
    evil = {"../evil.txt": b"x", "/evil.txt": b"x", "sub/config.json": b"x"}
    archive = write_zip(tmp_path / "model.zip", FILES | evil)
    unpack_model(archive, tmp_path / "a" / "b" / "model")
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {"model.zip", *(f"a/b/model/{name}" for name in FILES)}


@pytest.mark.parametrize("members", [{}, {"config.json": b"{}"}, {"../config.json": b"{}"}])
def test_an_incomplete_archive_leaves_nothing(tmp_path: Path, members: dict[str, bytes]) -> None:
    archive = write_zip(tmp_path / "model.zip", members)
    with pytest.raises(ModelError, match="archive of a StarDist model"):
        unpack_model(archive, tmp_path / "cache" / "model")
    assert not list((tmp_path / "cache").iterdir())


def test_a_damaged_archive_is_one_clear_error(tmp_path: Path) -> None:
    archive = tmp_path / "model.zip"
    archive.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ModelError):
        unpack_model(archive, tmp_path / "model")
