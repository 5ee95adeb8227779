"""Which compute devices there are, and which one is used. torch is imported on call only."""

from napari_bio_superposition.core.errors import DeviceError, list_choices


def list_devices() -> tuple[str, ...]:
    """Return the devices of this machine, best first; ``cpu`` is always there."""
    import torch

    cuda = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps, "cpu")


def choose_device(name: str = "auto") -> str:
    """Return the device that *name* stands for on this machine.

    Parameters
    ----------
    name
        ``auto`` (the first of `list_devices`), ``cpu``, ``cuda`` (the first one), ``cuda:1``,
        ``mps``.

    Raises
    ------
    DeviceError
        Where there is no such device; it lists those there are.
    """
    devices = list_devices()
    if name == "auto":
        return devices[0]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in devices:
        raise DeviceError(
            f"No device {name!r} on this machine. "
            f"Choose one of: {list_choices(('auto', *devices))}."
        )
    return wanted
