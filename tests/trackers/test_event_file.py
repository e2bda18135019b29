"""The format of event files: checksums, framing, and what a protocol buffer holds."""

from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from dlassign.trackers.event_file import crc32c, field, framed, scalars


def test_the_checksum_is_that_of_the_standard() -> None:
    # RFC 3720, appendix B.4
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes([0xFF] * 32)) == 0x62A8AB43


@given(st.binary(max_size=50))
def test_a_record_holds_length_and_data(data: bytes) -> None:
    record = framed(data)
    assert struct.unpack("<Q", record[:8])[0] == len(data)
    assert record[12:-4] == data
    stored = struct.unpack("<I", record[-4:])[0]
    turned = (stored - 0xA282EAD8) & 0xFFFFFFFF
    assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == crc32c(data)


def test_fields_are_those_of_protocol_buffers() -> None:
    assert field(1, 150) == b"\x08\x96\x01"
    assert field(2, "testing") == b"\x12\x07testing"
    assert field(1, 0.5) == b"\x09" + struct.pack("<d", 0.5)


def test_a_value_too_large_for_32_bits_is_infinite() -> None:
    assert struct.pack("<f", math.inf) in scalars(0.0, 1, [("loss", 1e300)])
    assert struct.pack("<f", -math.inf) in scalars(0.0, 1, [("loss", -1e300)])
