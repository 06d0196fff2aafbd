"""Checksums: one xxh3-64 per 64 KiB chunk, one xxh3-128 digest per block, one xxh3-128 per file.

A block's digest is taken over its length and the list of its chunk checksums (rule 16), so that
whoever has the list can make it without the bytes, and whoever was given the digest by the namenode
can trust the list it got from a datanode, and with the list the bytes.
"""

import struct
from collections.abc import Iterator

import xxhash

CHUNK_BYTES = 64 * 1024
CHECKSUM_BYTES = 8
DIGEST_BYTES = 16

Buffer = bytes | bytearray | memoryview


def chunk_count(length_bytes: int) -> int:
    """Return how many chunks hold `length_bytes` bytes."""
    return -(-length_bytes // CHUNK_BYTES)


def chunk_checksums(data: Buffer) -> bytes:
    """Return the checksums of `data`, which starts on a chunk boundary: 8 bytes big-endian each."""
    view = memoryview(data)
    digest = xxhash.xxh3_64_digest
    return b"".join(
        digest(view[start : start + CHUNK_BYTES]) for start in range(0, len(view), CHUNK_BYTES)
    )


def first_bad_chunk(data: Buffer, checksums: Buffer) -> int | None:
    """Return the index of the first chunk of `data` that fails its checksum, or None.

    `data` starts on a chunk boundary and `checksums` has exactly one checksum for each chunk of it.
    """
    if len(checksums) != chunk_count(len(data)) * CHECKSUM_BYTES:
        raise ValueError("as many checksums as chunks are needed")
    computed = chunk_checksums(data)
    if computed == checksums:
        return None
    pairs = zip(split_checksums(computed), split_checksums(checksums), strict=True)
    return next(index for index, (ours, theirs) in enumerate(pairs) if ours != theirs)


def split_checksums(checksums: Buffer) -> Iterator[bytes]:
    """Yield the checksums of a packed list one by one."""
    for start in range(0, len(checksums), CHECKSUM_BYTES):
        yield bytes(checksums[start : start + CHECKSUM_BYTES])


def block_digest(length_bytes: int, checksums: Buffer) -> bytes:
    """Return the digest of a block (16 bytes) from its length and packed chunk checksums."""
    hasher = xxhash.xxh3_128(struct.pack(">Q", length_bytes))
    hasher.update(checksums)
    return hasher.digest()


def content_hash(data: Buffer) -> bytes:
    """Return the hash of a whole file's bytes, as ContentHasher does."""
    return xxhash.xxh3_128_digest(data)


class ContentHasher:
    """xxh3-128 over a whole file's bytes, the hash that `xxh128sum` prints."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the file."""
        self._state.update(data)

    def digest(self) -> bytes:
        """Return the hash of the bytes so far: 16 bytes."""
        return self._state.digest()


def hash_of_length(length_bytes: int) -> bytes:
    """Return the whole hash of a file of which only the length is known: empty, that of no bytes,
    else none."""
    return b"" if length_bytes else xxhash.xxh3_128_digest(b"")
