"""The questions of the command line on one small analysed image; pictures fit their patches."""

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_bio_superposition.cli import main
from napari_bio_superposition.core.errors import RegionError, TableError
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.features.notes import read_notes
from napari_bio_superposition.features.table import read_table
from napari_bio_superposition.imaging.simulate import simulate_study, write_study
from napari_bio_superposition.imaging.simulation_config import SimulationConfig
from napari_bio_superposition.models.card import read_card
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.explore import explore, notes_of_model, open_table
from napari_bio_superposition.workflows.explore_config import ExploreConfig
from napari_bio_superposition.workflows.explore_images import ImageLibrary, cut_thumbnails, see
from napari_bio_superposition.workflows.loading import load_models


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """Return a folder with two simulated images and their analysis by the random model."""
    folder = tmp_path_factory.mktemp("explore")
    config = SimulationConfig(side_px=256, n_plates=1, wells_per_class=1)
    fields = simulate_study(config, rng=np.random.default_rng(1))
    run(write_study(fields, folder / "study"))
    images = sorted((folder / "study" / "images").glob("*.tif"))
    for image in images[2:]:
        image.unlink()
    settings = AnalyzeConfig(model=str(tiny_model_folder), device="cpu")
    settings = _with_watershed(settings)
    run(
        analyze_files(
            images[:2], settings, folder / "analysis", metadata=folder / "study" / "table.csv"
        )
    )
    return folder


def _with_watershed(settings: AnalyzeConfig) -> AnalyzeConfig:
    from dataclasses import replace

    return replace(settings, segmentation=replace(settings.segmentation, method="watershed"))


def ask(study: Path, model: Path, out: Path, **question: object):
    mask, images = question.pop("mask", None), question.pop("images", ())
    config = ExploreConfig(model=str(model), device="cpu", **question)  # type: ignore[arg-type]
    return run(explore(study / "analysis", config, out, images=images, mask=mask))


