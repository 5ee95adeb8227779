"""Overlays of features in a real window: ticking, scales, deleting, saving, loading, settings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import MultichannelImage
from napari_bio_superposition.features.column_statistics import robust_tops
from napari_bio_superposition.widgets.overlays import robust_top

if TYPE_CHECKING:
    from tests.widgets.conftest import Desk

pytestmark = pytest.mark.gui


@pytest.fixture
def analysed(desk: "Desk", small_field: MultichannelImage) -> "Desk":
    """Return a window in which the small field has been analysed."""
    desk.show(small_field)
    desk.set_up()
    desk.run()
    assert desk.widget.result.features.model.rowCount() > 3
    return desk


def _first(desk: "Desk", n: int) -> list[int]:
    model = desk.widget.result.features.model
    return [model.latent_at(row) for row in range(n)]


def test_a_tick_shows_an_overlay_and_never_runs_the_encoder(
    analysed: "Desk", monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_bio_superposition.models.feature_model import FeatureModel

    def encode(*_: Any) -> None:
        raise AssertionError("the encoder ran")

    monkeypatch.setattr(FeatureModel, "feature_map", encode)
    before = analysed.layer_names
    latents = _first(analysed, 3)
    for latent in latents:
        analysed.tick(latent)
    shown = [layer for layer in analysed.viewer.layers if layer.name not in before]
    assert len(shown) == 3
    assert len({layer.colormap.name for layer in shown}) == 3
    analysed.qtbot.waitUntil(lambda: all(layer.colorbar.visible for layer in shown))
    nuclei = next(layer for layer in analysed.viewer.layers if layer.name.endswith("nuclei"))
    for layer in shown:
        np.testing.assert_allclose(layer.translate, nuclei.translate)
        np.testing.assert_allclose(layer.scale, nuclei.scale)
        assert layer.units == nuclei.units
    analysed.tick(latents[1])
    assert len(analysed.viewer.layers) == len(before) + 2


def test_the_mean_of_an_overlay_is_the_feature_of_the_table(analysed: "Desk") -> None:
    (latent,) = _first(analysed, 1)
    analysed.tick(latent)
    analysis = analysed.widget.controller.result.analysis
    values = analysed.widget.controller.overlays.layer(latent).data
    y, x = analysis.patches.origins[analysis.patches.accepted][0]
    inside = values[y : y + 128, x : x + 128]
    expected = float(analysis.table.X[0, latent])
    assert float(inside.mean()) == pytest.approx(expected, rel=0.05)


def test_deleting_a_layer_clears_its_tick_and_renaming_keeps_it(analysed: "Desk") -> None:
    model, overlays = analysed.widget.result.features.model, analysed.widget.controller.overlays
    renamed, deleted = _first(analysed, 2)
    analysed.tick(renamed)
    analysed.tick(deleted)
    overlays.layer(renamed).name = "my favourite"
    analysed.viewer.layers.remove(overlays.layer(deleted))

    def state(latent: int) -> Any:
        index = model.index(model.row_of(latent), 0)
        return model.data(index, Qt.ItemDataRole.CheckStateRole)

    assert state(deleted) == Qt.CheckState.Unchecked
    assert state(renamed) == Qt.CheckState.Checked
    analysed.tick(renamed)
    assert "my favourite" not in analysed.layer_names


def test_one_fixed_scale_per_feature_and_a_scale_of_the_image(analysed: "Desk") -> None:
    features, overlays = analysed.widget.result.features, analysed.widget.controller.overlays
    (latent,) = _first(analysed, 1)
    analysed.tick(latent)
    table = analysed.widget.controller.result.analysis.table
    layer = overlays.layer(latent)
    fixed = float(robust_tops(table.var)[latent])
    assert 0 < fixed <= table.var[Keys.MAX_ACTIVATION].iloc[latent]
    np.testing.assert_allclose(layer.contrast_limits, (0.0, fixed), rtol=1e-5)
    features.scale_box.setCurrentIndex(1)
    assert layer.contrast_limits[1] == pytest.approx(robust_top(layer.data))
    assert layer.contrast_limits[1] != pytest.approx(fixed)
    features.opacity_slider.setValue(40)
    assert layer.opacity == pytest.approx(0.4)
    assert overlays.shown == (latent,)


def test_hide_all_and_search(analysed: "Desk") -> None:
    features = analysed.widget.result.features
    for latent in _first(analysed, 3):
        analysed.tick(latent)
    analysed.click(features.hide_button)
    assert analysed.widget.controller.overlays.shown == ()
    analysed.qtbot.keyClicks(features.search, "00003")
    assert [features.model.latent_at(row) for row in range(features.model.rowCount())] in ([3], [])
    features.only_active.setChecked(False)
    assert features.model.rowCount() == 1


def test_saving_and_loading_reproduces_the_result(
    analysed: "Desk", small_field: MultichannelImage, tmp_path: Path
) -> None:
    widget = analysed.widget
    (latent,) = _first(analysed, 1)
    before = widget.controller.result.analysis
    overlay = widget.controller.result.overlay(latent)
    names = analysed.layer_names
    folder = tmp_path / "result"
    analysed.do(lambda: widget.save(folder))
    assert str(folder) in widget.run_bar.message.text
    saved = json.loads((folder / "result.json").read_text())
    provenance = saved["provenance"]
    assert {"config", "versions", "seed", "inputs", "models", "flags"} <= set(provenance)
    for layer in list(analysed.viewer.layers)[len(small_field.channel_names) :]:
        analysed.viewer.layers.remove(layer)
    widget.setup.channels.role_boxes["nuclei"].setCurrentIndex(0)
    analysed.do(lambda: widget.load(folder))
    assert widget.run_bar.message.tone == "good", widget.run_bar.message.text
    after = widget.controller.result.analysis
    assert analysed.layer_names == names
    assert widget.setup.channels.chosen_roles == dict(small_field.roles)
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.table.X, before.table.X)
    np.testing.assert_allclose(
        after.death[Keys.DEATH].to_numpy(float), before.death[Keys.DEATH].to_numpy(float)
    )
    np.testing.assert_allclose(
        widget.controller.result.overlay(latent), overlay, rtol=1e-3, atol=1e-3, equal_nan=True
    )


def test_a_result_of_another_image_is_refused(
    analysed: "Desk", small_field: MultichannelImage, tmp_path: Path
) -> None:
    folder = tmp_path / "result"
    analysed.do(lambda: analysed.widget.save(folder))
    analysed.viewer.layers[0].data = np.asarray(analysed.viewer.layers[0].data) + 1
    names = analysed.layer_names
    analysed.do(lambda: analysed.widget.load(folder))
    assert analysed.widget.run_bar.message.tone == "error"
    assert "differ" in analysed.widget.run_bar.message.text
    assert analysed.layer_names == names
    analysed.do(lambda: analysed.widget.load(tmp_path / "nothing"))
    assert "nothing" in analysed.widget.run_bar.message.text


def test_settings_survive_a_restart(desk: "Desk", tmp_path: Path) -> None:
    from napari import settings as napari_settings

    from napari_bio_superposition.widgets.analyse import AnalyseWidget

    desk.set_up()
    desk.widget.setup.advanced.forms["segmentation"].editor("min_area_px").widget.setValue(77)
    features = desk.widget.result.features
    features.scale_box.setCurrentIndex(1)
    features.opacity_slider.setValue(35)
    desk.qtbot.waitUntil(lambda: not desk.widget._store_soon.isActive())
    napari_settings._clear_plugin_settings_cache()  # what a restart does
    again = AnalyseWidget(desk.viewer)
    desk.qtbot.addWidget(again)
    assert again.setup.models.device == "cpu"
    assert again.setup.models.model == str(desk.model_folder)
    config = again.setup.read_config()
    assert config.segmentation.min_area_px == 77
    assert config.segmentation.method == "watershed"
    assert again.result.features.scale_mode == "image"
    assert again.result.features.opacity == pytest.approx(0.35)


def test_devices_are_looked_for_when_the_list_is_opened(desk: "Desk") -> None:
    box = desk.widget.setup.models.device_box
    assert [box.itemData(i) for i in range(box.count())] == ["auto", "cpu"]
    finder = desk.widget.setup.models._finder
    with desk.qtbot.waitSignal(finder.ended, timeout=desk.timeout_ms):
        box.showPopup()
    box.hidePopup()
    assert [box.itemData(i) for i in range(box.count())][:2] == ["auto", "cpu"]


def test_an_unknown_device_is_one_sentence(desk: "Desk", small_field: MultichannelImage) -> None:
    desk.show(small_field)
    desk.set_up()
    desk.widget.setup.models.choose_device("cuda:77")
    desk.run()
    assert "cuda:77" in desk.widget.run_bar.message.text
    assert desk.widget.run_bar.state == "idle"
