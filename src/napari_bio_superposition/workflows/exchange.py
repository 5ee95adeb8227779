"""Models out to SAELens's layout and back in. The layout itself lives in ``models/saelens``."""

from dataclasses import replace
from pathlib import Path

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.models.card import CARD_FILE, ModelCard
from napari_bio_superposition.models.checkpoint import load_model, save_model
from napari_bio_superposition.models.saelens import attach_sae, export_saelens, import_saelens


def export_sae(model: str | Path, out: str | Path) -> Path:
    """Write the SAE of a model as ``cfg.json`` and ``sae_weights.safetensors``, and return *out*.

    Parameters
    ----------
    model
        A model by name or folder.
    out
        Folder, new or empty.
    """
    return export_saelens(load_model(model), Path(out))


def import_sae(
    folder: str | Path, model: str | Path, out: str | Path, *, name: str | None = None
) -> ModelCard:
    """Join an SAE in SAELens's layout with the encoder of a model, and write a complete model.

    Parameters
    ----------
    folder
        With ``cfg.json`` and ``sae_weights.safetensors``.
    model
        The model whose encoder, and whose preprocessing where the SAE brings no card, are used.
    out
        Folder of the new model.
    name
        Its name; that of the folder where omitted.

    Raises
    ------
    ConfigError
        Where there is a model in *out* already.
    ModelError
        Where SAE and encoder do not fit.
    """
    out = Path(out)
    if (out / CARD_FILE).is_file():
        raise ConfigError(f"There is a model in {out} already. Choose another folder.")
    imported, base = import_saelens(Path(folder)), load_model(model)
    mean_token = base.mean_token if imported.card is None else imported.mean_token
    joined = attach_sae(
        base.encoder,
        imported.with_mean_token(mean_token),
        replace(imported.card or base.card, name=name or out.resolve().name),
    )
    return save_model(joined, out)
