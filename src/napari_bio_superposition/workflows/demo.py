"""The demo: a small simulated study through the main job, and a report beside its known truth."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.files import replaced_file
from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.core.progress import Job, Progress
from napari_bio_superposition.features.ranking import rank_class_features
from napari_bio_superposition.features.table import read_table, write_table
from napari_bio_superposition.imaging.simulate import Study, simulate_study, write_study
from napari_bio_superposition.workflows.analysis_config import AnalyzeConfig
from napari_bio_superposition.workflows.analyze import assign_roles
from napari_bio_superposition.workflows.analyze_files import analyze_files
from napari_bio_superposition.workflows.batch_summary import BatchSummary
from napari_bio_superposition.workflows.demo_config import DemoConfig
from napari_bio_superposition.workflows.demo_genes import RnaComparison, compare_with_rna
from napari_bio_superposition.workflows.demo_report import build_demo_report
from napari_bio_superposition.workflows.demo_truth import TruthComparison, compare_with_truth
from napari_bio_superposition.workflows.embed import embed_table
from napari_bio_superposition.workflows.embed_config import EmbedConfig
from napari_bio_superposition.workflows.embed_result import EmbedResult
from napari_bio_superposition.workflows.feature_examples import FeatureExample, find_examples
from napari_bio_superposition.workflows.loading import load_models
from napari_bio_superposition.workflows.report import write_report
from napari_bio_superposition.workflows.trajectory_truth import SourceComparison, compare_sources

TABLE = "patches.h5ad"


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo found, and where it lies."""

    folder: Path
    table: AnnData
    summary: BatchSummary
    ranking: pd.DataFrame
    """Features of each genotype against control; see `rank_class_features`."""
    examples: dict[str, list[FeatureExample]]
    truth: TruthComparison
    embedded: EmbedResult
    """Pseudotime of all patches, and death along it for each genotype."""
    sources: SourceComparison
    """How well pseudotime follows the true progression, from SAE and from CNN features."""
    rna: RnaComparison
    """The coupling with simulated RNA and the genes predicted by it, beside the truth."""

    def as_plain(self) -> dict[str, Any]:
        """Return the key figures as JSON values."""
        return {
            "report": str(self.folder / "report.html"),
            "table": str(self.folder / TABLE),
            "images": len(self.summary.images),
            "failures": dict(self.summary.failures),
            "patches": self.table.n_obs,
            "features": self.table.n_vars,
            "truth": self.truth.as_plain(),
            "trajectories": {
                name: one.as_plain() for name, one in self.embedded.trajectories.items()
            },
            "pseudotime_against_truth": self.sources.as_plain(),
            "rna": self.rna.as_plain(),
        }

    def as_lines(self) -> list[str]:
        """Return the outcome as a person reads it."""
        return [
            f"{len(self.summary.images)} simulated images, {self.table.n_obs} patches, "
            f"{self.table.n_vars} features.",
            *self.truth.as_lines(),
            self.sources.verdict,
            *self.rna.as_lines(),
            f"Open {self.folder / 'report.html'} in a browser.",
        ]


def run_demo(config: DemoConfig | None = None, out: str | Path = "demo-output") -> Job[DemoResult]:
    """Simulate a small study, analyse it, embed its patches, couple them with RNA, and report.

    Parameters
    ----------
    config
        Settings; the defaults where omitted.
    out
        Folder for ``study/``, ``analysis/``, ``rna/``, ``coupling/``, ``genes/``, ``figures/``,
        ``patches.h5ad`` and ``report.html``.
        What is complete there is not done again.
    """
    config, out = config or DemoConfig(), Path(out)
    study = simulate_study(config.study, rng=np.random.default_rng(config.seed))
    yield from write_study(study, out / "study")
    summary = yield from analyze_files(
        [out / "study" / "images"],
        _settings_of_analysis(config),
        out / "analysis",
        metadata=out / "study" / "table.csv",
    )
    table = read_table(out / "analysis" / TABLE)
    settings = EmbedConfig(
        embedding=config.embedding,
        trajectory=config.trajectory,
        trend=config.trend,
        seed=config.seed,
    )
    embedded = yield from embed_table(table, settings)
    table = embedded.table
    write_table(table, out / TABLE)
    yield Progress("Comparing with the truth")
    truth = compare_with_truth(study, table, out / "analysis")
    progression = truth.patches["progression"].reindex(table.obs_names).to_numpy(np.float64)
    sources = yield from compare_sources(table, progression, settings)
    ranking = rank_class_features(table, Keys.GENOTYPE, "Control")
    examples = yield from _find_examples(study, table, ranking, config)
    rna = yield from compare_with_rna(out, table, truth.patches, config)
    result = DemoResult(out, table, summary, ranking, examples, truth, embedded, sources, rna)
    yield Progress("Writing the report")
    report = build_demo_report(result, study)
    write_report(report, out)
    with replaced_file(out / "summary.json") as part:
        part.write_text(json.dumps(result.as_plain(), indent=2), encoding="utf-8")
    return result


def _settings_of_analysis(config: DemoConfig) -> AnalyzeConfig:
    """Return what `analyze` knows: with more, its results could not be opened by it again."""
    return AnalyzeConfig(**{f.name: getattr(config, f.name) for f in fields(AnalyzeConfig)})


def _find_examples(
    study: Study, table: AnnData, ranking: pd.DataFrame, config: DemoConfig
) -> Job[dict[str, list[FeatureExample]]]:
    models = yield from load_models(config)
    higher = ranking[ranking["auroc"] > 0.5]
    features = higher.groupby("class").head(config.n_shown_features)["feature"]
    images = {}
    for field in study:
        images[field.image.id] = assign_roles(field.image, config, models.features.card)
        yield Progress("Drawing fields", len(images), len(study), "fields")
    unique = list(dict.fromkeys(features))
    return (yield from find_examples(table, unique, images, models, config))
