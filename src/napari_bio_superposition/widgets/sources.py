"""Which fields of view the open layers hold, and one of them as an image. No Qt, no computing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from napari.layers import Image, Layer

from napari_bio_superposition.core.errors import ChannelError, list_choices
from napari_bio_superposition.core.types import Acquisition, MultichannelImage
from napari_bio_superposition.widgets.geometry import Geometry

METADATA_KEY: Final = "bio_superposition"
"""Key of a layer's metadata under which our reader and our results leave what they know."""

_MOST_CHANNELS = 10
"""A leading axis longer than this is taken for focal planes, not for channels."""
_AXIS_LETTERS: Final = {"c": "C", "channel": "C", "channels": "C", "z": "Z", "plane": "Z"}


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Layers that together are one field of view.

    Parameters
    ----------
    name
        How the user finds it in a list, and the name of the result's layers.
    layers
        One layer with a channel axis, or one layer per channel.
    axes
        Meaning of the axes of each layer: ``YX``, ``CYX``, ``ZYX``, ``CZYX`` or ``ZCYX``. Focal
        planes (Z) are projected by their maximum.
    channel_names
        One per channel, unique.
    known
        What our reader wrote into the layer's metadata; empty for other layers.
    """

    name: str
    layers: tuple[Image, ...]
    axes: str
    channel_names: tuple[str, ...]
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axes_choices(self) -> tuple[str, ...]:
        """What the axes can mean; the user decides where the guess is wrong."""
        if len(self.layers) > 1:
            return (self.axes,)
        return {2: ("YX",), 3: ("CYX", "ZYX"), 4: ("CZYX", "ZCYX")}[len(self.axes)]

    @property
    def geometry(self) -> Geometry:
        """Where the image lies in the world."""
        return Geometry.of_layer(self.layers[0])

    @property
    def roles(self) -> Mapping[str, str]:
        """Role to channel name as the file says; empty where it does not."""
        roles = self.known.get("roles", {})
        return {role: name for role, name in roles.items() if name in self.channel_names}

    def with_axes(self, axes: str) -> Self:
        """Return the same layers with another meaning of their axes."""
        return replace(self, axes=axes, channel_names=_channel_names(self.layers, axes))

    def same_layers(self, other: "ImageSource | None") -> bool:
        """Whether *other* stands for the same layers, however they are named now."""
        return other is not None and [id(a) for a in self.layers] == [id(b) for b in other.layers]


def find_sources(layers: Iterable[Layer]) -> list[ImageSource]:
    """Return the fields of view among *layers*, in their order.

    A layer with a channel axis is a field of its own. Layers of one shape at one place are the
    channels of one field, unless our reader says that they belong to different images. Our own
    results, labels and RGB layers are left out.
    """
    single: dict[Any, list[Image]] = {}
    for layer in layers:
        if _is_candidate(layer):
            axes = guess_axes(layer)
            key = id(layer) if "C" in axes else _place_of(layer)
            single.setdefault(key, []).append(layer)
    return [_make_source(tuple(group)) for group in single.values()]


def guess_axes(layer: Layer) -> str:
    """Return the likely meaning of a layer's axes, from their labels or their lengths."""
    shape = _array_of(layer).shape
    leading = [_AXIS_LETTERS.get(str(label).lower(), "") for label in layer.axis_labels[:-2]]
    if all(leading) and len(set(leading)) == len(leading):
        return "".join(leading) + "YX"
    if len(shape) == 4:
        return "ZCYX" if shape[1] <= shape[0] else "CZYX"
    if len(shape) == 3:
        return "CYX" if shape[0] <= _MOST_CHANNELS else "ZYX"
    return "YX"


def _is_candidate(layer: Layer) -> bool:
    is_result = layer.metadata.get(METADATA_KEY, {}).get("is_result", False)
    return isinstance(layer, Image) and not layer.rgb and not is_result and layer.ndim <= 4


def _place_of(layer: Image) -> Any:
    known = layer.metadata.get(METADATA_KEY, {})
    image_id = known.get("acquisition", {}).get("id", "")
    return (image_id, _array_of(layer).shape, Geometry.of_layer(layer).signature)


