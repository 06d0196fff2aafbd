"""The two forms of a checksum file, as bytes.

*Unfinished*: a header, then one record for each chunk as it was stored, appended in any order. Each
record checks itself, block id included, so that a torn or foreign one is never believed; a record
may be superseded by a later one of a longer chunk. The header has no stamp: the file's name has it,
so that a new stamp is one rename. *Finalized*: a header with everything there is to know about the
replica and a checksum over itself, a table of sections (others may join), and the chunk checksums,
which the digest in the header covers: no bit can change unnoticed.
"""

import struct
from dataclasses import dataclass

import xxhash

from datanode.core.receiver import ChunkRecord
from dolmen.protocol.checksums import CHECKSUM_BYTES, CHUNK_BYTES, block_digest, chunk_count
from dolmen.protocol.errors import DataDamaged, UnsupportedVersion, WrongCluster

FORMAT_VERSION = 1
_UNFINISHED_MAGIC = b"DLMNCREC"
_FINALIZED_MAGIC = b"DLMNCSUM"
_PREFIX = struct.Struct(">8sH")  # magic, format version: the same in every version to come
_UNFINISHED = struct.Struct(">8sHH16sQ")  # …, flags, cluster id, block id
_FINALIZED = struct.Struct(">8sHHI16sQQQ16s")  # …, sections, chunk size, cluster, block, …
_SECTION = struct.Struct(">HQQ")  # kind, offset, length
_CHECK = struct.Struct(">Q")
_RECORD = struct.Struct(">II8s")
_RECORD_CHECK = struct.Struct(">I")
RECORD_BYTES = _RECORD.size + _RECORD_CHECK.size
UNFINISHED_HEADER_BYTES = _UNFINISHED.size + _CHECK.size
_TEMPORARY_FLAG = 1
_CHUNK_CHECKSUMS = 1
_SECTIONS_LIMIT = 16  # one is known; a table of more is garbage, or not ours to read


@dataclass(frozen=True, slots=True)
class UnfinishedContents:
    """A checksum file of a replica that is not finalized: the records that are intact."""

    cluster_id: str
    block_id: int
    temporary: bool
    records: list[ChunkRecord]


@dataclass(frozen=True, slots=True)
class FinalizedHeader:
    """What the checksum file of a finalized replica says of it, verified by itself."""

    cluster_id: str
    block_id: int
    stamp: int
    length_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class FinalizedContents(FinalizedHeader):
    """A checksum file of a finalized replica, whole and verified."""

    checksums: bytes


Contents = UnfinishedContents | FinalizedContents

HEAD_BYTES = _FINALIZED.size + _SECTIONS_LIMIT * _SECTION.size + _CHECK.size
"""The beginning of a finalized replica's checksum file: header and table, at most."""


def encode_unfinished_header(cluster_id: str, block_id: int, *, temporary: bool) -> bytes:
    """Return the start of an unfinished replica's checksum file."""
    flags = _TEMPORARY_FLAG if temporary else 0
    cluster = bytes.fromhex(cluster_id)
    header = _UNFINISHED.pack(_UNFINISHED_MAGIC, FORMAT_VERSION, flags, cluster, block_id)
    return header + _CHECK.pack(xxhash.xxh3_64_intdigest(header))


def encode_records(block_id: int, records: list[ChunkRecord]) -> bytes:
    """Return records as they are appended."""
    parts = []
    for record in records:
        packed = _RECORD.pack(record.index, record.length_bytes, record.checksum)
        parts += [packed, _record_check(block_id, packed)]
    return b"".join(parts)


def records_end(size_bytes: int) -> int:
    """Return where the next record goes in a file of this size: a torn one is written over."""
    whole = max(0, size_bytes - UNFINISHED_HEADER_BYTES) // RECORD_BYTES
    return UNFINISHED_HEADER_BYTES + whole * RECORD_BYTES


def encode_finalized(contents: FinalizedContents) -> bytes:
    """Return the checksum file of a finalized replica."""
    header = _FINALIZED.pack(
        _FINALIZED_MAGIC,
        FORMAT_VERSION,
        1,
        CHUNK_BYTES,
        bytes.fromhex(contents.cluster_id),
        contents.block_id,
        contents.stamp,
        contents.length_bytes,
        contents.digest,
    )
    start = len(header) + _SECTION.size + _CHECK.size
    header += _SECTION.pack(_CHUNK_CHECKSUMS, start, len(contents.checksums))
    return header + _CHECK.pack(xxhash.xxh3_64_intdigest(header)) + contents.checksums


