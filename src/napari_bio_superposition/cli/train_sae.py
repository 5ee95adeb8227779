"""``bio-superposition train-sae MODEL FOLDER --out MODEL --kind batch_topk --target-l0 32``."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from napari_bio_superposition.cli.parse import Common, find_option, parse_command
from napari_bio_superposition.cli.reporting import Reporter
from napari_bio_superposition.core.errors import ConfigError, list_choices
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.sae_config import SAE_PRESETS, SaeConfig
from napari_bio_superposition.workflows.train_sae_config import TrainSaeConfig

_SPARSITY_FLAGS = ("--sae.target-l0", "--sae.sparsity", "--sae.paper-lambda")


@dataclass(frozen=True, kw_only=True)
class TrainSaeCommand:
    """Train a sparse autoencoder on the tokens of an encoder; writes a model for analyze --model.

    The prefix sae. may be left out: --kind, --n-latents, --target-l0, --sparsity, --paper-lambda.
    Sparsity is asked for in one way: active latents per token, or a coefficient summed over
    features, or the published lambda. Stopped, it goes on with --resume.
    """

    model: tyro.conf.Positional[str]
    """Folder that train-encoder wrote, or a complete model by name or folder."""

    folder: tyro.conf.Positional[tuple[Path, ...]]
    """Images, folders of images, Harmony export folders, or one store of patches."""

    table: Path | None = None
    """CSV with a column image, or plate and well: what the file names do not say."""

    out: Path
    """Folder of the new model."""

    preset: Literal["default", "small", "paper"] = "default"
    """Settings to start from: the defaults, a quick run on a processor, or the published recipe."""

    resume: bool = False
    """Go on with an unfinished training of the same settings."""

    settings: Annotated[TrainSaeConfig, tyro.conf.arg(name="")]
    common: Common


def run_command(argv: Sequence[str]) -> int:
    """Run the command."""
    words = add_prefix(argv)
    base = preset_settings(find_option(words, "--preset") or "default", words)
    command = parse_command(TrainSaeCommand, TrainSaeConfig, "train-sae", words, base)
    from napari_bio_superposition.workflows.train_sae import train_sae_model

    images = command.folder[0] if len(command.folder) == 1 else command.folder
    with Reporter(as_json=command.common.json) as reporter:
        job = train_sae_model(
            command.model,
            images,
            command.settings,
            command.out,
            table=command.table,
            resume=command.resume,
        )
        report = run(job, reporter)
        values = {"out": str(command.out), **report.as_plain()}
        reporter.result([*report.as_lines(), f"Written to {command.out}"], values)
    return 0


def preset_settings(name: str, words: Sequence[str]) -> TrainSaeConfig:
    """Return the settings that a preset starts from; a sparsity in *words* replaces its own.

    Raises
    ------
    ConfigError
        Where there is none of this name.
    """
    if name == "default":
        return TrainSaeConfig()
    if name not in SAE_PRESETS:
        raise ConfigError(
            f"No preset {name!r}. Choose one of: {list_choices(['default', *SAE_PRESETS])}."
        )
    sae = SAE_PRESETS[name]
    if any(word.split("=")[0] in _SPARSITY_FLAGS for word in words):
        sae = dataclasses.replace(sae, target_l0=None, sparsity=None, paper_lambda=None)
    return TrainSaeConfig(sae=sae)


def add_prefix(argv: Sequence[str]) -> list[str]:
    """Write the flags of `SaeConfig` with the prefix ``sae.``, with which tyro knows them."""
    own = {field.name.replace("_", "-") for field in dataclasses.fields(SaeConfig)}
    words = []
    for word in argv:
        name = word.removeprefix("--").split("=")[0].split(".")[0].replace("_", "-")
        is_own = word.startswith("--") and name in own
        words.append(f"--sae.{word.removeprefix('--')}" if is_own else word)
    return words