def _make_source(layers: tuple[Image, ...]) -> ImageSource:
    axes = guess_axes(layers[0])
    known = layers[0].metadata.get(METADATA_KEY, {})
    return ImageSource(
        name=str(known.get("name") or _common_name(layers)),
        layers=layers,
        axes=axes,
        channel_names=_channel_names(layers, axes),
        known=known,
    )


def _common_name(layers: tuple[Image, ...]) -> str:
    """Return what the names of the layers have in common, or the first name."""
    names = [str(layer.name) for layer in layers]
    shared = names[0]
    for name in names[1:]:
        while not name.startswith(shared):
            shared = shared[:-1]
    return shared.strip(" -_.:[(") or names[0]


def _channel_names(layers: tuple[Image, ...], axes: str) -> tuple[str, ...]:
    if len(layers) > 1:
        # A layer that our reader made knows its channel; the user may have renamed the layer.
        return _make_unique(
            str(layer.metadata.get(METADATA_KEY, {}).get("channel", layer.name)) for layer in layers
        )
    layer = layers[0]
    known = layer.metadata.get(METADATA_KEY, {})
    if "C" not in axes:
        return (str(known.get("channel", layer.name)),)
    n_channels = _array_of(layer).shape[axes.index("C")]
    names = known.get("channel_names", ())
    if len(names) == n_channels:
        return tuple(str(name) for name in names)
    return tuple(f"channel {index + 1}" for index in range(n_channels))


def _make_unique(names: Iterable[str]) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(unique)


def _array_of(layer: Layer) -> Any:
    """Return the pixels at full resolution, whatever kind of array they are."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


@dataclass(frozen=True, eq=False)
class SourcePixels:
    """The arrays of a source, taken from its layers so that a thread can work on them."""

    source: ImageSource
    arrays: tuple[Any, ...]
    geometry: Geometry

    @classmethod
    def take(cls, source: ImageSource) -> Self:
        """Take the arrays in the window's thread: a job must not touch layers."""
        arrays = tuple(_array_of(layer) for layer in source.layers)
        return cls(source, arrays, source.geometry)

    def build_image(self, roles: Mapping[str, str]) -> MultichannelImage:
        """Return the field of view as an image.

        Parameters
        ----------
        roles
            Role to channel name.

        Raises
        ------
        ChannelError
            Where two layers differ in type, so that one full scale cannot serve them.
        ImageReadError
            Where pixels are not square, or are no intensities.
        """
        from napari_bio_superposition.imaging.intensities import check_intensities

        source = self.source
        checked = check_intensities(_stack_channels(self.arrays, source.axes), source.name)
        acquisition = source.known.get("acquisition") or {"id": source.name}
        return MultichannelImage(
            pixels=checked.pixels,
            channel_names=source.channel_names,
            roles=dict(roles),
            full_scale=float(source.known.get("full_scale") or checked.full_scale),
            pixel_size_um=self.geometry.pixel_size_um,
            acquisition=Acquisition(**acquisition),
            translate_um=self.geometry.translate_um,
            warnings=checked.warnings,
        )


def _stack_channels(arrays: tuple[Any, ...], axes: str) -> Any:
    """Return a dask array ``(channel, height, width)``."""
    from dask import array as da  # napari has imported it already

    _check_one_type(arrays)
    lazy: Any = da  # its stubs know less than it can do
    planes = [lazy.asarray(array) for array in arrays]
    flat = [plane.max(axis=axes.index("Z")) if "Z" in axes else plane for plane in planes]
    return flat[0] if "C" in axes else lazy.stack(flat)  # without Z the channel is in front


def _check_one_type(arrays: tuple[Any, ...]) -> None:
    kinds = sorted({str(array.dtype) for array in arrays})
    if len(kinds) > 1:
        raise ChannelError(
            f"The layers of this image differ in type: {list_choices(kinds)}. "
            "Convert them to one type (right click on a layer, Convert data type)."
        )
