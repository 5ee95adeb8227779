"""One simulated field of view with its truth. What plates and wells are is decided in study.py."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.types import (
    Acquisition,
    BoolArray,
    IntArray,
    LabelImage,
    MultichannelImage,
)
from napari_bio_superposition.imaging.simulation.camera import (
    CHANNEL_ROLES,
    CHANNELS,
    FULL_SCALE,
    Optics,
    acquire,
)
from napari_bio_superposition.imaging.simulation.cytoplasm import draw_cytoplasm
from napari_bio_superposition.imaging.simulation.drawing import Shape, sample_at, smooth_noise
from napari_bio_superposition.imaging.simulation.layout import (
    MARGIN_PX,
    CellLayout,
    place_cells,
)
from napari_bio_superposition.imaging.simulation.nuclei import condense_dead, draw_nuclei
from napari_bio_superposition.imaging.simulation.organelles import FLUX, draw_organelles
from napari_bio_superposition.imaging.simulation.states import (
    FACTORS,
    GENOTYPES,
    CellStates,
    sample_states,
)
from napari_bio_superposition.imaging.simulation_config import SimulationConfig

NEIGHBOURHOOD_PX: Final = 110.0
"""Correlation length of the progression within a field."""
_HIDDEN_BY_NUCLEUS: Final = 0.55
"""Share of the cytoplasm's haze that the nucleus displaces."""


