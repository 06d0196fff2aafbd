"""The file of verification times: whatever is wrong with it is noticed."""

import pytest

from datanode.core.verified_file import decode, encode, encode_records
from dolmen.protocol.errors import DataDamaged

RECORDS = [(0x20, 1, 1_700_000_000_000), (1 << 63, (1 << 64) - 1, 0), (0, 0, 5)]


def test_what_is_encoded_is_decoded() -> None:
    data = encode([encode_records(RECORDS[:2]), encode_records(RECORDS[2:])])
    assert list(decode(data)) == RECORDS
    assert list(decode(encode([]))) == []


def test_any_bit_flipped_is_noticed() -> None:
    sound = encode([encode_records(RECORDS)])
    for at in range(len(sound)):
        damaged = bytearray(sound)
        damaged[at] ^= 1
        with pytest.raises(DataDamaged):
            decode(bytes(damaged))


def test_a_file_of_another_length_is_noticed() -> None:
    sound = encode([encode_records(RECORDS)])
    for length in range(len(sound)):
        with pytest.raises(DataDamaged):
            decode(sound[:length])
    with pytest.raises(DataDamaged):
        decode(sound + b"\0")
