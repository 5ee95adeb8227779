"""Checkpoints in the authors' layout, and files that only pretend to be some."""

import pickle

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.encoder import normalize_weights
from napari_bio_superposition.models.inference import encode_patches
from napari_bio_superposition.models.published import import_published


@pytest.fixture
def model(make_model):
    """Return a model with the published centring."""
    return make_model(centring="image")


@pytest.fixture
def files(model, tmp_path):
    """Return an encoder and an SAE checkpoint as the authors save them."""
    encoder = {f"encoder.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    encoder["projector.0.weight"] = torch.ones(4, 4)
    torch.save({"model_q": encoder, "epoch": 3, "queue": torch.ones(2)}, tmp_path / "encoder.pt")
    torch.save(model.sae.state_dict(), tmp_path / "sae.pt")
    return tmp_path / "encoder.pt", tmp_path / "sae.pt"


def check_same(imported, model, patches):
    expected = run(encode_patches(model, patches))
    found = run(encode_patches(imported, patches))
    np.testing.assert_allclose(found.activations, expected.activations, rtol=1e-3, atol=1e-5)


def test_the_query_network_and_the_sae_load(files, model, tiny_patches):
    check_same(import_published(*files, model.card), model, tiny_patches)


def test_weights_are_normalised_once_more(files, model, tiny_patches):
    state = torch.load(files[0], weights_only=True)
    state["model_q"] = {
        name: tensor * 1.7 if tensor.ndim > 1 else tensor
        for name, tensor in state["model_q"].items()
    }
    torch.save(state, files[0])
    normalize_weights(model.encoder)
    check_same(import_published(*files, model.card), model, tiny_patches)


def test_wrappers_and_aliases_of_stages_are_understood(files, model, tiny_patches):
    state = torch.load(files[0], weights_only=True)["model_q"]
    stages = ("stem", "stage2", "stage3", "stage4", "stage5", "refine")
    aliases = {}
    for name, tensor in state.items():
        for index, stage in enumerate(stages):
            name = name.replace(f"encoder.{stage}.", f"encoder.trunk.{index}.")
        aliases[f"module.{name}"] = tensor
    torch.save({f"module.{n}": t for n, t in state.items()} | aliases, files[0])
    check_same(import_published(*files, model.card), model, tiny_patches)


def test_a_missing_file(files, model, tmp_path):
    with pytest.raises(ModelError, match="no checkpoint"):
        import_published(tmp_path / "absent.pt", files[1], model.card)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken"])
def test_a_damaged_file(files, model, content):
    files[0].write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read safely"):
        import_published(*files, model.card)


class Malicious:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_file_that_carries_code_is_refused(files, model, save):
    save({"model_q": Malicious()}, files[0])
    with pytest.raises(ModelError, match="cannot be read safely"):
        import_published(*files, model.card)


def test_files_of_another_kind(files, model):
    with pytest.raises(ModelError, match=r"no tensor named encoder\.\*"):
        import_published(files[1], files[1], model.card)
    with pytest.raises(ModelError, match="not a tied gated SAE"):
        import_published(files[0], files[0], model.card)
    torch.save([1, 2], files[0])
    with pytest.raises(ModelError, match="no state dict"):
        import_published(*files, model.card)


def test_another_shape_names_the_tensor(files, make_model):
    with pytest.raises(ModelError, match=r"sae\.W_mag|sae\.b_mag"):
        import_published(*files, make_model(centring="image", n_latents=30).card)
