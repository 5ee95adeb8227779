"""The frozen values that cross the borders between rooms. No reading, no computing."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_bio_superposition.core.errors import ChannelError, ImageReadError, list_choices

FloatArray: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]
LabelImage: TypeAlias = npt.NDArray[np.int32]
"""Integer image ``(Y, X)``; 0 is background, 1 to n are objects."""

NUCLEI: Final = "nuclei"
MITOCHONDRIA: Final = "mitochondria"
LYSOSOMES: Final = "lysosomes"
DEATH: Final = "death"
ROLES: Final = (NUCLEI, MITOCHONDRIA, LYSOSOMES, DEATH)
"""What a channel can stand for. A model may name further ones in its card."""


@dataclass(frozen=True)
class Acquisition:
    """Where an image comes from: the part of a patch's identity that is not its position.

    An empty string means that it is not known. ``id`` tells two measurements of one plate apart.
    """

    id: str
    plate: str = ""
    well: str = ""
    field: str = ""
    line: str = ""
    genotype: str = ""
    treatment: str = ""

    @property
    def group(self) -> str:
        """The well as the unit of inference: ``plate/well``, or the image where unknown."""
        return f"{self.plate}/{self.well}" if self.well else self.id

    def patch_id(self, y: int, x: int) -> str:
        """Return ``id:plate/well/field/y/x``, with ``-`` for what is unknown; never a path."""
        place = (self.plate or "-", self.well or "-", self.field or "-", str(y), str(x))
        return f"{self.id}:{'/'.join(place)}"


@dataclass(frozen=True, eq=False)
class MultichannelImage:
    """One field of view: lazy pixels with the meaning of their channels.

    Parameters
    ----------
    pixels
        Camera counts, ``(channel, height, width)``; a numpy or dask array, not copied.
    channel_names
        One per channel, unique, as the file or the user names them.
    roles
        Role to channel name, for instance ``{"nuclei": "H33342"}``; any role may be absent.
    full_scale
        The count that becomes 1.0 in the model's input: 65535 for 16-bit, 255 for 8-bit.
    pixel_size_um
        Edge of a pixel in micrometre; ``None`` where the file does not say.
    acquisition
        Where the image comes from.
    translate_um
        Position ``(y, x)`` of the centre of the first pixel, micrometre.
    warnings
        What the reader had to guess or leave out, one sentence each.
    """

    pixels: Any
    channel_names: tuple[str, ...]
    roles: Mapping[str, str]
    full_scale: float
    pixel_size_um: float | None
    acquisition: Acquisition
    translate_um: tuple[float, float] = (0.0, 0.0)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3:
            raise ImageReadError(
                f"An image needs the axes (channel, height, width); this one has the shape "
                f"{tuple(self.pixels.shape)}. Split it by time or position first."
            )
        if len(self.channel_names) != self.pixels.shape[0]:
            raise ChannelError(
                f"{len(self.channel_names)} channel names for {self.pixels.shape[0]} channels. "
                "Give one name per channel."
            )
        if len(set(self.channel_names)) != len(self.channel_names):
            raise ChannelError(
                f"Channel names repeat: {list_choices(self.channel_names)}. Rename them."
            )
        for role, name in self.roles.items():
            if name not in self.channel_names:
                raise ChannelError(self._no_channel(name, f"for the role {role!r}"))

    @property
    def id(self) -> str:
        """Identity of the image: the acquisition's id."""
        return self.acquisition.id

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    def has(self, role: str) -> bool:
        """Whether a channel plays *role*."""
        return role in self.roles

    def channel(self, role_or_name: str) -> npt.NDArray[Any]:
        """Load one channel, by role or by name, as a numpy array ``(height, width)``.

        Raises
        ------
        ChannelError
            Where there is no such role or channel; it lists those there are.
        """
        name = self.roles.get(role_or_name, role_or_name)
        if name not in self.channel_names:
            raise ChannelError(self._no_channel(name, ""))
        return np.asarray(self.pixels[self.channel_names.index(name)])

    def with_roles(self, roles: Mapping[str, str]) -> Self:
        """Return the same image with exactly these roles."""
        return replace(self, roles=dict(roles))

    def _no_channel(self, name: str, purpose: str) -> str:
        roles = list_choices(f"{role}={channel}" for role, channel in self.roles.items())
        return (
            f"No channel or role {name!r} {purpose}".rstrip()
            + f" in image {self.id}; its channels are {list_choices(self.channel_names)} and its "
            f"roles {roles}. Choose one of these or set the roles."
        )


@dataclass(frozen=True, eq=False)
class PatchSet:
    """All patches of one image, good ones and rejected ones.

    Parameters
    ----------
    image
        The image they were cut from, for its identity, pixel size and roles.
    pixels
        ``(n, channel, side, side)`` float32 in ``[0, 1]``.
    channel_roles
        The role of each channel, in the order that the model expects.
    origins
        Row and column of the top-left pixel, ``(n, 2)``.
    accepted
        Verdict of the quality control, ``(n,)``.
    reasons
        Why a patch was rejected; empty where it was accepted.
    quality
        The measured values behind the verdict, one array ``(n,)`` each.
    """

    image: MultichannelImage
    pixels: FloatArray
    channel_roles: tuple[str, ...]
    origins: IntArray
    accepted: BoolArray
    reasons: tuple[str, ...]
    quality: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def side(self) -> int:
        """Edge of a patch in pixels."""
        return int(self.pixels.shape[-1])

    @property
    def ids(self) -> tuple[str, ...]:
        """Stable identity of each patch; see `Acquisition.patch_id`."""
        acquisition = self.image.acquisition
        return tuple(acquisition.patch_id(int(y), int(x)) for y, x in self.origins)

    @property
    def accepted_pixels(self) -> FloatArray:
        """Pixels of the accepted patches, ``(n_accepted, channel, side, side)``."""
        return self.pixels[self.accepted]
