"""The file that keeps when each replica of a volume was last verified, as bytes.

A header with magic, format version and count, then one record for each replica, then a checksum
over all of it. It is only a memory: whatever is wrong with it, nothing is known, and everything is
verified again.
"""

import struct
from collections.abc import Iterable, Iterator

import xxhash

from dolmen.protocol.errors import DataDamaged

NAME = "verified"
FORMAT_VERSION = 1
_MAGIC = b"DLMNVRFD"
_HEADER = struct.Struct(">8sHQ")  # magic, format version, number of records
_RECORD = struct.Struct(">QQQ")  # block id, stamp, time in ms
_CHECK = struct.Struct(">Q")

Record = tuple[int, int, int]
"""(block id, stamp, when it was verified)."""


def encode_records(records: Iterable[Record]) -> bytes:
    """Return some records; they are joined in `encode`."""
    return b"".join(_RECORD.pack(*record) for record in records)


def encode(parts: list[bytes]) -> bytes:
    """Return the file that holds these records."""
    body = b"".join(parts)
    header = _HEADER.pack(_MAGIC, FORMAT_VERSION, len(body) // _RECORD.size)
    return header + body + _CHECK.pack(xxhash.xxh3_64_intdigest(header + body))


def decode(data: bytes) -> Iterator[Record]:
    """Yield the records of a file; DataDamaged, before the first, if it is not intact."""
    if len(data) < _HEADER.size + _CHECK.size or data[: len(_MAGIC)] != _MAGIC:
        raise DataDamaged("it does not begin as it should")
    _, version, count = _HEADER.unpack_from(data)
    if version != FORMAT_VERSION:
        raise DataDamaged(f"it has format {version}; this software knows {FORMAT_VERSION}")
    body = memoryview(data)[_HEADER.size : -_CHECK.size]
    (check,) = _CHECK.unpack_from(data, len(data) - _CHECK.size)
    if len(body) != count * _RECORD.size or check != xxhash.xxh3_64_intdigest(
        memoryview(data)[: -_CHECK.size]
    ):
        raise DataDamaged("its checksum is wrong")
    return _RECORD.iter_unpack(body)
