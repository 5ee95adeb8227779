"""The manifest: valid, every command there, readers that leave other people's files alone."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from npe2 import PluginManifest

from napari_bio_superposition.widgets.readers import get_reader, open_sample
from napari_bio_superposition.widgets.settings import AnalyseSettings, load_settings

_NAME = "napari-bio-superposition"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution(_NAME)


def test_every_command_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    for command in manifest.contributions.commands or ():
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_menus_are_ones_that_napari_offers(manifest: PluginManifest) -> None:
    from napari._app_model.constants._menus import is_menu_contributable

    assert manifest.contributions.menus
    assert all(is_menu_contributable(menu) for menu in manifest.contributions.menus)


def test_settings_of_the_manifest_are_those_of_the_widget(plugin: None) -> None:
    assert load_settings() == AnalyseSettings()


def test_without_the_plugin_settings_are_the_defaults(plugin_settings: None) -> None:
    assert load_settings() == AnalyseSettings()


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("a.ome.tif", True),
        ("A.OME.TIFF", True),
        ("export/Index.idx.xml", True),
        ("export/Index.xml", True),
        ("holiday.tif", False),
        ("picture.png", False),
        ("notes.xml", False),
    ],
)
def test_only_files_of_microscopes_are_claimed(
    manifest: PluginManifest, npe2pm: Any, name: str, is_ours: bool
) -> None:
    npe2pm.register(manifest)
    readers = list(npe2pm.iter_compatible_readers([name]))
    assert bool(readers) == is_ours


def test_a_folder_of_pictures_is_left_to_others(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), np.uint8))
    assert get_reader(str(tmp_path)) is None
    assert get_reader(str(tmp_path / "missing.ome.tif")) is None


def test_the_sample_has_names_places_and_contrast() -> None:
    viewer = ViewerModel()
    for data, options, kind in open_sample():
        assert kind == "image"
        viewer.add_image(data, **options)
    assert len(viewer.layers) == 4
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"micrometer"}
    assert len({layer.colormap.name for layer in viewer.layers}) == 4
    low, high = viewer.layers[0].contrast_limits
    assert viewer.layers[0].data.min() <= low < high < viewer.layers[0].data.max()


def test_real_images_open_with_their_channels(shared_data: Path) -> None:
    path = shared_data / "bbbc022" / "plate1_A14_site1_5ch.ome.tiff"
    reader = get_reader(str(path))
    assert reader is not None
    layers = reader(str(path))
    assert len(layers) == 5
    assert layers[0][1]["metadata"]["bio_superposition"]["acquisition"]["well"] == "A14"