def test_features_are_listed_and_groups_compared(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    listed = ask(study, tiny_model_folder, tmp_path, do="list", n_shown=3)
    assert len(listed.found) == 3
    assert listed.files[0].read_text().count("\n") == 13
    classes = open_table(study / "analysis").obs[Keys.GENOTYPE].unique().tolist()
    compared = ask(study, tiny_model_folder, tmp_path, do="compare", first=classes[0])
    assert "without a second well" in compared.notes[0]
    with pytest.raises(TableError, match="Say which class"):
        ask(study, tiny_model_folder, tmp_path, do="compare")
    with pytest.raises(TableError, match="no class 'X'"):
        ask(study, tiny_model_folder, tmp_path, do="compare", first="X")
    with pytest.raises(TableError, match="holds no table"):
        open_table(tmp_path)


def test_a_region_is_asked_from_a_mask_file(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    table = open_table(study / "analysis")
    image = str(table.obs[Keys.IMAGE].iloc[0])
    painted = np.zeros((256, 256), np.uint8)
    painted[20:80, 20:80], painted[150:200, 30:90] = 1, 2
    tifffile.imwrite(tmp_path / "mask.tif", painted)
    question = {"do": "region", "mask": tmp_path / "mask.tif", "image": image}
    found = ask(
        study, tiny_model_folder, tmp_path, images=[study / "study" / "images"], **question
    ).found
    assert found["region"].unique().tolist() == ["ROI 1", "ROI 2"]
    assert found.groupby("region").size().tolist() == [12, 12]
    with pytest.raises(RegionError, match=r"Give --mask \(or --patches\) and --images"):
        ask(study, tiny_model_folder, tmp_path, do="region")


def test_a_region_is_made_of_chosen_patches_or_nuclei(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    rows = open_table(study / "analysis").obs
    image = str(rows[Keys.IMAGE].iloc[0])
    own = rows.index[rows[Keys.IMAGE].astype(str) == image][:2].tolist()
    question = {"do": "region", "images": [study / "analysis"]}
    found = ask(study, tiny_model_folder, tmp_path, patches=tuple(own), **question)
    assert found.found["region"].unique().tolist() == ["patches"]
    touched = pd.read_csv(found.files[1])
    whole = touched["share"] == 1
    assert touched.loc[whole, "patch"].tolist() == own
    with pytest.raises(RegionError, match="no patch nowhere"):
        ask(study, tiny_model_folder, tmp_path, patches=("nowhere",), **question)

    labels = np.zeros((256, 256), np.int32)
    labels[10:40, 10:40], labels[100:140, 20:60], labels[200:230, 200:230] = 1, 2, 3
    tifffile.imwrite(tmp_path / "nuclei.tif", labels)
    question |= {"mask": tmp_path / "nuclei.tif", "image": image}
    found = ask(study, tiny_model_folder, tmp_path, nuclei=(1, 3), **question)
    assert found.found["region"].unique().tolist() == ["nuclei"]
    with pytest.raises(RegionError, match="no nucleus 9"):
        ask(study, tiny_model_folder, tmp_path, nuclei=(9,), **question)


def test_channels_effects_and_maps_are_asked_of_an_image(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    image = str(open_table(study / "analysis").obs[Keys.IMAGE].iloc[0])
    question = {"image": image, "images": [study / "analysis"]}  # the results know their images
    explained = ask(study, tiny_model_folder, tmp_path, do="channel", channel=3, **question)
    assert explained.files[0].name == "channel_00003.csv"
    assert explained.found["explained"].notna().all()
    assert "Channel 3: " in explained.notes[0]
    matched = ask(study, tiny_model_folder, tmp_path, do="match", **question)
    assert matched.found["coverage"].is_monotonic_increasing
    assert "uses no decoder" in matched.notes[0]
    feature = str(explained.found["feature"].iloc[0])
    effect = ask(study, tiny_model_folder, tmp_path, do="effect", features=(feature,), **question)
    assert set(effect.found["read_out"]) >= {"embedding"}
    drawn = ask(study, tiny_model_folder, tmp_path, do="overlay", features=(feature,), **question)
    assert [path.name for path in drawn.files] == [f"{feature}.tif", f"{feature}.png"]
    values = tifffile.imread(drawn.files[0])
    table = open_table(study / "analysis")
    rows = table[(table.obs[Keys.IMAGE].astype(str) == image).to_numpy(), feature]
    assert values.shape == (256, 256)
    assert np.nanmean(values) == pytest.approx(float(rows.to_df().to_numpy().mean()), rel=0.1)


def test_notes_and_lists_are_kept_for_the_model(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model_folder, tmp_path / "model")  # other tests take notes, too
    notes_of_model(str(model)).unlink(missing_ok=True)
    ask(
        study, model, tmp_path, do="note", features=("latent_00003",), name="threads",
        note="only in the periphery",
    )  # fmt: skip
    listed = ask(study, model, tmp_path, do="list", keep_list="few", n_shown=2)
    book = read_notes(notes_of_model(str(model)))
    assert book.names[3] == "threads"
    assert book.notes[3] == "only in the periphery"
    assert len(book.latents_of("few")) == 12
    assert len(listed.found) == 2
    with pytest.raises(TableError, match="about one feature"):
        ask(study, model, tmp_path, do="note", name="x")


def test_the_gallery_is_one_page_with_all_its_pictures(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    images = [study / "study" / "images"]
    result = ask(
        study, tiny_model_folder, tmp_path, do="gallery", images=images,
        features=("latent_00003",),
    )  # fmt: skip
    page = result.files[0].read_text(encoding="utf-8")
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) >= 3 * 4
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG")
    assert "latent 3" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # nothing is loaded from elsewhere
    assert "no picture" not in page
    other = (
        study
        / "study"
        / "images"
        / sorted(path.name for path in (study / "study" / "images").glob("*.tif"))[0]
    )
    half = ask(
        study, tiny_model_folder, tmp_path, do="gallery", images=[other],
        features=("latent_00003",),
    )  # fmt: skip
    page = half.files[0].read_text(encoding="utf-8")
    assert page.count(">no picture<") > 0
    assert "is not among" in page  # and the page says why
    plain = ask(study, tiny_model_folder, tmp_path, do="gallery", features=("latent_00003",))
    assert "No pictures" in plain.files[0].read_text(encoding="utf-8")


def test_thumbnails_are_the_patches_of_the_table(study: Path, tiny_model_folder: Path) -> None:
    table = read_table(study / "analysis" / "patches.h5ad")
    settings = _with_watershed(AnalyzeConfig(model=str(tiny_model_folder), device="cpu"))
    models = run(load_models(settings))
    library = ImageLibrary.open([study / "study" / "images"], settings)
    rows = [0, table.n_obs - 1]
    found = run(cut_thumbnails(table, rows, "latent_00002", library, models))
    for row in rows:
        expected = float(table[row, "latent_00002"].to_df().iloc[0, 0])
        assert found[row].activation.mean() == pytest.approx(expected, rel=0.05, abs=1e-4)
        assert found[row].patch_id == table.obs_names[row]
        assert found[row].channels.shape == found[row].seen.shape == (3, 128, 128)


def test_what_the_network_sees_does_not_depend_on_brightness(
    tiny_model_folder: Path, rng: np.random.Generator
) -> None:
    card = read_card(tiny_model_folder)
    pixels = rng.random((3, 16, 16)).astype(np.float32)
    brighter = pixels * np.array([0.3, 0.6, 0.9], np.float32)[:, None, None] + 0.1
    np.testing.assert_allclose(see(brighter, card), see(pixels, card), atol=1e-4)


def test_an_image_is_maximised_beside_real_patches(
    study: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    code = main(
        [
            "explore", str(study / "analysis"), "--out", str(tmp_path), "--model",
            str(tiny_model_folder), "--do", "maximize", "--features", "latent_00001",
            "--maximize.n-steps", "2", "--maximize.decays", "0.8", "--maximize.jitters-px", "4",
            "--maximize.n-seeds", "1", "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 0
    with np.load(tmp_path / "maximized_latent_00001.npz") as made:
        assert made["images"].shape == (1, 3, 128, 128)
        assert 0 <= made["percentile"][0] <= 100


def test_notes_of_bundled_models_lie_in_the_users_folder(tiny_model_folder: Path) -> None:
    assert notes_of_model(str(tiny_model_folder)).parent == tiny_model_folder
    assert "resources" not in notes_of_model("small").parts
