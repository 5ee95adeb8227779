"""Which patches train, choose and test: the frozen split of a training. No networks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_bio_superposition.core.errors import TableError, list_choices
from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.types import IntArray
from napari_bio_superposition.evaluation.splits import Split, split_groups
from napari_bio_superposition.imaging.patch_store import CLASS, PatchStore
from napari_bio_superposition.models.sampling import code_levels
from napari_bio_superposition.workflows.train_encoder_config import TrainEncoderConfig

SPLIT = "split.json"


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A store with its split: which rows train, choose and test, and what to know of them."""

    store: PatchStore
    split: Split
    train: IntArray
    validation: IntArray
    test: IntArray
    has_classes: bool
    notes: tuple[str, ...]

    @classmethod
    def prepare(cls, store: PatchStore, split: Split, config: TrainEncoderConfig) -> "TrainingData":
        """Find the rows of each part; patches without a class are left out where there are any."""
        has_classes = len(store.classes) > 1
        usable = store.obs[CLASS].ne("").to_numpy() if has_classes else np.ones(len(store), bool)
        parts = [split.rows(store.obs, part) for part in ("train", "validation", "test")]
        train, validation, test = (rows[usable[rows]] for rows in parts)
        if not len(train):
            raise TableError(
                f"None of the {len(store)} patches belongs to the training part of {SPLIT}. "
                "Remove that file to split anew, or use the images that it was made for."
            )
        notes = list(store.info.warnings)
        if failed := store.info.failures:
            notes.append(f"{len(failed)} images gave no patches: {list_choices(list(failed)[:5])}.")
        if not usable.all():
            notes.append(f"{(~usable).sum()} patches have no class and are left out.")
        if not has_classes or config.contrastive.supervision == "none":
            notes.append(
                "Training without classes: only two views of the same patch count as alike (MoCo)."
            )
        if split.leaking:
            notes.append(
                "The split leaks: patches of one well are trained on and tested with. Its scores "
                "are too good; split by wells for figures that hold on new ones."
            )
        return cls(store, split, train, validation, test, has_classes, tuple(notes))

    def levels(self) -> IntArray:
        """Return class, line and plate of the training patches as codes, ``(n, 3)``."""
        obs = self.store.obs.iloc[self.train]
        return code_levels([obs[name].tolist() for name in (CLASS, Keys.LINE, Keys.PLATE)])

    def classes(self, rows: IntArray) -> list[str]:
        """Return the class of some rows."""
        names: list[str] = self.store.obs[CLASS].iloc[rows].tolist()
        return names

    def wells(self, rows: IntArray) -> list[str]:
        """Return the well of some rows."""
        names: list[str] = self.store.obs[Keys.GROUP].iloc[rows].tolist()
        return names


def freeze_split(store: PatchStore, config: TrainEncoderConfig, out: Path) -> Split:
    """Return the split of ``split.json`` in *out*, which is made where it is missing."""
    path = out / SPLIT
    if not path.is_file():
        held_out = config.validation_share + config.test_share
        labelled = store.obs[store.obs[CLASS] != ""] if store.classes else store.obs
        split = split_groups(
            labelled,
            config.split_unit,
            CLASS if len(store.classes) > 1 else None,
            (1 - held_out, config.validation_share, config.test_share),
            rng=np.random.default_rng(config.split_seed),
        )
        with replaced_file(path) as part:
            part.write_text(split.to_json(), encoding="utf-8")
    return Split.from_json(path.read_text(encoding="utf-8"))
