"""Exchange with SAELens: ``cfg.json`` and ``sae_weights.safetensors``, folded to JumpReLU."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.core.files import replaced_folder
from napari_bio_superposition.core.json_text import to_json
from napari_bio_superposition.core.provenance import package_versions
from napari_bio_superposition.models.card import CARD_FILE, ModelCard, read_card
from napari_bio_superposition.models.encoder import Encoder
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.sae_jumprelu import JumpReluSAE

CFG_FILE: Final = "cfg.json"
SAE_FILE: Final = "sae_weights.safetensors"
_SAELENS_NAMES: Final = ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")
_READ: Final = ("jumprelu", "gated", "standard")
_LAYOUT: Final = "6.0.0"
"""Release of SAELens whose layout is written; without it, SAELens drops our metadata."""
_MEAN_TOKEN: Final = "mean_token.safetensors"  # a name, no secret


@dataclass(frozen=True, eq=False)
class ImportedSae:
    """An SAE of another layout: weights, and the card and mean token where they came along."""

    sae: JumpReluSAE
    card: ModelCard | None
    mean_token: Tensor | None

    def with_mean_token(self, mean_token: Tensor | None) -> "ImportedSae":
        """Return the same SAE with another centre."""
        return dataclasses.replace(self, mean_token=mean_token)


def export_saelens(model: FeatureModel, folder: Path) -> Path:
    """Write the SAE of a model in the layout that SAELens users know.

    Every kind is folded to a JumpReLU, which is what it is at inference, so that SAELens reads it
    as ``architecture: jumprelu``. The preprocessing (tap, gap scaling, centring, unit length) is
    no part of that layout: ``metadata`` of the config says what to do, the mean token lies beside.

    Parameters
    ----------
    model
        Its encoder is not exported; the card with its hash is.
    folder
        Made anew.

    Raises
    ------
    ModelError
        Where the folder is there and holds something.
    OutputError
        Where it cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ModelError(f"The folder {folder} is not empty. Choose another one.")
    jump, sae = model.sae.jump(), model.sae
    tensors = {
        "W_enc": jump.W,
        "b_enc": jump.b,
        "threshold": jump.threshold,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    with replaced_folder(folder) as part:
        (part / SAE_FILE).write_bytes(save(_plain(tensors)))
        if model.mean_token is not None:
            (part / _MEAN_TOKEN).write_bytes(save(_plain({"mean_token": model.mean_token})))
        text = to_json(describe_saelens(model.card), indent=2) + "\n"
        (part / CFG_FILE).write_text(text, encoding="utf-8")
        (part / CARD_FILE).write_text(model.card.to_json(), encoding="utf-8")
    return folder


def describe_saelens(card: ModelCard) -> dict[str, Any]:
    """Return the content of ``cfg.json``: what SAELens reads, and the preprocessing in words."""
    return {
        "architecture": "jumprelu",
        "d_in": card.width,
        "d_sae": card.n_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": _LAYOUT,
            "model_name": card.name,
            "hook_name": card.tap,
            "trained_as": card.sae_kind,
            "preprocessing": {**card.flags, "std_floor": card.std_floor},
            "preprocessing_steps": _explain_steps(card),
            "mean_token_file": _MEAN_TOKEN if card.centring == "dataset" else None,
            "model_weights_sha256": card.weights_sha256,
            "napari_bio_superposition": package_versions(),
        },
    }


def import_saelens(folder: Path) -> ImportedSae:
    """Read a JumpReLU, gated or standard (ReLU) SAE in SAELens's layout.

    Returns
    -------
    ImportedSae
        With card and mean token where `export_saelens` wrote the folder.

    Raises
    ------
    ModelError
        Where a file is missing, of another architecture, or does not fit the others, or the SAE
        wants its input treated in a way that tokens are not.
    """
    cfg = _read_cfg(folder / CFG_FILE)
    tensors = _read(folder / SAE_FILE)
    shape = (int(cfg["d_in"]), int(cfg["d_sae"]))
    if cfg["architecture"] == "standard":
        tensors.setdefault("threshold", torch.zeros(shape[1]))
    if cfg["architecture"] == "gated":
        tensors = _fold_gate(tensors)
    _check(tensors, shape, folder)
    if cfg.get("apply_b_dec_to_input", True):  # SAELens's default; (x - b) W = x W - b W
        tensors["b_enc"] = tensors["b_enc"] - tensors["b_dec"] @ tensors["W_enc"]
    sae = JumpReluSAE(*shape)
    sae.load_state_dict({name: tensors[name].float() for name in _SAELENS_NAMES})
    card = read_card(folder) if (folder / CARD_FILE).is_file() else None
    mean = folder / _MEAN_TOKEN
    mean_token = _read(mean)["mean_token"] if mean.is_file() else None
    return ImportedSae(sae.requires_grad_(False).eval(), card, mean_token)


