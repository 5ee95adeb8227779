"""The pages of the demo's report: what is shown, and what is said beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_bio_superposition.core.keys import Keys
from napari_bio_superposition.features.overlays import composite, fixed_scale
from napari_bio_superposition.imaging.simulate import Study
from napari_bio_superposition.workflows.batch_summary import BatchSummary
from napari_bio_superposition.workflows.demo_genes_report import gene_sections
from napari_bio_superposition.workflows.demo_trajectory import trajectory_sections
from napari_bio_superposition.workflows.demo_truth import TruthComparison
from napari_bio_superposition.workflows.feature_examples import FeatureExample
from napari_bio_superposition.workflows.figures import (
    draw_agreement,
    draw_examples,
    draw_fields,
    draw_groups,
    draw_maps,
)
from napari_bio_superposition.workflows.report import Picture, Report, Section

if TYPE_CHECKING:
    from napari_bio_superposition.workflows.demo import DemoResult

_SYNTHETIC = (
    "Everything on this page is simulated: images, genotypes, death. The genotype names are those "
    "of the paper; nothing here is a finding about them."
)
_N_SHOWN = 3
_COLUMNS = {
    "auroc": "AUROC",
    "log2_fold_change": "log2 fold change",
    "p_value": "p (wells)",
    "q_value": "q (BH)",
}
_EXAMPLES_CAPTION = (
    "The patches with the highest mean activation, from all images and genotypes (at most two an "
    "image); below, where the feature is active, on one fixed scale."
)


def build_demo_report(result: "DemoResult", study: Study) -> Report:
    """Put the demo's results on one page."""
    summary, truth, sources = result.summary, result.truth, result.sources
    table = result.embedded.table
    n_kept = sum(image["patches"]["accepted"] for image in summary.images)
    n_all = sum(image["patches"]["total"] for image in summary.images)
    return Report(
        title="What the network sees: a simulated study",
        lead="Nuclei, cell death and sparse-autoencoder features of every 128x128 patch, from raw "
        "four-channel images, beside the truth that the simulation saved.",
        cards=[
            (str(len(summary.images)), "images"),
            (f"{sum(image['n_nuclei'] or 0 for image in summary.images):,}", "nuclei"),
            (f"{n_kept} of {n_all}", "patches kept"),
            (str(table.n_vars), "SAE features"),
            (f"{truth.nuclei_average_precision:.2f}", "nuclei AP at IoU 0.5"),
            (f"{truth.death_spearman:.2f}", "death, Spearman with truth"),
            (
                f"{sources.table['spearman'].iloc[0]:.2f}",
                "pseudotime, Spearman with true progression",
            ),
            (result.rna.coupled.coupling.verdict, "coupling with RNA"),
        ],
        notices=[_SYNTHETIC, *_failures(summary)],
        sections=[
            _fields_section(study),
            _death_section(table, truth),
            _map_section(table, truth),
            *trajectory_sections(result.embedded, sources, truth),
            *gene_sections(result.rna),
            *_feature_sections(table, result.ranking, result.examples),
        ],
        details={
            "Settings, versions, hashes": str(table.uns[Keys.PROVENANCE]),
            "Seconds per step and image": _seconds(summary),
        },
    )


def _failures(summary: BatchSummary) -> list[str]:
    return [f"{name} failed: {reason}" for name, reason in summary.failures.items()]


def _fields_section(study: Study) -> Section:
    shown = {}
    for field in study:
        genotype = field.image.acquisition.genotype or field.cells["genotype"].iloc[0]
        if genotype not in shown:
            shown[genotype] = (composite(field.image)[:384, :384], field.labels[:384, :384])
    figure = draw_fields(dict(sorted(shown.items())))
    caption = (
        "One corner of a field for each genotype: mitochondria red, lysosomes green, nuclei blue, "
        "death dye white; true outlines of nuclei in yellow."
    )
    return Section("The images", pictures=[Picture("fields", figure, caption)])


def _death_section(table: AnnData, truth: TruthComparison) -> Section:
    groups = draw_groups(
        table.obs, Keys.DEATH, Keys.GENOTYPE, Keys.GROUP, "dead share of nuclear area"
    )
    known = truth.patches.dropna(subset=["dead_area_rate", "measured"])
    agreement = draw_agreement(
        known["dead_area_rate"].to_numpy("float32"),
        known["measured"].to_numpy("float32"),
        "dead area",
    )
    return Section(
        "Cell death",
        paragraphs=[
            "The share of nuclear area above the threshold of its plate (three-class multi-Otsu). "
            "Small points are patches, large ones the means of wells, the unit of inference."
        ],
        pictures=[
            Picture("death_by_genotype", groups, "Patches (small) and wells (large)."),
            Picture(
                "death_against_truth",
                agreement,
                f"One point per patch; Spearman {truth.death_spearman:.2f}.",
            ),
        ],
        side_by_side=True,
    )


def _map_section(table: AnnData, truth: TruthComparison) -> Section:
    key = Keys.PHATE if Keys.PHATE in table.obsm else Keys.UMAP
    name = "PHATE" if key == Keys.PHATE else "UMAP"
    colorings = {
        "Genotype": table.obs[Keys.GENOTYPE],
        "Plate": table.obs[Keys.PLATE],
        "Dead share of nuclear area": table.obs[Keys.DEATH],
        "True progression": truth.patches["progression"].reindex(table.obs_names),
    }
    figure = draw_maps(table.obsm[key], colorings, name)
    caption = (
        "Each point is a patch, placed by its SAE features, standardised within plates, since each "
        "plate holds all genotypes; genotypes were not used. The last panel shows what the "
        "simulation knows and no step of the analysis was told."
    )
    return Section("Patches as cells", pictures=[Picture("patch_map", figure, caption)])


def _feature_sections(
    table: AnnData, ranking: pd.DataFrame, examples: Mapping[str, Sequence[FeatureExample]]
) -> list[Section]:
    sections = []
    for genotype, rows in ranking.groupby("class", sort=True):
        higher = rows.loc[rows["auroc"] > 0.5, "feature"]
        shown = [name for name in higher if examples.get(name)][:_N_SHOWN]
        sections.append(
            Section(
                f"Features of {genotype} against Control",
                paragraphs=[_describe_test(rows)],
                pictures=[_draw_feature(table, str(genotype), n, examples[n]) for n in shown],
                table=rows.head(8).set_index("feature")[list(_COLUMNS)].rename(columns=_COLUMNS),
                notes=[text for text in rows["warning"].unique() if text],
            )
        )
    return sections


def _draw_feature(
    table: AnnData, genotype: str, name: str, examples: Sequence[FeatureExample]
) -> Picture:
    shown_top = max(float(np.nanmax(one.activation)) for one in examples)
    top = min(fixed_scale(table, name)[1], shown_top) or 1.0
    figure = draw_examples([(one.picture, one.activation) for one in examples], top)
    return Picture(f"{genotype}_{name}", figure, _EXAMPLES_CAPTION, title=name)


def _describe_test(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return (
        f"Tested on wells ({first['n_wells']} against {first['n_wells_reference']}), over "
        f"{len(rows)} live features. AUROC is an effect size over patches, not a test: the chance "
        "that a patch of the genotype is above one of the control."
    )


def _seconds(summary: BatchSummary) -> str:
    rows = {str(image["id"]): image["seconds"] for image in summary.images}
    return str(pd.DataFrame(rows).T.round(2).to_string())
