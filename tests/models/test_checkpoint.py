"""Models on disk: what is written is read back, and every kind of damage has its own message."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.card import CARD_FILE, WEIGHTS_FILE, ModelCard, read_card
from napari_bio_superposition.models.catalogue import find_model, list_models, user_folder
from napari_bio_superposition.models.checkpoint import load_model, round_to_half, save_model
from napari_bio_superposition.models.inference import encode_patches


@pytest.fixture
def saved(tiny_model, tmp_path):
    """Return the folder of a saved model."""
    save_model(tiny_model, tmp_path / "tiny")
    return tmp_path / "tiny"


def edit_card(folder, **changes):
    """Change fields of a card; ``None`` as a name's value removes it."""
    values = json.loads((folder / CARD_FILE).read_text())
    values |= changes
    (folder / CARD_FILE).write_text(json.dumps({k: v for k, v in values.items() if v != "DROP"}))


def edit_weights(folder, change):
    """Change the tensors of a model without its card noticing."""
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file(change(tensors), folder / WEIGHTS_FILE)
    edit_card(folder, weights_sha256="")


def test_a_model_is_read_back(tiny_model, tiny_patches, saved):
    loaded = load_model(saved)
    before = run(encode_patches(tiny_model, tiny_patches))
    after = run(encode_patches(loaded, tiny_patches))
    np.testing.assert_allclose(after.activations, before.activations, rtol=1e-4, atol=1e-6)
    assert loaded.card.weights_sha256
    assert {path.name for path in saved.iterdir()} == {CARD_FILE, WEIGHTS_FILE}
    assert not any(p.requires_grad for p in loaded.encoder.parameters())


def test_a_model_in_use_does_not_follow_its_file(saved):
    model = load_model(saved)
    before = model.sae.W_dec.clone()
    path = saved / WEIGHTS_FILE
    with path.open("rb+") as stream:  # in place, as a copy over it would
        stream.seek(-64, 2)
        stream.write(bytes(64))
        stream.seek(path.stat().st_size // 2)
        stream.write(bytes(path.stat().st_size // 4))
    assert torch.equal(model.sae.W_dec, before)
    with pytest.raises(ModelError, match="damaged"):
        load_model(saved)


def test_a_model_replaces_a_model_and_nothing_else(tiny_model, saved, tmp_path):
    before = (saved / CARD_FILE).read_text()
    save_model(tiny_model, saved, half_precision=True)
    assert (saved / CARD_FILE).read_text() != before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    (saved / "thesis.txt").write_text("five years of work")
    with pytest.raises(ModelError, match=r"also holds thesis\.txt"):
        save_model(tiny_model, saved)
    assert (saved / "thesis.txt").exists()


@pytest.mark.parametrize("centring", ["image", "batch", "none"])
def test_only_dataset_centring_stores_a_mean_token(make_model, tmp_path, centring):
    folder = tmp_path / "model"
    save_model(make_model(centring=centring), folder)
    assert load_model(folder).mean_token is None
    assert "mean_token" not in load_file(folder / WEIGHTS_FILE)


def test_half_precision_halves_the_file_and_keeps_rounded_weights(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "single")
    round_to_half(tiny_model.encoder)
    round_to_half(tiny_model.sae)
    save_model(tiny_model, tmp_path / "half", half_precision=True)
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("single", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    loaded = load_model(tmp_path / "half")
    assert torch.equal(loaded.sae.W_mag, tiny_model.sae.W_mag)
    assert loaded.sae.W_mag.dtype == torch.float32
    for name, tensor in tiny_model.encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / CARD_FILE).unlink(), "card.json is missing"),
        (lambda f: (f / WEIGHTS_FILE).unlink(), "model.safetensors are missing"),
        (lambda f: (f / CARD_FILE).write_text("{"), "not JSON"),
        (lambda f: (f / CARD_FILE).write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda f: (f / CARD_FILE).write_text("[1]"), "not a model card"),
        (lambda f: edit_card(f, format=99), "format 1"),
        (lambda f: edit_card(f, colour="red"), "unknown fields colour"),
        (lambda f: edit_card(f, width="DROP"), "lacks width"),
        (lambda f: edit_card(f, width="wide"), "whole number"),
        (lambda f: edit_card(f, width=16.0), "whole number"),
        (lambda f: edit_card(f, norm_restored=1), "true or false"),
        (lambda f: edit_card(f, name=None), "text"),
        (lambda f: edit_card(f, training=None), "object"),
        (lambda f: edit_card(f, tap="stage4"), "stage5_mid, stage5_out, refine_out"),
        (lambda f: edit_card(f, tap=["stage5_out"]), "one of"),
        (lambda f: edit_card(f, channel_roles="nuclei"), "list of str"),
        (lambda f: edit_card(f, channel_roles=["nuclei", "nuclei"]), "each once"),
        (lambda f: edit_card(f, blocks=[1, 1]), "four"),
        (lambda f: edit_card(f, std_floor=float("nan")), "NaN is no JSON number"),
        (lambda f: edit_card(f, weights_sha256="0" * 64), "SHA-256"),
        (lambda f: edit_card(f, n_latents=25), r"sae\.\w+ .* asks for"),
        (lambda f: edit_card(f, centring="image"), "unknown mean_token"),
    ],
)
def test_every_damage_has_a_message(saved, damage, message):
    damage(saved)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"extra": torch.ones(1)}, "unknown extra"),
        (lambda t: {k: v for k, v in t.items() if k != "sae.b_dec"}, "lack sae.b_dec"),
        (lambda t: t | {"sae.b_dec": torch.full((16,), torch.nan)}, "no finite numbers"),
        (lambda t: t | {"sae.b_dec": torch.ones(16, dtype=torch.int32)}, "no finite numbers"),
        (lambda t: t | {"sae.b_dec": torch.ones(4, 4)}, "shape"),
    ],
)
def test_every_wrong_tensor_has_a_message(saved, change, message):
    edit_weights(saved, change)
    with pytest.raises(ModelError, match=message):
        load_model(saved)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("n_bytes", [0, 5, 200, 4000])