def attach_sae(encoder: Encoder, imported: ImportedSae, card: ModelCard) -> FeatureModel:
    """Join an imported SAE with the encoder whose tokens it was trained on.

    Parameters
    ----------
    encoder
        In evaluation mode.
    imported
        From `import_saelens`.
    card
        Preprocessing; kind and size are set here.
    """
    fitting = dataclasses.replace(
        card, sae_kind="jumprelu", n_latents=imported.sae.n_latents, weights_sha256=""
    )
    return FeatureModel(fitting, encoder, imported.sae, imported.mean_token)


def _fold_gate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a gated SAE as one product and one threshold per latent; it must be complete.

    Its gate ``x W + b_gate > 0`` is ``y > b_mag - exp(r_mag) b_gate`` for the magnitude's
    ``y = x W exp(r_mag) + b_mag``.
    """
    if not {"W_enc", "r_mag", "b_mag", "b_gate"} <= set(tensors):
        return tensors  # what is missing is said by `_check`
    scale, bias = tensors["r_mag"].exp(), tensors["b_mag"]
    threshold = (bias - scale * tensors["b_gate"]).clamp_min(0)
    return tensors | {"W_enc": tensors["W_enc"] * scale, "b_enc": bias, "threshold": threshold}


def _explain_steps(card: ModelCard) -> list[str]:
    """Return what is done to an image before the SAE, in order."""
    centre = {
        "dataset": "subtract the mean token (file beside)",
        "image": "subtract the mean token of the image",
        "batch": "subtract the mean token of the batch",
        "none": "no centring",
    }
    after = "multiply activations by the length that the token had" if card.norm_restored else ""
    steps = [
        f"normalise each channel of the patch (instance, {card.instance_normalization})",
        f"run the encoder up to {card.tap}; each place of the map is a token",
        "divide all tokens of a map by the length of their mean",
        centre[card.centring],
        "divide each token by its length",
        "JumpReLU: a = y where y = x W_enc + b_enc exceeds threshold, else 0",
        after,
    ]
    return [step for step in steps if step]


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}


def _read_cfg(path: Path) -> dict[str, Any]:
    try:
        cfg = json.loads(path.read_text(encoding="utf-8"))
        known = {name: cfg[name] for name in ("architecture", "d_in", "d_sae")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is no config of SAELens ({error}). Give a folder with {CFG_FILE} and "
            f"{SAE_FILE}."
        ) from error
    activation = cfg.get("activation_fn", cfg.get("activation_fn_str", "relu"))
    if known["architecture"] not in _READ or activation != "relu":
        raise ModelError(
            f"The architecture {known['architecture']!r} ({activation}) of {path} is not known "
            f"here; {list_choices(_READ)} with relu are. Save a batch top-k SAE for inference in "
            "SAELens first, which folds it to jumprelu."
        )
    if cfg.get("normalize_activations", "none") not in ("none", None):
        raise ModelError(
            f"The SAE of {path} normalises its input ({cfg['normalize_activations']!r}). Fold that "
            "into its weights in SAELens first: tokens here are unit vectors already."
        )
    return dict(cfg)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Export it again.") from error


def _check(tensors: dict[str, Tensor], shape: tuple[int, int], folder: Path) -> None:
    width, n_latents = shape
    expected = {
        "W_enc": (width, n_latents),
        "b_enc": (n_latents,),
        "threshold": (n_latents,),
        "W_dec": (n_latents, width),
        "b_dec": (width,),
    }
    if missing := [name for name in _SAELENS_NAMES if name not in tensors]:
        raise ModelError(
            f"The weights of {folder} lack {list_choices(missing)}; they hold "
            f"{list_choices(sorted(tensors)[:8])}. Save the SAE for inference in SAELens."
        )
    for name, size in expected.items():
        if tuple(tensors[name].shape) != size or not tensors[name].isfinite().all():
            raise ModelError(
                f"The tensor {name} of {folder} is {tuple(tensors[name].shape)} or holds values "
                f"that are no finite numbers; {CFG_FILE} asks for {size}. Export it again."
            )