def decode(data: bytes, cluster_id: str, block_id: int) -> Contents:
    """Return what a checksum file says; DataDamaged unless it is intact and of this block."""
    if len(data) < _PREFIX.size:
        raise DataDamaged("the checksum file has no header")
    magic, version = _PREFIX.unpack_from(data)
    if magic not in (_UNFINISHED_MAGIC, _FINALIZED_MAGIC):
        raise DataDamaged("the checksum file does not begin with its magic")
    if version != FORMAT_VERSION:
        raise UnsupportedVersion(
            f"the checksum file has format {version}; this software knows {FORMAT_VERSION}"
        )
    contents = _decode_unfinished(data) if magic == _UNFINISHED_MAGIC else _decode_finalized(data)
    if contents.cluster_id != cluster_id:
        raise WrongCluster(f"the checksum file is of cluster {contents.cluster_id}")
    if contents.block_id != block_id:
        raise DataDamaged(f"the checksum file is of block {contents.block_id:016x}")
    return contents


def _decode_unfinished(data: bytes) -> UnfinishedContents:
    if len(data) < UNFINISHED_HEADER_BYTES:
        raise DataDamaged("the checksum file's header is torn")
    _check_header(data, _UNFINISHED.size)
    _, _, flags, cluster, block_id = _UNFINISHED.unpack_from(data)
    records = []
    for start in range(UNFINISHED_HEADER_BYTES, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        packed = data[start : start + _RECORD.size]
        check = data[start + _RECORD.size : start + RECORD_BYTES]
        index, length_bytes, checksum = _RECORD.unpack(packed)
        if check == _record_check(block_id, packed) and 0 < length_bytes <= CHUNK_BYTES:
            records.append(ChunkRecord(index, length_bytes, checksum))
    temporary = bool(flags & _TEMPORARY_FLAG)
    return UnfinishedContents(cluster.hex(), block_id, temporary, records)


def decode_header(data: bytes, cluster_id: str, block_id: int) -> FinalizedHeader | None:
    """Return the header of a finalized replica's checksum file whose rest is damaged; None if the
    header is damaged too, or of another block."""
    if data[: len(_FINALIZED_MAGIC)] != _FINALIZED_MAGIC:
        return None
    try:
        header, _ = _decode_finalized_header(data)
    except (DataDamaged, UnsupportedVersion):
        return None
    return header if (header.cluster_id, header.block_id) == (cluster_id, block_id) else None


def find_checksums(head: bytes) -> int:
    """Return where the chunk checksums begin in a file that begins with `head`; DataDamaged unless
    it is the checksum file of a finalized replica."""
    if head[: len(_FINALIZED_MAGIC)] == _FINALIZED_MAGIC:
        _, sections = _decode_finalized_header(head)
        for number in range(sections):
            kind, start, _ = _SECTION.unpack_from(head, _FINALIZED.size + number * _SECTION.size)
            if kind == _CHUNK_CHECKSUMS:
                return int(start)
    raise DataDamaged("the checksum file has no list of checksums")


def _decode_finalized_header(data: bytes) -> tuple[FinalizedHeader, int]:
    """Return the header and the number of sections."""
    if len(data) < _FINALIZED.size:
        raise DataDamaged("the checksum file's header is torn")
    fields = _FINALIZED.unpack_from(data)
    _, _, sections, chunk_bytes, cluster, block_id, stamp, length_bytes, digest = fields
    table_end = _FINALIZED.size + sections * _SECTION.size
    if sections > _SECTIONS_LIMIT or len(data) < table_end + _CHECK.size:
        raise DataDamaged("the checksum file's header is torn")
    _check_header(data, table_end)
    if chunk_bytes != CHUNK_BYTES:
        raise UnsupportedVersion(f"the checksum file is for chunks of {chunk_bytes} bytes")
    return FinalizedHeader(cluster.hex(), block_id, stamp, length_bytes, digest), sections


def _decode_finalized(data: bytes) -> FinalizedContents:
    header, sections = _decode_finalized_header(data)
    checksums = b""
    end = _FINALIZED.size + sections * _SECTION.size + _CHECK.size
    for number in range(sections):
        kind, start, length = _SECTION.unpack_from(data, _FINALIZED.size + number * _SECTION.size)
        end = max(end, start + length)
        if kind == _CHUNK_CHECKSUMS:
            checksums = data[start : start + length]
    if len(data) != end:
        raise DataDamaged(f"the checksum file has {len(data)} bytes where it should end at {end}")
    if len(checksums) != chunk_count(header.length_bytes) * CHECKSUM_BYTES:
        raise DataDamaged("the checksum file does not have one checksum for each chunk")
    if block_digest(header.length_bytes, checksums) != header.digest:
        raise DataDamaged("the checksums do not fit the block's digest")
    return FinalizedContents(
        header.cluster_id,
        header.block_id,
        header.stamp,
        header.length_bytes,
        header.digest,
        checksums,
    )


def _check_header(data: bytes, end: int) -> None:
    (check,) = _CHECK.unpack_from(data, end)
    if check != xxhash.xxh3_64_intdigest(data[:end]):
        raise DataDamaged("the checksum file's header is damaged")


def _record_check(block_id: int, packed: bytes) -> bytes:
    digest = xxhash.xxh3_64_intdigest(packed, seed=block_id)
    return _RECORD_CHECK.pack(digest & 0xFFFFFFFF)
