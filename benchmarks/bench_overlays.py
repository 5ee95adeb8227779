"""What a user of overlays waits for in a real window: moving the canvas, switching, selecting.

The window has the size of a small laptop's screen, and draws the image's four channels below. The
baseline is the same window without an overlay. Without a screen (see ``scripts/with_screen``)
nothing is measured.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.keys import Keys, feature_name
from napari_bio_superposition.core.provenance import Provenance
from napari_bio_superposition.core.types import Acquisition, MultichannelImage, PatchSet

_SIDES_PX = (1024, 2048)
_OVERLAYS = (1, 5, 10)
_PATCH_PX = 128
_REPEATS = 25
_WINDOW_PX = (1366, 768)


def benchmarks() -> list[dict[str, Any]]:
    """Return frame times by side and number of overlays, then switching and selecting."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return []
    # Before napari reads them: the settings of whoever runs this are neither used nor changed.
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    return [row for side_px in _SIDES_PX for row in _time_window(side_px)]


def _time_window(side_px: int) -> list[dict[str, Any]]:
    import napari

    viewer = napari.Viewer(show=True)
    try:
        viewer.window.resize(*_WINDOW_PX)
        rng = np.random.default_rng(0)
        for channel in range(4):
            pixels = rng.integers(0, 4000, (side_px, side_px), dtype=np.uint16)
            viewer.add_image(pixels, name=f"channel {channel}", blending="additive")
        return [*_time_frames(viewer, side_px), *_time_selection(viewer, side_px)]
    finally:
        viewer.close()


def _time_frames(viewer: Any, side_px: int) -> list[dict[str, Any]]:
    from napari_bio_superposition.widgets.geometry import Geometry
    from napari_bio_superposition.widgets.overlays import OverlayLayers

    overlays = OverlayLayers(viewer.layers, lambda _: None)
    place = Geometry.of_layer(viewer.layers[0])
    maps = [_make_map(side_px, seed) for seed in range(max(_OVERLAYS) + 2)]
    base_ms, base_mb = _best_ms(viewer, lambda: _pan(viewer)), _memory_mb()
    rows = []
    for number in _OVERLAYS:
        for latent in range(len(overlays.shown), number):
            overlays.show(latent, maps[latent], feature_name(latent), place)
        frame_ms = _best_ms(viewer, lambda: _pan(viewer))
        rows.append(
            {
                "what": f"move the canvas, {number} overlays",
                "side_px": side_px,
                "ms": frame_ms,
                "ms_without_overlay": base_ms,
                "ratio": frame_ms / base_ms,
                "mb_per_overlay": (_memory_mb() - base_mb) / number,
            }
        )
    overlays.clear()
    glances = iter(range(1000))

    def look() -> None:
        latent = next(glances)
        values = maps[latent % len(maps)]
        overlays.show(latent, values, feature_name(latent), place, passing=True)
        overlays.set_top(latent, "fixed", 1.0)

    rows.append({"what": "switch the overlay", "side_px": side_px, "ms": _best_ms(viewer, look)})
    overlays.clear()
    return rows


def _time_selection(viewer: Any, side_px: int) -> list[dict[str, Any]]:
    from napari_bio_superposition.widgets.image_link import ImageLink
    from napari_bio_superposition.widgets.study import Study

    study, _ = Study.of(viewer), ImageLink.of(viewer)
    study.add_analysis(_make_analysis(side_px), None)  # type: ignore[arg-type]
    numbers = iter(range(10_000))
    n_patches = study.selection.n_rows

    def select() -> None:
        study.selection.select([next(numbers) % n_patches], source="image")

    ms = _best_ms(viewer, select)
    return [{"what": "select a patch", "side_px": side_px, "n_patches": n_patches, "ms": ms}]


def _make_map(side_px: int, seed: int) -> Any:
    values = np.random.default_rng(seed).normal(size=(side_px, side_px)).astype(np.float32)
    return np.maximum(values, 0)


def _make_analysis(side_px: int) -> Any:
    """Return what an image link reads of an analysis."""
    from types import SimpleNamespace

    image = MultichannelImage(
        np.broadcast_to(np.uint8(0), (1, side_px, side_px)),
        ("dna",), {"nuclei": "dna"}, 1.0, None, Acquisition("bench"),
    )  # fmt: skip
    starts = np.arange(0, side_px, _PATCH_PX)
    origins = np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
    patches = PatchSet(
        image=image,
        pixels=np.broadcast_to(np.float32(0), (len(origins), 1, _PATCH_PX, _PATCH_PX)),
        channel_roles=("nuclei",),
        origins=origins,
        accepted=np.ones(len(origins), bool),
        reasons=("",) * len(origins),
    )
    identity = (Keys.PLATE, Keys.WELL, Keys.FIELD, Keys.LINE, Keys.GENOTYPE, Keys.TREATMENT)
    obs = dict.fromkeys((*identity, Keys.GROUP), "") | {Keys.IMAGE: "bench"}
    provenance = Provenance({}, {}, 0, "cpu", {}, {"bench": "hash"}, {})
    table = AnnData(
        np.zeros((len(origins), 2), np.float32),
        obs=pd.DataFrame(obs, index=list(patches.ids)),
        uns={Keys.PROVENANCE: provenance.to_json()},
    )
    return SimpleNamespace(
        image=image, patches=patches, table=table, tokens=None, labels=None, provenance=provenance
    )


def _pan(viewer: Any) -> None:
    camera = viewer.scene.camera
    camera.center = tuple(np.add(camera.center, (0, 1, 1)))


def _best_ms(viewer: Any, action: Callable[[], None]) -> float:
    """Return how long an action takes with the frame that shows it, the best of some repeats."""
    from qtpy.QtWidgets import QApplication

    canvas = viewer.window._qt_viewer.canvas.native
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        action()
        canvas.repaint()
        QApplication.processEvents()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)  # other programs can only slow it down


def _memory_mb() -> float:
    """Return the memory in use now, where the system tells; the largest so far elsewhere."""
    status = Path("/proc/self/statm")
    if status.exists():
        pages = int(status.read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
