"""Learning curves in TensorBoard's event format, without TensorBoard. No training."""

import functools
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from napari_bio_superposition.core.files import replaced_file

EVENTS: Final = "events.out.tfevents.0.bio-superposition"
"""The name by which TensorBoard finds the file."""
_CASTAGNOLI: Final = 0x82F63B78


def write_events(curves: Mapping[str, Sequence[tuple[int, float]]], folder: Path) -> Path:
    """Write scalar curves so that ``tensorboard --logdir FOLDER`` shows them.

    Parameters
    ----------
    curves
        Name to pairs of step and value.
    folder
        The file in it is replaced as a whole.
    """
    path, now = folder / EVENTS, time.time()
    version = _field(3, b"brain.Event:2")
    events = [_time(now) + version]
    events += [_scalar(now, step, name, v) for name, pairs in curves.items() for step, v in pairs]
    with replaced_file(path) as part:
        part.write_bytes(b"".join(_records(events)))
    return path


def _records(events: Iterable[bytes]) -> Iterable[bytes]:
    """Frame each event as a TFRecord: length, its checksum, content, its checksum."""
    for event in events:
        length = struct.pack("<Q", len(event))
        yield length + _checksum(length) + event + _checksum(event)


def _scalar(now: float, step: int, name: str, value: float) -> bytes:
    """Return the protocol buffer of one `Event` with one `Summary.Value`."""
    inner = _field(1, name.encode()) + b"\x15" + struct.pack("<f", value)  # tag, simple_value
    return _time(now) + b"\x10" + _varint(step) + _field(5, _field(1, inner))


def _time(now: float) -> bytes:
    return b"\x09" + struct.pack("<d", now)


def _field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _checksum(content: bytes) -> bytes:
    """Return the masked CRC-32C, as TFRecord defines it."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
        table.append(crc)
    return tuple(table)