@dataclass(frozen=True, eq=False)
class FieldSpec:
    """Which field is to be simulated, and under which conditions."""

    plate: str
    well: str
    site: str
    genotype: str
    line: str
    well_offset: float = 0.0
    """Shift of the progression of the whole well, logits."""
    gain: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Staining times exposure of each channel, relative."""
    background: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    @property
    def id(self) -> str:
        """Stem of the file: ``plate1_A01_site1``."""
        return f"{self.plate}_{self.well}_site{self.site}"


@dataclass(frozen=True, eq=False)
class SimulatedField:
    """A field of view and everything that is true about it.

    Parameters
    ----------
    image
        Pixels uint16 ``(4, height, width)`` with names, roles and plate, well and field.
    labels
        Nuclei, 1 to n without gaps.
    dead
        Pixels of the nuclei of dead cells.
    mitochondria, lysosomes
        Pixels on these organelles of living cells.
    cells
        One row per label, in the order of the labels: ``id``, ``y``, ``x`` (centre of the nucleus,
        px; may lie outside for a cut nucleus), ``area_px``, ``genotype``, ``progression``,
        ``dead``, the factors, and the nuisance.
    """

    image: MultichannelImage
    labels: LabelImage
    dead: BoolArray
    mitochondria: BoolArray
    lysosomes: BoolArray
    cells: pd.DataFrame

    @property
    def states(self) -> CellStates:
        """Latent states in the order of the labels."""
        return CellStates.from_frame(self.cells)

    def patch_truth(self, origins: IntArray, side: int) -> pd.DataFrame:
        """Return what is true in each patch.

        Parameters
        ----------
        origins
            Row and column of the top-left pixels, ``(n, 2)``.
        side
            Edge of a patch, px.

        Returns
        -------
        pandas.DataFrame
            One row per patch: ``n_nuclei`` (centres within), mean ``progression`` and mean of each
            factor over these cells (nan without any), ``dead_share`` of the cells,
            ``nuclear_area_px``, ``dead_area_rate`` of the nuclear pixels, ``mitochondria_share``
            and ``lysosomes_share`` of the pixels.
        """
        rows = [self._truth_of_patch(int(y), int(x), side) for y, x in origins]
        return pd.DataFrame(rows)

    def _truth_of_patch(self, y: int, x: int, side: int) -> dict[str, float]:
        cut = np.s_[y : y + side, x : x + side]
        within = self.cells["y"].between(y, y + side, inclusive="left")
        within &= self.cells["x"].between(x, x + side, inclusive="left")
        cells = self.cells[within]
        nuclear = int(np.count_nonzero(self.labels[cut]))
        dead = int(np.count_nonzero(self.dead[cut]))
        return {
            "y": y,
            "x": x,
            "n_nuclei": len(cells),
            "progression": float(cells["progression"].mean()),
            "dead_share": float(cells["dead"].mean()),
            "nuclear_area_px": nuclear,
            "dead_area_rate": dead / nuclear if nuclear else np.nan,
            "mitochondria_share": float(self.mitochondria[cut].mean()),
            "lysosomes_share": float(self.lysosomes[cut].mean()),
            **{name: float(cells[name].mean()) for name in FACTORS},
        }


def simulate_field(
    spec: FieldSpec, config: SimulationConfig, rng: np.random.Generator
) -> SimulatedField:
    """Simulate one field of view.

    Parameters
    ----------
    spec
        Plate, well, genotype and conditions.
    config
        Side, density and noise are used; plates and wells are not.
    rng
        Source of all randomness of this field.
    """
    shape = (config.side_px, config.side_px)
    layout = place_cells(shape, config.nuclei_per_patch, rng)
    states = _sample_neighbours(layout, spec, shape, rng)
    nuclei = draw_nuclei(layout, states, shape, rng)
    cytoplasm = draw_cytoplasm(layout, states, shape, rng)
    organelles = draw_organelles(condense_dead(layout, states), states, cytoplasm, rng)
    shadow = 1 - _HIDDEN_BY_NUCLEUS * nuclei.cover
    haze = cytoplasm.fill(FLUX * layout.brightness[:, 3])
    dyes = np.stack(
        [
            organelles.tmrm * shadow,
            organelles.lysotracker * shadow,
            nuclei.dna + 0.02 * haze,
            nuclei.death_dye + 0.015 * haze,
        ]
    )
    pixels = acquire(dyes, _choose_optics(spec, config, rng), rng)
    labels, cells = _tabulate(layout, states, nuclei.labels)
    return SimulatedField(
        image=_wrap(pixels, spec, config),
        labels=labels,
        dead=np.isin(labels, cells.loc[cells["dead"], "id"]),
        mitochondria=organelles.mitochondria & (labels == 0),
        lysosomes=organelles.lysosomes,
        cells=cells,
    )


def _sample_neighbours(
    layout: CellLayout, spec: FieldSpec, shape: Shape, rng: np.random.Generator
) -> CellStates:
    """Draw states such that cells near each other have progressed similarly."""
    padded = (shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX)
    neighbourhood = smooth_noise(padded, NEIGHBOURHOOD_PX, rng)
    return sample_states(
        np.full(len(layout), GENOTYPES.index(spec.genotype)),
        rng=rng,
        well_offset=spec.well_offset,
        neighbourhood=sample_at(neighbourhood, layout.centres + MARGIN_PX),
    )


def _choose_optics(spec: FieldSpec, config: SimulationConfig, rng: np.random.Generator) -> Optics:
    return Optics(
        gain=np.array(spec.gain) * np.exp(0.03 * rng.standard_normal(4)),
        background=np.array(spec.background),
        defocus=float(rng.uniform(0.95, 1.25)),
        vignetting=float(rng.uniform(0.1, 0.3)),
        noise=config.noise,
    )


def _tabulate(
    layout: CellLayout, states: CellStates, labels: LabelImage
) -> tuple[LabelImage, pd.DataFrame]:
    """Drop the cells without a pixel, number the others without gaps, and tabulate them."""
    area = np.bincount(labels.ravel(), minlength=len(layout) + 1)[1:]
    seen = area > 0
    number = np.zeros(len(layout) + 1, dtype=np.int32)
    number[1:][seen] = np.arange(1, seen.sum() + 1)
    layout, states = layout.take(seen), states.take(seen)
    nuisance = {
        "radius_px": layout.radius,
        "elongation": layout.elongation,
        "angle": layout.angle,
        "pole": layout.pole,
        **{f"brightness_{name}": layout.brightness[:, c] for c, name in enumerate(CHANNELS)},
    }
    place = {
        "id": np.arange(1, len(layout) + 1),
        "y": layout.centres[:, 0],
        "x": layout.centres[:, 1],
        "area_px": area[seen],
    }
    cells = pd.concat(
        [pd.DataFrame(place), states.to_frame(), pd.DataFrame(nuisance)], axis="columns"
    )
    return number[labels], cells


def _wrap(
    pixels: npt.NDArray[np.uint16], spec: FieldSpec, config: SimulationConfig
) -> MultichannelImage:
    return MultichannelImage(
        pixels=pixels,
        channel_names=CHANNELS,
        roles=dict(CHANNEL_ROLES),
        full_scale=float(FULL_SCALE),
        pixel_size_um=config.pixel_size_um,
        acquisition=Acquisition(
            id=spec.id,
            plate=spec.plate,
            well=spec.well,
            field=spec.site,
            line=spec.line,
            genotype=spec.genotype,
        ),
    )
