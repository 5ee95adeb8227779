"""What a model is evaluated on: patches, split, outcome, and the truth of a simulated study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from skimage.filters import gaussian, threshold_otsu
from skimage.io import imread

from napari_bio_superposition.core.errors import ModelError, TableError, list_choices
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.core.types import NUCLEI, BoolArray, FloatArray, IntArray
from napari_bio_superposition.evaluation.splits import Split, split_groups
from napari_bio_superposition.imaging.patch_config import PatchConfig
from napari_bio_superposition.imaging.patch_store import CLASS, STORE_FILE, PatchStore
from napari_bio_superposition.imaging.read import read_image
from napari_bio_superposition.imaging.simulate import FACTORS, SimulatedField, StudyFolder
from napari_bio_superposition.models.card import Card
from napari_bio_superposition.workflows.evaluate_config import EvaluateConfig
from napari_bio_superposition.workflows.training_data import build_patch_store
from napari_bio_superposition.workflows.training_data_config import TrainingDataConfig

QUANTITIES: Final = ("progression", *FACTORS, "mitochondria_share", "lysosomes_share", "n_nuclei")
"""What is true of a patch of the simulated study and should be found in features."""


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Patches with all that scores need.

    Parameters
    ----------
    store
        All patches.
    rows
        The chosen ones; everything below has one entry for each.
    obs
        Their table.
    train, test
        Positions among them that are learnt from, and scored on.
    split
        How these were dealt.
    outcome
        Number per patch, nan where unknown; ``None`` where there is none.
    truth
        Columns `QUANTITIES` where the images are a simulated study, else ``None``.
    study
        That study.
    notes
        What a reader has to know.
    """

    store: PatchStore
    rows: IntArray
    obs: pd.DataFrame
    train: IntArray
    test: IntArray
    split: Split
    outcome: FloatArray | None
    truth: pd.DataFrame | None
    study: StudyFolder | None
    notes: tuple[str, ...]

    @property
    def classes(self) -> Any:
        """Class of each patch."""
        return self.obs[CLASS].to_numpy(str)

    @property
    def groups(self) -> Any:
        """Well of each patch."""
        return self.obs[Keys.GROUP].to_numpy(str)

    @property
    def plates(self) -> Any:
        """Plate of each patch."""
        return self.obs[Keys.PLATE].to_numpy(str)

    @property
    def has_classes(self) -> bool:
        """Whether there is something to tell apart."""
        return len(set(self.classes) - {""}) > 1


def load_evaluation_data(
    folder: str | Path,
    table: str | Path | None,
    card: Card,
    config: EvaluateConfig,
    out: Path,
) -> Job[EvaluationData]:
    """Cut or open patches, choose some of each well, split the wells, and join what is known.

    Parameters
    ----------
    folder
        Images, a simulated study, or a store of patches.
    table
        CSV with lines, genotypes and so on; the study's own where omitted.
    card
        Card of the model or the encoder: roles, side and scaling of its patches.
    config
        Settings.
    out
        The store ``patches`` is made here where *folder* holds images.

    Raises
    ------
    ModelError
        Where a store was cut for another model.
    TableError
        Where the wells cannot be split, or the outcome has no such patches.
    """
    study = _find_study(Path(folder))
    store = yield from _open_store(Path(folder), table, card, config, out)
    rng = np.random.default_rng([config.seed, 0])
    rows = _choose_rows(store.obs, config.n_patches, rng)
    obs = store.obs.iloc[rows]
    has_classes = obs[CLASS].nunique() > 1
    shares = (1 - config.test_share, 0.0, config.test_share)
    split = split_groups(
        obs, config.split_unit, CLASS if has_classes else None, shares=shares, rng=rng
    )
    truth = None
    if study is not None:
        truth = yield from _read_truth(study, obs, store.info.side_px)
    notes = list(store.info.warnings)
    if split.leaking:
        notes.append("The split leaks: patches of one well are learnt from and scored on.")
    return EvaluationData(
        store=store,
        rows=rows,
        obs=obs,
        train=split.rows(obs, "train"),
        test=split.rows(obs, "test"),
        split=split,
        outcome=_read_outcome(config, obs, truth),
        truth=truth,
        study=study,
        notes=tuple(notes),
    )


def _open_store(
    folder: Path, table: str | Path | None, card: Card, config: EvaluateConfig, out: Path
) -> Job[PatchStore]:
    """Open the store that a folder is, or cut the patches of its images into one below *out*."""
    if (folder / STORE_FILE).is_file():
        store = PatchStore.open(folder)
        _check_store(store, card)
        return store
    study = _find_study(folder)
    if study is not None:
        folder, table = study.path / "images", table or study.path / "table.csv"
    settings = _data_config(card, config)
    return (yield from build_patch_store(folder, table, out / "patches", settings))


def _find_study(folder: Path) -> StudyFolder | None:
    """Return the simulated study that a folder, or the folder above its images, holds."""
    for place in (folder, folder.parent):
        if (place / "study.json").is_file() and (place / "truth").is_dir():
            return StudyFolder(place)
    return None


def _data_config(card: Card, config: EvaluateConfig) -> TrainingDataConfig:
    patches = replace(
        PatchConfig(),
        side_px=card.patch_side_px,
        intensity_scaling=card.intensity_scaling,
        low_percentile=card.low_percentile,
        high_percentile=card.high_percentile,
    )
    return TrainingDataConfig(
        channel_roles=card.channel_roles,
        class_column=config.class_column,
        reading=config.reading,
        patches=patches,
    )


