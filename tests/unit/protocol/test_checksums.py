"""Checksums at the boundaries of chunks, and digests that depend on all they are taken over."""

import pytest
import xxhash

from dolmen.protocol.checksums import (
    CHECKSUM_BYTES,
    CHUNK_BYTES,
    ContentHasher,
    block_digest,
    chunk_checksums,
    chunk_count,
    first_bad_chunk,
    split_checksums,
)

LENGTHS = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]


def some_bytes(length_bytes: int) -> bytes:
    return bytes(place * 7 % 251 for place in range(length_bytes))


@pytest.mark.parametrize("length_bytes", LENGTHS)
def test_each_chunk_has_one_checksum(length_bytes: int) -> None:
    data = some_bytes(length_bytes)
    checksums = chunk_checksums(data)
    assert len(checksums) == chunk_count(length_bytes) * CHECKSUM_BYTES
    assert list(split_checksums(checksums)) == [
        xxhash.xxh3_64_digest(data[start : start + CHUNK_BYTES])
        for start in range(0, length_bytes, CHUNK_BYTES)
    ]
    assert first_bad_chunk(data, checksums) is None
    assert chunk_checksums(memoryview(bytearray(data))) == checksums


@pytest.mark.parametrize("place", [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES])
def test_a_changed_byte_is_found_in_its_chunk(place: int) -> None:
    data = bytearray(some_bytes(2 * CHUNK_BYTES + 1))
    checksums = chunk_checksums(data)
    data[place] ^= 0x80
    assert first_bad_chunk(data, checksums) == place // CHUNK_BYTES


def test_the_first_of_several_bad_chunks_is_named() -> None:
    data = bytearray(some_bytes(3 * CHUNK_BYTES))
    checksums = bytearray(chunk_checksums(data))
    checksums[CHECKSUM_BYTES] ^= 1
    checksums[2 * CHECKSUM_BYTES] ^= 1
    assert first_bad_chunk(data, checksums) == 1


@pytest.mark.parametrize("wrong", [b"", bytes(CHECKSUM_BYTES - 1), bytes(2 * CHECKSUM_BYTES)])
def test_a_list_of_the_wrong_length_is_no_list_of_these_chunks(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="as many checksums as chunks"):
        first_bad_chunk(b"x", wrong)


def test_a_block_digest_depends_on_the_length_and_on_every_checksum() -> None:
    checksums = chunk_checksums(some_bytes(2 * CHUNK_BYTES))
    digests = {
        block_digest(2 * CHUNK_BYTES, checksums),
        block_digest(2 * CHUNK_BYTES - 1, checksums),
        block_digest(2 * CHUNK_BYTES, checksums[::-1]),
        block_digest(2 * CHUNK_BYTES, checksums[:-1] + b"\0"),
        block_digest(0, b""),
    }
    assert len(digests) == 5
    assert {len(digest) for digest in digests} == {16}


def test_the_content_hash_is_the_one_of_the_whole_however_it_is_cut() -> None:
    data = some_bytes(CHUNK_BYTES + 5)
    hasher = ContentHasher()
    for start in range(0, len(data), 1000):
        hasher.update(memoryview(data)[start : start + 1000])
    assert hasher.digest() == xxhash.xxh3_128_digest(data)
