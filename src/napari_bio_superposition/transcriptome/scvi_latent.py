"""The latent space and the denoised expression of scVI (extra `scvi`). Imported only when used."""

import contextlib
import logging
import queue
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
_POLL_S = 0.1


def add_scvi(
    table: "anndata.AnnData", config: LatentConfig, *, device: str, rng: np.random.Generator
) -> Job[list[str]]:
    """Train scVI on the variable genes and add latent and denoised expression; return notes.

    Negative-binomial likelihood; batch, categorical and continuous covariates as in section 16.1
    of the method specification. It trains in a thread of its own, so that every epoch is told and
    closing the job ends the training after the batch at hand.

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
        model = yield from _train(scvi, table, batch, config, device)
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


def _train(scvi: Any, table: Any, batch: Batch, config: LatentConfig, device: str) -> Job[Any]:
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
    yield from _fit(
        model,
        config.max_epochs,
        accelerator={"cuda": "gpu"}.get(kind, kind),
        devices=[int(index)] if index else 1,
        early_stopping=True,
        early_stopping_patience=config.patience,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    return model


def _fit(model: Any, max_epochs: int, **options: Any) -> Job[None]:
    """Train in a thread; tell every epoch, and end with the batch at hand where the job is closed.

    Lightning takes no generator: this is how a loop that is not ours becomes a job.
    """
    from lightning.pytorch import Callback

    stop, epochs = threading.Event(), queue.SimpleQueue[int]()

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.should_stop or stop.is_set()

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            epochs.put(trainer.current_epoch + 1)

    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(model.train, max_epochs=max_epochs, callbacks=[Watch()], **options)
        done = 0
        try:
            while not training.done():
                yield Progress("Training scVI", done, max_epochs, "epochs")
                with contextlib.suppress(queue.Empty):
                    done = epochs.get(timeout=_POLL_S)
        finally:
            stop.set()
        training.result()


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