def _check_store(store: PatchStore, card: Card) -> None:
    wanted = (card.channel_roles, card.patch_side_px, card.intensity_scaling)
    found = (store.roles, store.info.side_px, store.info.intensity_scaling)
    if wanted != found:
        raise ModelError(
            f"The store of patches {store.folder} has channels, side and scaling "
            f"{list_choices(found)}; the model {card.name!r} takes {list_choices(wanted)}. "
            "Give the folder of images instead: patches are then cut as the model needs them."
        )


def _choose_rows(obs: pd.DataFrame, n: int, rng: np.random.Generator) -> IntArray:
    """Return about as many rows of each well, *n* in all or everything."""
    order = rng.permutation(len(obs))
    turn = obs.iloc[order].groupby(Keys.GROUP).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:n]])


def _read_truth(study: StudyFolder, obs: pd.DataFrame, side: int) -> Job[pd.DataFrame]:
    """Return what is true of each patch, one image at a time."""
    parts = []
    images = obs[Keys.IMAGE].unique()
    for done, image in enumerate(images):
        rows = obs[obs[Keys.IMAGE] == image]
        origins = rows[[Keys.Y, Keys.X]].to_numpy(np.int64)
        truth = read_field_truth(study, str(image)).patch_truth(origins, side)
        parts.append(truth.set_index(rows.index))
        yield Progress("Reading the truth", done + 1, len(images), "images")
    return pd.concat(parts).loc[obs.index]


def read_field_truth(study: StudyFolder, image: str) -> SimulatedField:
    """Read the truth of one field of a simulated study; its pixels stay on disk."""
    nuclei, masks, cells = study.truth_paths(image)
    with np.load(masks, allow_pickle=False) as arrays:
        named = {name: arrays[name] for name in ("dead", "mitochondria", "lysosomes")}
    return SimulatedField(
        image=read_image(study.image_path(image)),
        labels=np.asarray(imread(nuclei), dtype=np.int32),
        cells=pd.read_csv(cells),
        **named,
    )


def _read_outcome(
    config: EvaluateConfig, obs: pd.DataFrame, truth: pd.DataFrame | None
) -> FloatArray | None:
    """Return the outcome from the user's table, else the simulated death, else nothing."""
    if config.outcome is None:
        known = truth is not None and config.outcome_column in truth
        return truth[config.outcome_column].to_numpy(float) if known and truth is not None else None
    values = _read_table(config.outcome)
    if config.outcome_column not in values:
        raise TableError(
            f"The table {config.outcome.name} has no column {config.outcome_column!r}; it has "
            f"{list_choices(values.columns)}. Choose one of these."
        )
    if not values.index.is_unique:
        raise TableError(
            f"The table {config.outcome.name} names {values.index[values.index.duplicated()][0]} "
            "more than once. Keep one row for each patch."
        )
    found = values[config.outcome_column].reindex(obs.index)
    if found.notna().sum() == 0:
        raise TableError(
            f"The table {config.outcome.name} names none of the {len(obs)} patches, for instance "
            f"{obs.index[0]}. Give the table that `analyze` made of the same images."
        )
    outcome: FloatArray = found.to_numpy(np.float32)
    return outcome


def _read_table(path: Path) -> pd.DataFrame:
    if path.suffix == ".h5ad":
        from napari_bio_superposition.features.table import read_table

        return pd.DataFrame(read_table(path).obs)
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(f"The table {path.name} cannot be read as CSV: {error}.") from error
    return table.set_index("patch_id" if "patch_id" in table else table.columns[0])


def spatial_masks(data: EvaluationData, sampled: IntArray) -> Job[Mapping[str, BoolArray]]:
    """Return masks on the grid of tokens for some patches, name to ``(patch, token)``.

    Each channel's bright pixels and the nuclei by Otsu's threshold over an image's patches; of a
    simulated study also its true nuclei and organelles.
    """
    obs = data.obs.iloc[sampled]
    masks: dict[str, list[BoolArray]] = {}
    numbers = np.arange(len(sampled))
    order = []
    for done, (image, part) in enumerate(obs.groupby(Keys.IMAGE, sort=False)):
        where = numbers[(obs[Keys.IMAGE] == image).to_numpy()]
        pixels = data.store.batch(data.rows[sampled[where]])
        found = _bright_masks(pixels, data.store.roles)
        if data.study is not None:
            found |= _true_masks(data.study, str(image), part, data.store.info.side_px)
        for name, mask in found.items():
            masks.setdefault(name, []).append(mask[:, ::2, ::2].reshape(len(where), -1))
        order.append(where)
        yield Progress("Masks for comparison", done + 1, obs[Keys.IMAGE].nunique(), "images")
    back = np.argsort(np.concatenate(order))
    return {name: np.concatenate(parts)[back] for name, parts in masks.items()}


def _bright_masks(pixels: FloatArray, roles: Sequence[str]) -> dict[str, BoolArray]:
    """Return where each channel is bright, by one threshold per image: ``(patch, side, side)``."""
    masks = {}
    for channel, role in enumerate(roles):
        smooth = np.stack([gaussian(patch, 1.0) for patch in pixels[:, channel]])
        name = "nuclei" if role == NUCLEI else f"{role}, bright"
        masks[name] = smooth > threshold_otsu(smooth)
    return masks


def _true_masks(
    study: StudyFolder, image: str, rows: pd.DataFrame, side: int
) -> dict[str, BoolArray]:
    field = read_field_truth(study, image)
    planes = {
        "nuclei, true": field.labels > 0,
        "dead nuclei, true": field.dead,
        "mitochondria, true": field.mitochondria,
        "lysosomes, true": field.lysosomes,
    }
    places = rows[[Keys.Y, Keys.X]].to_numpy(np.int64)
    return {
        name: np.stack([plane[y : y + side, x : x + side] for y, x in places])
        for name, plane in planes.items()
    }
