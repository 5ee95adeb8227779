"""Build the bundled model `small` from the simulated study: patches, encoder, SAE, measures, card.

Each stage keeps its result in the working folder and is skipped when that is there, so a killed run
goes on where it was: ``python scripts/build_small_model.py --work build/small``.
"""

import argparse
import dataclasses
import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_bio_superposition.core.progress import Job, Progress, run
from napari_bio_superposition.core.types import FloatArray
from napari_bio_superposition.features.rank_sum import rank_sums
from napari_bio_superposition.features.regions import tokens_in_region
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patches import extract_patches
from napari_bio_superposition.imaging.simulate import (
    GENOTYPES,
    SimulatedField,
    SimulationConfig,
    simulate_study,
)
from napari_bio_superposition.models.card import ModelCard
from napari_bio_superposition.models.catalogue import bundled_folder
from napari_bio_superposition.models.checkpoint import load_model, round_to_half, save_model
from napari_bio_superposition.models.encoder import PRESETS, Encoder, use_channels_last
from napari_bio_superposition.models.feature_model import FeatureModel
from napari_bio_superposition.models.inference import EncodedPatches, TokenCache, encode_patches
from napari_bio_superposition.models.sae_config import MatryoshkaConfig, SaeConfig
from napari_bio_superposition.models.sae_metrics import measure_sae
from napari_bio_superposition.models.sae_training import train_sae
from napari_bio_superposition.models.token_buffer import PatchRows, TokenMaker
from napari_bio_superposition.models.training import train_encoder
from napari_bio_superposition.models.training_config import CONTRASTIVE_PRESETS

T = TypeVar("T")
N_SAES = 4
ROLES = ("mitochondria", "lysosomes", "nuclei")  # the paper's order; the death dye never enters
SEED = 20_261_121
STUDY = SimulationConfig(n_plates=4, wells_per_class=4, nuclei_per_patch=9.5)
NEW_PLATES = SimulationConfig(n_plates=2, wells_per_class=2)
PATCHES = PatchConfig(intensity_scaling="field_percentile")
CONTRASTIVE = dataclasses.replace(  # half an hour on one core instead of GPU-hours
    CONTRASTIVE_PRESETS["small"], n_epochs=3, epoch_end="first_exhausted"
)
SAE = SaeConfig(
    kind="matryoshka",  # its first latents stand for whole structures (decision 0024)
    n_latents=512,
    target_l0=16,
    matryoshka=MatryoshkaConfig(shares=(10 / 512, 64 / 512, 1.0)),
    tokens_per_patch=512,
    n_epochs=3,
    batch_tokens=1024,
    learning_rate=5e-3,
)


