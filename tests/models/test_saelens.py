"""Export in SAELens's layout and back: the same activations, and errors that say what is wrong."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_bio_superposition.core.errors import ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.card import SAE_KINDS
from napari_bio_superposition.models.inference import encode_patches
from napari_bio_superposition.models.sae_config import SaeConfig
from napari_bio_superposition.models.sae_kinds import create_sae
from napari_bio_superposition.models.saelens import (
    CFG_FILE,
    SAE_FILE,
    attach_sae,
    export_saelens,
    import_saelens,
)


def test_a_model_comes_back_the_same(tiny_model, tiny_patches, tmp_path):
    folder = export_saelens(tiny_model, tmp_path / "sae")
    cfg = json.loads((folder / CFG_FILE).read_text())
    assert (cfg["architecture"], cfg["d_in"], cfg["d_sae"]) == ("jumprelu", 16, 24)
    assert cfg["apply_b_dec_to_input"] is False
    assert cfg["metadata"]["preprocessing"]["centring"] == "dataset"
    imported = import_saelens(folder)
    joined = attach_sae(tiny_model.encoder, imported, imported.card)
    assert joined.card.sae_kind == "jumprelu"
    before = run(encode_patches(tiny_model, tiny_patches)).activations
    after = run(encode_patches(joined, tiny_patches)).activations
    torch.testing.assert_close(torch.from_numpy(after), torch.from_numpy(before))


@pytest.mark.parametrize("kind", SAE_KINDS)
def test_every_kind_is_folded_to_one_threshold(make_model, kind, tmp_path):
    model = make_model(sae_kind=kind)
    sae = create_sae(
        SaeConfig(kind=kind, n_latents=24, target_l0=4), 16, rng=torch.Generator().manual_seed(0)
    )
    tokens = torch.nn.functional.normalize(torch.randn(200, 16), dim=1)
    sae.calibrate(tokens, target_l0=4)
    object.__setattr__(model, "sae", sae.requires_grad_(False))
    imported = import_saelens(export_saelens(model, tmp_path / kind))
    torch.testing.assert_close(imported.sae.encode(tokens), sae.encode(tokens))


def test_the_layout_of_saelens_is_read_with_its_bias(tmp_path):
    chance = torch.Generator().manual_seed(0)
    tensors = {
        "W_enc": torch.randn(4, 6, generator=chance),
        "b_enc": torch.randn(6, generator=chance),
        "W_dec": torch.randn(6, 4, generator=chance),
        "b_dec": torch.randn(4, generator=chance),
    }
    save_file(tensors, tmp_path / SAE_FILE)
    cfg = {"architecture": "standard", "d_in": 4, "d_sae": 6, "apply_b_dec_to_input": True}
    (tmp_path / CFG_FILE).write_text(json.dumps(cfg))
    x = torch.randn(9, 4, generator=chance)
    by_hand = torch.relu((x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"])
    imported = import_saelens(tmp_path)
    torch.testing.assert_close(imported.sae.encode(x), by_hand, atol=1e-5, rtol=1e-5)
    assert imported.card is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "topk"}, "not known here"),
        ({"normalize_activations": "expected_average_only_in"}, "normalises its input"),
        ({"d_sae": 23}, "W_enc"),
    ],
)
def test_what_does_not_fit_is_said(tiny_model, tmp_path, change, message):
    folder = export_saelens(tiny_model, tmp_path / "sae")
    cfg = json.loads((folder / CFG_FILE).read_text())
    (folder / CFG_FILE).write_text(json.dumps(cfg | change))
    with pytest.raises(ModelError, match=message):
        import_saelens(folder)


def test_missing_files_and_full_folders_are_errors(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="no config"):
        import_saelens(tmp_path)
    folder = export_saelens(tiny_model, tmp_path / "sae")
    with pytest.raises(ModelError, match="not empty"):
        export_saelens(tiny_model, folder)
    tensors = load_file(folder / SAE_FILE)
    del tensors["threshold"]
    save_file(tensors, folder / SAE_FILE)
    with pytest.raises(ModelError, match="lack threshold"):
        import_saelens(folder)


def test_saelens_itself_reads_our_export_and_computes_the_same(tiny_model, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")  # not a dependency; see docs/sae-kinds.md
    theirs = sae_lens.SAE.load_from_disk(export_saelens(tiny_model, tmp_path / "sae"))
    assert theirs.cfg.architecture() == "jumprelu"
    assert theirs.cfg.metadata.preprocessing["centring"] == "dataset"
    tokens = torch.nn.functional.normalize(torch.randn(500, 16), dim=1)
    activations = tiny_model.sae.encode(tokens)
    assert 0 < (activations > 0).float().mean() < 1
    torch.testing.assert_close(theirs.encode(tokens), activations, atol=1e-6, rtol=1e-5)
    rebuilt = tiny_model.sae.decode(activations)
    torch.testing.assert_close(theirs(tokens), rebuilt, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["jumprelu", "gated", "standard"])
@pytest.mark.parametrize("centred", [True, False])
def test_what_saelens_itself_saves_computes_the_same_here(architecture, centred, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    cfg = {"architecture": architecture, "d_in": 16, "d_sae": 40, "apply_b_dec_to_input": centred}
    theirs = sae_lens.SAE.from_dict(cfg)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(std=0.5)
            if name == "threshold":
                parameter.abs_()
    theirs.save_model(tmp_path)
    ours = import_saelens(tmp_path).sae
    tokens = torch.randn(500, 16)
    torch.testing.assert_close(ours.encode(tokens), theirs.encode(tokens), atol=1e-5, rtol=1e-5)
    rebuilt = ours.decode(ours.encode(tokens))
    torch.testing.assert_close(rebuilt, theirs(tokens), atol=1e-5, rtol=1e-5)


def test_a_gated_sae_is_folded_and_a_missing_bias_is_subtracted(tmp_path):
    # One feature by hand: W 2, r_mag ln 3, b_mag 1, b_gate -1, b_dec 0.5 subtracted from x = 1.5:
    # the gate sees 2 - 1 > 0 and opens, the magnitude is 2 * 3 + 1; at x = 0.9 the gate is shut.
    tensors = {
        "W_enc": torch.tensor([[2.0]]),
        "r_mag": torch.tensor([3.0]).log(),
        "b_mag": torch.tensor([1.0]),
        "b_gate": torch.tensor([-1.0]),
        "W_dec": torch.tensor([[1.0]]),
        "b_dec": torch.tensor([0.5]),
    }
    save_file(tensors, tmp_path / SAE_FILE)
    cfg = {"architecture": "gated", "d_in": 1, "d_sae": 1}
    (tmp_path / CFG_FILE).write_text(json.dumps(cfg))
    sae = import_saelens(tmp_path).sae
    torch.testing.assert_close(sae.encode(torch.tensor([[1.5], [0.9]])), torch.tensor([[7.0], [0]]))
    (tmp_path / CFG_FILE).write_text(json.dumps(cfg | {"activation_fn_str": "topk"}))
    with pytest.raises(ModelError, match="topk"):
        import_saelens(tmp_path)
