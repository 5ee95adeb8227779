"""Marker genes of lineages: built-in lists for cortical organoids, or a user's file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from napari_bio_superposition.core.errors import TableError

CORTICAL: Final[Mapping[str, tuple[str, ...]]] = {
    "Mature excitatory": ("SLC17A7", "CAMK2A", "SATB2", "GRIN2B", "NEUROD6", "SYT1", "NRGN"),
    "Forebrain excitatory": ("FOXG1", "EMX1", "TBR1", "NEUROD2", "SLC17A6", "BCL11B", "SOX5"),
    "Inhibitory": ("GAD1", "GAD2", "DLX1", "DLX2", "DLX5", "SLC32A1"),
    "Dopaminergic": ("TH", "DDC", "LMX1A", "FOXA2", "NR4A2", "SLC18A2"),
    "Intermediate progenitor": ("EOMES", "PPP1R17", "NEUROG1", "NEUROG2", "ELAVL4"),
    "Radial glia": ("PAX6", "SOX2", "VIM", "HES1", "HES5", "HOPX", "NES"),
    "Astrocyte": ("GFAP", "AQP4", "S100B", "ALDH1L1", "SLC1A3", "AGT"),
    "Oligodendrocyte precursor": ("OLIG1", "OLIG2", "PDGFRA", "SOX10", "CSPG4"),
    "Choroid plexus": ("TTR", "CLIC6", "FOLR1", "AQP1", "KCNJ13"),
    "Cycling": ("MKI67", "TOP2A", "CENPF", "BIRC5", "CDK1"),
    "Mesenchymal": ("COL1A1", "COL1A2", "COL3A1", "LUM", "DCN"),
}
"""Textbook markers, upper case; mouse genes match them, too, as case does not count."""


def read_markers(path: str) -> Mapping[str, tuple[str, ...]]:
    """Return the lists of a JSON file of lineage to genes, or the built-in ones where it is empty.

    Raises
    ------
    TableError
        Where the file cannot be read or holds something else.
    """
    if not path:
        return CORTICAL
    file = Path(path)
    try:
        lists = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TableError(
            f"The marker lists {file.name} cannot be read as JSON: {error}."
        ) from error
    good = (
        isinstance(lists, dict)
        and lists
        and all(
            isinstance(genes, list) and genes and all(isinstance(gene, str) for gene in genes)
            for genes in lists.values()
        )
    )
    if not good:
        raise TableError(
            f'{file.name} has to be of the form {{"lineage": ["GENE1", "GENE2"], ...}}. Correct it.'
        )
    return {name: tuple(genes) for name, genes in lists.items()}
