"""The latent space and the denoised expression of scVI (extra `scvi`). Imported only when used."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_bio_superposition.core.errors import MissingExtraError
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.transcriptome.batches import Batch, choose_batch
from napari_bio_superposition.transcriptome.config import LatentConfig

if TYPE_CHECKING:
    import anndata

LATENT = "X_scVI"
DENOISED = "denoised"
_BATCH = "_batch"


def add_scvi(
    table: "anndata.AnnData", config: LatentConfig, *, device: str, rng: np.random.Generator
) -> Job[list[str]]:
    """Train scVI on the variable genes and add latent and denoised expression; return notes.

    Negative-binomial likelihood; batch, categorical and continuous covariates as in section 16.1
    of the method specification. Training cannot be cancelled between its first and last epoch.

    Raises
    ------
    MissingExtraError
        Where scvi-tools is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import scvi
    except ImportError as error:
        raise MissingExtraError("scvi-tools", "scvi", "A scVI latent space") from error
    batch = choose_batch(table, config)
    yield Progress("Training scVI", 0, config.max_epochs, "epochs")
    with _quiet(), _seeded(int(rng.integers(2**31 - 1))):
        model = _train(scvi, table, batch, config, device)
        yield Progress("Reading scVI", config.max_epochs, config.max_epochs, "epochs")
        table.obsm[LATENT] = np.asarray(model.get_latent_representation(), dtype=np.float32)
        genes = table.var_names[table.var["highly_variable"]]
        table.obsm[DENOISED] = pd.DataFrame(
            _denoise(model, batch, config), index=table.obs_names, columns=genes
        )
    epochs = model.trainer.current_epoch
    removed = " x ".join(batch.columns) or "no batch"
    note = f"scVI: {epochs} epochs, batch: {removed}."
    return [note, batch.note] if batch.note else [note]


def _train(scvi: Any, table: Any, batch: Batch, config: LatentConfig, device: str) -> Any:
    part = table[:, table.var["highly_variable"]].copy()
    if batch.values is not None:
        part.obs[_BATCH] = pd.Categorical(batch.values)
    categorical = [
        name
        for name in config.categorical
        if name in part.obs and name not in batch.columns and part.obs[name].nunique() > 1
    ]
    continuous = [
        name
        for name in ("mitochondrial", "ribosomal")
        if name in part.obs and part.obs[name].std() > 0
    ]
    scvi.model.SCVI.setup_anndata(
        part,
        layer="counts",
        batch_key=None if batch.values is None else _BATCH,
        categorical_covariate_keys=categorical or None,
        continuous_covariate_keys=continuous or None,
    )
    model = scvi.model.SCVI(
        part,
        n_latent=config.n_latent,
        n_hidden=config.n_hidden,
        n_layers=config.n_layers,
        dropout_rate=config.dropout,
        gene_likelihood="nb",
    )
    kind, _, index = device.partition(":")
    model.train(
        max_epochs=config.max_epochs,
        accelerator={"cuda": "gpu"}.get(kind, kind),
        devices=[int(index)] if index else 1,
        early_stopping=True,
        early_stopping_patience=config.patience,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    return model


def _denoise(model: Any, batch: Batch, config: LatentConfig) -> np.ndarray[Any, Any]:
    """Decode every cell as if of the largest batch: log1p of expression per 10,000."""
    reference = None if batch.values is None else str(batch.values.value_counts().index[0])
    expression = model.get_normalized_expression(
        transform_batch=reference,
        library_size=1e4,
        n_samples=config.n_posterior,
        return_mean=True,
        return_numpy=True,
    )
    return np.log1p(np.asarray(expression, dtype=np.float32))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the trainers' announcements and deprecations from the user."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.fabric.utilities.seed", "scvi")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what scVI draws from, the global generators, and put numpy's back afterwards.

    scvi-tools takes no generator; without this two runs would differ.
    """
    import scvi

    state = np.random.get_state()  # noqa: NPY002 (to be put back)
    scvi.settings.seed = seed
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
