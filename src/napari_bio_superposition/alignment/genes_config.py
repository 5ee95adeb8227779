"""Settings of gene prediction: targets, regressors, nulls, controls. No computing, no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices

__all__ = ["CONTROLS", "REGRESSORS", "GenePredictionConfig"]

REGRESSORS = ("ridge", "xgboost", "mlp")
CONTROLS = ("geometry", "swapped", "expression", "held_out", "features", "plates", "split_cells")


@dataclass(frozen=True, kw_only=True)
class GenePredictionConfig:
    """How genes are predicted from images, and what the prediction is compared with."""

    target: Literal["log", "denoised"] = "log"
    """Expression whose mean over the coupled RNA cells is predicted: log counts, or scVI's."""

    max_genes: Annotated[int, Range(1, 50_000, unit="genes", step=500)] = 3000
    """Genes that are tested: the variable ones, at most this many."""

    regressors: tuple[str, ...] = ("ridge",)
    """Any of ridge (genes; the default table), xgboost (latent dimensions; extra `genes`) and mlp
    (genes)."""

    n_components: Annotated[int, Range(2, 1000)] = 100
    """Principal components of the image features behind ridge and mlp, fitted inside each fold."""

    n_components_xgboost: Annotated[int, Range(2, 1000)] = 30
    """The same behind xgboost."""

    n_folds: Annotated[int, Range(2, 50)] = 5
    """Folds; wells are never split between them. Fewer where there are fewer wells."""

    n_permutations: Annotated[int, Range(10, 100_000)] = 200
    """Permutations of the coupling within each class behind z and p of ridge."""

    n_permutations_slow: Annotated[int, Range(2, 1000)] = 20
    """The same for xgboost and mlp."""

    permute_within: Literal["class", "plate"] = "class"
    """Permute the coupling within classes, or within the plates of each class."""

    max_epochs: Annotated[int, Range(1, 10_000, unit="epochs")] = 200
    """Most epochs of mlp."""

    patience: Annotated[int, Range(1, 1000, unit="epochs")] = 50
    """Epochs without a better inner validation loss after which mlp stops."""

    controls: tuple[str, ...] = CONTROLS
    """Controls to run beside the table; each that is left out is named in the result."""

    control_permutations: Annotated[int, Range(10, 10_000)] = 50
    """Permutations behind z in the controls."""

    held_out_folds: Annotated[int, Range(2, 10)] = 2
    """Parts of the wells, each coupled without the others, of the control `held_out`."""

    n_extended: Annotated[int, Range(1, 200)] = 15
    """Coupled patches whose mean is the target of a patch of a held-out well."""

    max_plates: Annotated[int, Range(2, 100)] = 4
    """Plates, the largest ones, on which everything is repeated."""

    min_patches: Annotated[int, Range(10, 100_000)] = 40
    """Classes, plates and parts with fewer patches are left out, and named."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, chosen, valid in (
            ("regressors", self.regressors, REGRESSORS),
            ("controls", self.controls, CONTROLS),
        ):
            unknown = set(chosen) - set(valid)
            if unknown:
                raise ConfigError(
                    f"GenePredictionConfig.{name} has {list_choices(sorted(unknown))}. Choose "
                    f"among: {list_choices(valid)}."
                )
        if "ridge" not in self.regressors:
            raise ConfigError(
                "GenePredictionConfig.regressors has no ridge, on which the table of genes is "
                "built. Add it."
            )