def main() -> None:
    """Build the model and print what it is worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for intermediate results")
    parser.add_argument("--out", type=Path, default=bundled_folder() / "small")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument("--target-l0", type=float, default=SAE.target_l0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    config = dataclasses.replace(SAE, target_l0=options.target_l0)

    data = load_or_make_patches(options.work / "patches.npz", STUDY, SEED)
    new = load_or_make_patches(options.work / "new_plates.npz", NEW_PLATES, SEED + 3)
    encoder = load_or_train_encoder(options.work / "encoder.safetensors", data)
    model = train_best_sae(encoder, config, data)
    measurements = measure(model, data, new)
    card = dataclasses.replace(model.card, measurements=measurements)
    save_model(dataclasses.replace(model, card=card), options.out, half_precision=True)
    load_model(options.out)
    for name, value in measurements.items():
        print(f"{name:45s} {value}")


@dataclasses.dataclass(frozen=True, eq=False)
class Patches:
    """Accepted patches of the study with their class and whether their well is held out."""

    pixels: FloatArray
    classes: npt.NDArray[np.int64]
    wells: npt.NDArray[np.str_]
    held_out: npt.NDArray[np.bool_]

    def take(self, rows: npt.NDArray[np.bool_]) -> "Patches":
        """Return the patches at some rows."""
        return Patches(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))


def load_or_make_patches(path: Path, config: SimulationConfig, seed: int) -> Patches:
    """Simulate a study and cut it; the last well of each genotype on a plate is held out."""
    if not path.is_file():
        study = simulate_study(config, rng=np.random.default_rng(seed))
        last_well: dict[tuple[str, str], str] = {}
        for spec in study.specs:
            last_well[spec.plate, spec.genotype] = f"{spec.plate}/{spec.well}"
        pixels, classes, wells = [], [], []
        for number, field in enumerate(study, start=1):
            accepted = extract_patches(field.image, ROLES, PATCHES).accepted_pixels
            pixels.append(np.round(accepted * 65535).astype(np.uint16))
            where = field.image.acquisition
            classes += [GENOTYPES.index(where.genotype)] * len(accepted)
            wells += [where.group] * len(accepted)
            print(f"field {number} of {len(study)}: {len(accepted)} patches", flush=True)
        held_out = np.isin(wells, list(last_well.values()))
        arrays = {"classes": np.array(classes), "wells": np.array(wells), "held_out": held_out}
        np.savez(path, pixels=np.concatenate(pixels), **arrays)
    with np.load(path) as stored:
        scaled = stored["pixels"].astype(np.float32) / 65535
        return Patches(scaled, stored["classes"], stored["wells"], stored["held_out"])


def load_or_train_encoder(path: Path, data: Patches) -> Encoder:
    """Train the encoder on the wells that are not held out, and round its kernels to float16."""
    if not path.is_file():
        training = data.take(~data.held_out)
        job = train_encoder(
            training.pixels,
            training.classes,
            PRESETS["small"],
            CONTRASTIVE,
            rng=np.random.default_rng(SEED + 1),
        )
        network = timed("Training the encoder", job).network
        save_file({k: v.contiguous() for k, v in network.encoder.state_dict().items()}, path)
    encoder = Encoder(PRESETS["small"])
    encoder.load_state_dict(load_file(path))
    round_to_half(encoder)
    use_channels_last(encoder)
    return encoder.requires_grad_(False).eval()


def train_best_sae(encoder: Encoder, config: SaeConfig, data: Patches) -> FeatureModel:
    """Return the SAE of some seeds whose latents map the structures best, on development fields.

    Seeds differ in whether a structure gets a latent of its own (decision 0024). The fields that
    choose are not those that `measure` reports on.
    """
    training = data.take(~data.held_out)
    models = []
    for seed in range(N_SAES):
        job = train_sae(
            TokenMaker(encoder, CONTRASTIVE.normalization, config.tap, config.centring),
            PatchRows.of(training.pixels[:: max(1, len(training.pixels) // 1024)]),
            config,
            rng=np.random.default_rng([SEED, seed]),
            evaluation=PatchRows.of(data.take(data.held_out).pixels),
        )
        trained = timed(f"Training SAE {seed + 1} of {N_SAES}", job)
        round_to_half(trained.sae)
        models.append(FeatureModel(describe(config), encoder, trained.sae, trained.mean_token))
    worst = [min(measure_places(model, seed=SEED + 5).values()) for model in models]
    print(f"worst best latent of each seed, on development fields: {worst}", flush=True)
    return models[int(np.argmax(worst))]


def describe(config: SaeConfig) -> ModelCard:
    """Return the card without measurements."""
    shape = PRESETS["small"]
    return ModelCard(
        name="small",
        description=(
            "A small encoder and sparse autoencoder trained on simulated neuronal cultures. It is "
            "there to learn the tool and to run everything offline; train on your own images "
            "before drawing biological conclusions."
        ),
        channel_roles=ROLES,
        patch_side_px=PATCHES.side_px,
        pixel_size_um=STUDY.pixel_size_um,
        intensity_scaling=PATCHES.intensity_scaling,
        low_percentile=PATCHES.low_percentile,
        high_percentile=PATCHES.high_percentile,
        instance_normalization=CONTRASTIVE.normalization.mode,
        std_floor=CONTRASTIVE.normalization.std_floor,
        width=shape.width,
        blocks=shape.blocks,
        refine_blocks=shape.refine_blocks,
        tap=config.tap,
        centring=config.centring,
        sae_kind=config.kind,
        n_latents=config.n_latents,
        training_data=(
            f"Simulated study of this package, {STUDY.n_fields} fields of {STUDY.side_px} px, "
            f"seed {SEED}; one well of four per plate and genotype held out (of plates "
            "that the training saw). Simulated genotypes are far easier to tell than real ones."
        ),
        training={
            "study": dataclasses.asdict(STUDY),
            "encoder": dataclasses.asdict(CONTRASTIVE),
            "sae": dataclasses.asdict(config),
            "seed": SEED,
        },
        licence="BSD-3-Clause",
        created=dt.datetime.now(tz=dt.UTC).date().isoformat(),
    )


def measure(model: FeatureModel, data: Patches, new: Patches) -> dict[str, Any]:
    """Measure the model on held-out wells and on new plates; probes are fitted on the others."""
    train, test = data.take(~data.held_out), data.take(data.held_out)
    train = train.take(np.arange(len(train.pixels)) % 2 == 0)  # enough for a linear probe
    seen = timed("Encoding training patches", encode_patches(model, train.pixels)), train
    held = timed("Encoding held-out patches", encode_patches(model, test.pixels, keep_tokens=True))
    fresh = timed("Encoding new plates", encode_patches(model, new.pixels)), new
    if held.tokens is None:
        raise RuntimeError("The tokens were asked for.")
    metrics = measure_sae(model.sae, sample_tokens(held.tokens))
    return {
        "chance_accuracy": 1 / len(GENOTYPES),
        "held_out_wells": len(np.unique(test.wells)),
        "held_out_patches": len(test.pixels),
        **probe("sae", lambda encoded: encoded.activations, seen, (held, test)),
        **probe("cnn", lambda encoded: encoded.cnn, seen, (held, test)),
        "new_plates_wells": len(np.unique(new.wells)),
        "new_plates_patches": len(new.pixels),
        **probe("new_plates_sae", lambda encoded: encoded.activations, seen, fresh),
        **probe("new_plates_cnn", lambda encoded: encoded.cnn, seen, fresh),
        "l0": round(metrics.l0, 2),
        "active_token_share": round(metrics.active_token_share, 4),
        "fvu": round(metrics.fvu, 4),
        "alive_share": round(metrics.alive_share(), 4),
        **measure_places(model, seed=SEED + 4),
    }


def measure_places(model: FeatureModel, *, seed: int) -> dict[str, float]:
    """Return how well the best single latent maps each structure, on fields of a new study.

    The latent is chosen on half of the fields and judged on the others.
    """
    config = SimulationConfig(side_px=512, n_plates=1, wells_per_class=1)
    fields = list(simulate_study(config, rng=np.random.default_rng(seed)))
    activations = np.stack([encode_some_tokens(model, field) for field in fields])
    found = {}
    for name in ("mitochondria", "lysosomes", "nuclei"):
        inside = np.stack([places_in(field, name) for field in fields])
        first = rank_sums(activations[:2].reshape(-1, model.sae.n_latents), inside[:2].ravel())
        chosen = int(np.nanargmax(first.auroc))
        judged = rank_sums(activations[2:, :, [chosen]].reshape(-1, 1), inside[2:].ravel())
        found[f"best_latent_auroc_{name}"] = round(float(judged.auroc[0]), 4)
    return found


def encode_some_tokens(model: FeatureModel, field: SimulatedField, stride: int = 7) -> FloatArray:
    """Return activations of every seventh token of a field, ``(token, latent)``."""
    patches = extract_patches(field.image, ROLES, PATCHES)
    tokens = run(encode_patches(model, patches.pixels, keep_tokens=True)).tokens
    if tokens is None:
        raise RuntimeError("The tokens were asked for.")
    unit = torch.from_numpy(tokens.unit).flatten(0, 1)[::stride].float()
    with torch.no_grad():
        activations = model.sae.encode(unit).numpy()
    return np.asarray(activations * tokens.norms.ravel()[::stride, None])


def places_in(field: SimulatedField, name: str, stride: int = 7) -> npt.NDArray[np.bool_]:
    """Return which of these tokens lie on a structure, ``(token,)``."""
    truth = field.labels > 0 if name == "nuclei" else getattr(field, name)
    patches = extract_patches(field.image, ROLES, PATCHES)
    inside = tokens_in_region(patches.origins, patches.side, (patches.side // 2,) * 2, truth)
    return inside.ravel()[::stride]


def sample_tokens(tokens: TokenCache, stride: int = 16) -> torch.Tensor:
    """Return every 16th token of each patch, ``(token, width)`` float32."""
    return torch.from_numpy(tokens.unit[:, 5::stride]).float().flatten(0, 1)


def probe(
    name: str,
    select: Callable[[EncodedPatches], FloatArray],
    train: tuple[EncodedPatches, Patches],
    test: tuple[EncodedPatches, Patches],
) -> dict[str, float]:
    """Return the accuracy of a linear probe per patch, and per well by the mean probability."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    classifier.fit(select(train[0]), train[1].classes)
    chances = classifier.predict_proba(select(test[0]))
    data = test[1]
    right = chances.argmax(1) == data.classes
    wells = np.unique(data.wells)
    right_wells = [
        chances[data.wells == well].mean(0).argmax() == data.classes[data.wells == well][0]
        for well in wells
    ]
    return {
        f"{name}_probe_patch_accuracy": round(float(right.mean()), 4),
        f"{name}_probe_well_accuracy": round(float(np.mean(right_wells)), 4),
    }


def timed(title: str, job: Job[T]) -> T:
    """Run a job, print a line every ten seconds, and how long it took."""
    start = last = time.perf_counter()

    def report(progress: Progress) -> None:
        nonlocal last
        if time.perf_counter() - last > 10:
            last = time.perf_counter()
            elapsed = f"{last - start:5.0f} s"
            count = f"{progress.done}/{progress.total}"
            print(f"{elapsed}  {progress.step}  {count}  {progress.notice}", flush=True)

    result = run(job, report)
    print(f"{title}: {time.perf_counter() - start:.0f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
