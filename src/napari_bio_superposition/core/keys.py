"""Names of everything we put into an `AnnData`: rows are patches, columns are SAE features.

Names of `scanpy` are kept as scanpy writes them, so that a scanpy user can go on.
"""

from typing import Final


class Keys:
    """Keys of a feature table; ``adata.obs[Keys.PLATE]`` and so on."""

    # obs: identity
    IMAGE: Final = "image_id"
    PLATE: Final = "plate"
    WELL: Final = "well"
    FIELD: Final = "field"
    LINE: Final = "line"
    GENOTYPE: Final = "genotype"
    TREATMENT: Final = "treatment"
    GROUP: Final = "group"
    """The unit of inference: plate/well, or the image where the well is unknown."""
    Y: Final = "y"
    """Row of the top-left pixel of the patch."""
    X: Final = "x"

    # obs: measurements
    N_NUCLEI: Final = "n_nuclei"
    """Nuclei whose centroid lies in the patch."""
    NUCLEAR_AREA: Final = "nuclear_area_px"
    DEATH_ELIGIBLE: Final = "death_eligible"
    """Whether the patch has enough nuclear area for a death rate."""
    DEATH: Final = "dead_area_rate"
    """Share of nuclear area above the threshold: the default label (science rule 5)."""
    DEATH_INTENSITY: Final = "dead_intensity_rate"
    DEATH_PER_PIXEL: Final = "dead_intensity_per_pixel"
    DEATH_THRESHOLD: Final = "death_threshold"

    # obs: the user's choices
    GROUP_PREFIX: Final = "group_"
    """Begin of the boolean columns that say whether a patch belongs to a saved group."""

    # obs: trajectory, as scanpy names it
    PSEUDOTIME: Final = "dpt_pseudotime"
    """Diffusion pseudotime; not finite where the root cannot be reached. Of a pair of groups:
    ``dpt_pseudotime_GROUP``, missing for all other patches."""
    LEIDEN: Final = "leiden"
    STAGE: Final = "stage"
    """Early, middle or late third of pseudotime, of the patches that were tested."""

    # obsm
    SPATIAL: Final = "spatial"
    """Centre of the patch ``(x, y)``, micrometre (pixels where the pixel size is unknown)."""
    CNN: Final = "X_cnn"
    """Mean CNN features under the same preprocessing as the SAE's input (science rule 3)."""
    PCA: Final = "X_pca"
    UMAP: Final = "X_umap"
    PHATE: Final = "X_phate"
    DIFFMAP: Final = "X_diffmap"

    # var
    FIRING_RATE: Final = "firing_rate"
    """Share of tokens on which the latent is active, over all patches of the table."""
    MEAN_ACTIVATION: Final = "mean_activation"
    MAX_ACTIVATION: Final = "max_activation"
    ACTIVE_RMS: Final = "active_rms"
    """Root mean square of the activation over the tokens on which the latent is active."""
    """Largest activation at any place."""

    # uns
    PROVENANCE: Final = "bio_superposition"
    """JSON text: config, versions, seed, input and model hashes, preprocessing flags."""
    EMBED: Final = "bio_superposition_embed"
    """JSON text: settings of layouts, trajectory and statistics, versions, chosen wells."""


def feature_name(latent: int) -> str:
    """Return the column name of an SAE latent: ``latent_00042``."""
    return f"latent_{latent:05d}"


def latent_of(feature: str) -> int:
    """Return the latent behind a column name; the inverse of `feature_name`."""
    return int(feature.removeprefix("latent_"))
