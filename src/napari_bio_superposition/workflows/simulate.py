"""The simulated study as a job: from a seed to a folder."""

from pathlib import Path

import numpy as np

from napari_bio_superposition.core.progress import Job
from napari_bio_superposition.imaging.simulate import simulate_study, write_study
from napari_bio_superposition.workflows.demo_config import SimulateConfig


def simulate(config: SimulateConfig | None = None, out: Path = Path("study")) -> Job[Path]:
    """Write a simulated study; the same config gives the same bytes.

    Returns
    -------
    Path
        The folder: ``images/*.ome.tif``, ``truth/``, ``table.csv``, ``rna.h5ad``.
    """
    config = config or SimulateConfig()
    study = simulate_study(config, rng=np.random.default_rng(config.seed))
    yield from write_study(study, out)
    return out