def test_truncated_weights(saved, n_bytes, checked):
    path = saved / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:n_bytes])
    if not checked:
        edit_card(saved, weights_sha256="")
    with pytest.raises(ModelError, match="Copy the model again"):
        load_model(saved)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = st.sampled_from(["name", "width", "blocks", "tap", "channel_roles", "training", "x"])


@settings(max_examples=80, deadline=None)
@given(changes=st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_json_gives_a_card_or_one_clear_error(changes):
    values = json.loads(
        ModelCard(
            name="x", channel_roles=("nuclei",), width=16, blocks=(1, 1, 1, 1), n_latents=4
        ).to_json()
    )
    try:
        card = ModelCard.from_json(json.dumps(values | changes))
    except ModelError:
        return
    assert ModelCard.from_json(card.to_json()) == card


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_no_card(text):
    with pytest.raises(ModelError):
        ModelCard.from_json(text)


def test_a_card_checks_itself():
    with pytest.raises(ConfigError, match="high_percentile"):
        ModelCard(
            name="x",
            channel_roles=("nuclei",),
            width=16,
            blocks=(1, 1, 1, 1),
            n_latents=4,
            low_percentile=99.95,
        )


def test_the_flags_name_the_preprocessing(tiny_model):
    assert tiny_model.card.flags == {
        "tap": "stage5_out",
        "centring": "dataset",
        "norm_restored": True,
        "intensity_scaling": "dtype",
        "instance_normalization": "clamp",
    }


def test_models_are_found_by_name_or_folder(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if tmp_path not in user_folder().parents:
        pytest.skip("the user's folder is not set by XDG_DATA_HOME on this system")
    save_model(tiny_model, user_folder() / "mine")
    assert "mine" in list_models()
    assert find_model("mine") == user_folder() / "mine"
    assert find_model(user_folder() / "mine") == user_folder() / "mine"
    assert read_card(find_model("mine")).name == "tiny"
    with pytest.raises(ModelError, match="mine"):
        find_model("no-such-model")


def test_a_model_whose_parts_do_not_fit_is_refused(tiny_model, make_model):
    other = make_model(n_latents=30)
    with pytest.raises(ModelError, match="16 x 30"):
        type(tiny_model)(tiny_model.card, tiny_model.encoder, other.sae, tiny_model.mean_token)
    with pytest.raises(ModelError, match="mean token is missing"):
        type(tiny_model)(tiny_model.card, tiny_model.encoder, tiny_model.sae)


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0name", "~no-such-user-here/model"])
def test_a_name_that_no_file_system_takes_is_no_model(name):
    with pytest.raises(ModelError, match="neither a folder"):
        find_model(name)
