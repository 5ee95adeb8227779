"""Makers of exports and groups as microscopes and converters write them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

NAMESPACES = {
    "V5": "http://www.perkinelmer.com/PEHH/HarmonyV5",
    "V6": "http://www.perkinelmer.com/PEHH/HarmonyV6",
    "V7": "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7",
}
CHANNELS = ("HOECHST 33342", "TMRM")
RESOLUTION = """<ImageResolutionX Unit="m">2.5E-07</ImageResolutionX>
<ImageResolutionY Unit="m">2.5E-07</ImageResolutionY>"""


class HarmonyExport:
    """An export of wells with two fields, two channels and three planes each."""

    def __init__(self, version: str, wells: tuple[tuple[int, int], ...], n_times: int) -> None:
        self.version, self.wells, self.n_times = version, wells, n_times

    def planes(self) -> list[tuple[int, ...]]:
        """Row, column, field, plane, time, channel of each image."""
        return [
            (row, column, field, plane, time, channel)
            for row, column in self.wells
            for field in (1, 2)
            for plane in (1, 2, 3)
            for time in range(self.n_times)
            for channel in (1, 2)
        ]

    def index(self) -> str:
        entries = "".join(
            f'<Entry ChannelID="{number}"><ChannelName>{name}</ChannelName>{RESOLUTION}</Entry>'
            for number, name in enumerate(CHANNELS, start=1)
        )
        per_channel = "" if self.version == "V5" else f"<Maps><Map>{entries}</Map></Maps>"
        return (
            f'\ufeff<?xml version="1.0" encoding="utf-8"?>\n<EvaluationInputData '
            f'xmlns="{NAMESPACES[self.version]}"><Plates><Plate><MeasurementID>'
            "1234abcd-0000</MeasurementID><Name>P 1</Name></Plate></Plates>"
            f'<Wells><Well><Image id="x"/></Well></Wells>{per_channel}<Images>'
            + "".join(self._image(*place) for place in self.planes())
            + "</Images></EvaluationInputData>"
        )

    def _image(self, row: int, column: int, field: int, plane: int, time: int, channel: int) -> str:
        own = f"<ChannelName>{CHANNELS[channel - 1]}</ChannelName>{RESOLUTION}"
        return (
            f"<Image><State>Ok</State><URL>{name_file(row, column, field, plane, time, channel)}"
            f"</URL><Row>{row}</Row><Col>{column}</Col><FieldID>{field}</FieldID>"
            f"<PlaneID>{plane}</PlaneID><TimepointID>{time}</TimepointID>"
            f"<ChannelID>{channel}</ChannelID><FlimID>1</FlimID>"
            f'<PositionX Unit="m">{field}E-05</PositionX><PositionY Unit="m">2E-05</PositionY>'
            f"{own if self.version == 'V5' else ''}</Image>\n"
        )


def name_file(row: int, column: int, field: int, plane: int, time: int, channel: int) -> str:
    return f"r{row:02d}c{column:02d}f{field:02d}p{plane:02d}-ch{channel}sk{time + 1}fk1fl1.tiff"


@pytest.fixture
def write_harmony(tmp_path: Path) -> Callable[..., Path]:
    """Write an export and return its folder; a plane has the value 1000 f + 100 c + 10 p + t."""

    def write(
        version: str = "V5",
        *,
        folder: str = "export",
        above: bool = False,
        n_times: int = 1,
        wells: tuple[tuple[int, int], ...] = ((2, 3),),
    ) -> Path:
        export = HarmonyExport(version, wells, n_times)
        images = tmp_path / folder / "Images"
        images.mkdir(parents=True)
        index = tmp_path / folder / "Index.xml" if above else images / "Index.idx.xml"
        index.write_text(export.index(), "utf-8")
        for place in export.planes():
            _, _, field, plane, time, channel = place
            value = 1000 * field + 100 * channel + 10 * plane + time
            pixels = np.full((16, 20), value, np.uint16)
            tifffile.imwrite(images / name_file(*place), pixels, compression="lzw", metadata=None)
        return tmp_path / folder

    return write


@pytest.fixture
def write_ome_zarr() -> Callable[..., Path]:
    """Write an image as an OME-Zarr group of either version and return its folder."""

    def write(
        folder: Path,
        pixels: np.ndarray,
        axes: str,
        *,
        version: str = "0.5",
        unit: str | None = "micrometer",
        labels: tuple[str, ...] = (),
        changes: Mapping[str, Any] | None = None,
    ) -> Path:
        zarr_format = 3 if version == "0.5" else 2
        zarr.create_array(
            store=str(folder / "0"),
            data=pixels,
            chunks=(1,) * (len(axes) - 2) + (8, 8),
            zarr_format=zarr_format,
        )
        attributes = describe_ome_zarr(axes, version, unit, labels) | dict(changes or {})
        write_attributes(folder, attributes, version)
        return folder

    return write


def describe_ome_zarr(
    axes: str, version: str, unit: str | None, labels: tuple[str, ...]
) -> dict[str, Any]:
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": name, "type": kinds.get(name, "space")} for name in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    scale = [{"z": 2.0, "y": 0.5, "x": 0.5}.get(name, 1.0) for name in axes]
    shift = [{"y": 10.0, "x": -4.0}.get(name, 0.0) for name in axes]
    multiscale: dict[str, Any] = {
        "name": "cells",
        "axes": described,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": shift},
                ],
            }
        ],
    }
    attributes: dict[str, Any] = {"multiscales": [multiscale]}
    if version == "0.5":
        attributes["version"] = version
    else:
        multiscale["version"] = version
    if labels:
        attributes["omero"] = {"channels": [{"label": label} for label in labels]}
    return attributes


def write_attributes(folder: Path, attributes: Mapping[str, Any], version: str = "0.5") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if version == "0.5":
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": attributes}}
        (folder / "zarr.json").write_text(json.dumps(group))
    else:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))


@pytest.fixture
def write_zarr_attributes() -> Callable[..., None]:
    """Write the attributes of an OME-Zarr group of either version."""
    return write_attributes
