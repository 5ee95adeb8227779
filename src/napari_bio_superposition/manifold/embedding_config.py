"""Settings of the embeddings of patches. No computing, no scanpy."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from napari_bio_superposition.core.config import Range, check_fields
from napari_bio_superposition.core.errors import ConfigError, list_choices

Source: TypeAlias = Literal["features", "cnn"]


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """How patches are prepared and laid out in few dimensions."""

    source: Source = "features"
    """What is embedded: SAE features, or the CNN's own under the very same preprocessing."""

    min_firing_rate: Annotated[float, Range(0, 1)] = 1e-5
    """SAE features that fire on a smaller share of tokens are left out."""

    normalize_rows: bool = True
    """Whether each patch is scaled to unit length, so that density does not dominate."""

    log: Literal["median", "plain", "none"] = "median"
    """Logarithm of 1 + x: after division by the median positive value, so that it acts, or plainly
    as published (after row normalisation it does next to nothing), or none."""

    standardize: bool = True
    """Whether each feature is scaled to zero mean and unit variance over the patches."""

    standardize_within: str = ""
    """Column of obs within whose groups that is done, for instance plate: it takes out what differs
    between plates, and with it any class that is not on every plate. Empty: over all patches."""

    n_pcs: Annotated[int, Range(2, 500)] = 50
    """Principal components; fewer where there are fewer patches or features."""

    n_neighbors: Annotated[int, Range(2, 500)] = 15
    """Neighbours in the graph of patches; fewer where there are fewer patches."""

    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance in the graph of UMAP."""

    umap: bool = True
    """Whether UMAP is computed."""

    umap_input: Literal["pca", "rows"] = "pca"
    """What UMAP sees: principal components, or the scaled rows without logarithm, standardising
    and PCA, as published."""

    min_dist: Annotated[float, Range(0, 1)] = 0.3
    """How tightly UMAP packs points."""

    phate: Literal["auto", "always", "never"] = "auto"
    """Whether PHATE is computed: where the library phate is installed, always (it is an error
    where it is not), or never."""

    phate_knn: Annotated[int, Range(2, 500)] = 5
    """Neighbours that set the width of PHATE's kernel."""

    phate_decay: Annotated[float, Range(1, 1000)] = 40.0
    """How steeply PHATE's kernel falls."""

    phate_t: Annotated[int | None, Range(1, 1000)] = None
    """Diffusion time of PHATE; chosen from the data (von Neumann entropy) where none is given."""

    def __post_init__(self) -> None:
        check_fields(self)


PRESETS: Final = {
    "default": EmbeddingConfig(),
    "paper": EmbeddingConfig(
        log="plain",
        n_pcs=100,
        n_neighbors=15,
        metric="cosine",
        umap_input="rows",
        min_dist=0.2,
        phate_knn=5,
        phate_decay=120.0,
        phate_t=20,
    ),
}
"""``default`` is corrected; ``paper`` has the values of the published scripts, with a logarithm
that does nothing (sections 13 and 14 of the method specification)."""


def choose_preset(name: str) -> EmbeddingConfig:
    """Return the settings of a named preset.

    Raises
    ------
    ConfigError
        Where there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"There is no preset {name!r} of embeddings. Choose one of: {list_choices(PRESETS)}."
        )
    return PRESETS[name]
