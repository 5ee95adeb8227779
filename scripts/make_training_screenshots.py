"""Take the screenshots of the dock *Train*: a real window, a simulated study, a real training.

``scripts/with_screen python scripts/make_training_screenshots.py --study STUDY --out docs/images``
with STUDY written by ``bio-superposition simulate``. An unfinished training of the name my-model
beside its images is gone on with. The picture of the curves is taken at an epoch, then it stops.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")

import napari
from PIL import Image
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtTest import QTest

PLUGIN = "napari-bio-superposition"


def settle(milliseconds: int = 400) -> None:
    """Let the window draw."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def take(widget: Any, path: Path) -> None:
    """Save the dock as a picture of few colours."""
    settle()
    path.parent.mkdir(parents=True, exist_ok=True)
    widget.window().grab().save(str(path))
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128)
    small.save(path, optimize=True)


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="probes to wait for")
    options = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1366, 768)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Train")
    widget.setup.data.choose_folder(options.study / "images")
    while not widget.setup.data.message.text:
        settle(100)
    take(widget, options.out / "train-setup.png")
    QTest.mouseClick(widget.run_bar.run_button, Qt.MouseButton.LeftButton)
    begun = len(widget.loss.points("loss"))
    settle(1000)
    while widget.runner.running and (
        len(widget.probe.points("accuracy")) < options.epochs
        or len(widget.loss.points("loss")) <= begun + 1
    ):
        settle(200)
    take(widget, options.out / "train-curves.png")
    widget.runner.shut_down()
    viewer.close()


if __name__ == "__main__":
    main()
