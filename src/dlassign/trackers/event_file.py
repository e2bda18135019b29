"""The format of TensorBoard's event files: framed records, each a small protocol buffer.

A record is the length of its data (8 bytes, little endian), the masked CRC-32C of these 8 bytes (4), the data, and the
masked CRC-32C of the data (4). The data is an `Event`, written here by hand: TensorBoard reads no more of it than the
few fields below, and their numbers are part of a public format that does not change.

Source: TensorFlow, core/lib/io/record_writer.h and core/util/event.proto; TensorBoard, plugins/hparams/*.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

_CASTAGNOLI = 0x82F63B78
"""The polynomial of CRC-32C, its bits reversed."""
_MASK = 0xA282EAD8
_STRING = 7
"""Type of tensors whose values are texts."""
_NO_STEP = 0


@cache
def _table() -> list[int]:
    """Return the CRC-32C of each byte alone."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return table


def crc32c(data: bytes) -> int:
    """Return the Castagnoli checksum of bytes; that of b"123456789" is 0xE3069283."""
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def framed(data: bytes) -> bytes:
    """Return data as a record of an event file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def _masked(data: bytes) -> bytes:
    # A checksum of data that holds checksums says little, so the one that is stored is turned and shifted.
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def field(number: int, value: bool | int | float | str | bytes) -> bytes:
    """Return a field of a protocol buffer: a whole number from 0 up, a double, a text, or an inner message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    data = value.encode(errors="replace") if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    """Return a whole number, seven bits a byte, the lowest first; the highest bit of a byte says that more follow."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _single(number: int, value: float) -> bytes:
    """Return a field that holds a number in 32 bits; one too large for them is infinite."""
    try:
        data = struct.pack("<f", value)
    except OverflowError:
        data = struct.pack("<f", math.copysign(math.inf, value))
    return _varint(number << 3 | 5) + data


def beginning(time: float) -> bytes:
    """Return the first records of a file.

    The second says that a program has begun at step 0: a TensorBoard that is open forgets what it has read of the run
    from a file that this one replaces.
    """
    version = field(1, time) + field(3, "brain.Event:2")
    began = field(1, time) + field(2, _NO_STEP) + field(7, field(1, 1))
    return framed(version) + framed(began)


def scalars(time: float, step: int, values: Iterable[tuple[str, float]]) -> bytes:
    """Return a record of named values of one step."""
    summary = b"".join(field(1, field(1, name) + _single(2, value)) for name, value in values)
    return framed(field(1, time) + field(2, step) + field(5, summary))


def text(time: float, name: str, markdown: str) -> bytes:
    """Return a record that the tab Text shows."""
    shape = field(2, field(1, 1))
    tensor = field(1, _STRING) + field(2, shape) + field(8, markdown)
    return _of_plugin(time, name, "text", b"", field(8, tensor))


def hparams(time: float, values: Mapping[str, Any], *, group: str) -> bytes:
    """Return the record that the tab HParams shows a run by: its settings; runs of one group are averaged there."""
    entries = b"".join(field(1, field(1, key) + field(2, _setting(value))) for key, value in values.items())
    started = entries + field(4, group) + field(5, time)
    return _of_plugin(time, "_hparams_/session_start_info", "hparams", field(3, started))


def hparams_end(time: float, *, success: bool) -> bytes:
    """Return the record that says how a run has ended."""
    ended = field(1, 1 if success else 2) + field(2, time)
    return _of_plugin(time, "_hparams_/session_end_info", "hparams", field(4, ended))


def _setting(value: Any) -> bytes:
    """Return a google.protobuf.Value."""
    if isinstance(value, bool):
        return field(4, value)
    if isinstance(value, int | float):
        return field(2, float(value))
    return field(3, str(value))


def _of_plugin(time: float, tag: str, plugin: str, content: bytes, value: bytes = b"") -> bytes:
    metadata = field(1, field(1, plugin) + field(2, content))
    summary = field(1, field(1, tag) + field(9, metadata) + value)
    return framed(field(1, time) + field(2, _NO_STEP) + field(5, summary))
