"""The tables of the namespace and their keys; values are the records of `records`.

Numbers in keys are big-endian, so that byte order is number order. The durable tables are rebuilt
from the edit log; the soft tables (which replicas were reported) from block reports, and are thrown
away at every start.
"""

import struct
from collections.abc import Iterator
from typing import Protocol


class View(Protocol):
    """What the core reads: structurally `dolmen.runtime.key_value.View`."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""

    def scan(self, table: str, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in ascending order from the first key ≥ `start`."""

    def count(self, table: str) -> int:
        """Return the number of records in a table."""


class Writer(View, Protocol):
    """What `apply` changes: structurally `dolmen.runtime.key_value.WriteTransaction`."""

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""

    def delete(self, table: str, key: bytes) -> bool:
        """Remove `key`; return whether it was there."""


META = "meta"
"""name → Meta record: cluster id, counters, applied txid and its digest."""
ENTRIES = "entries"
"""parent inode id (8), name → Entry."""
INODES = "inodes"
"""inode id (8) → Inode."""
CONTENTS = "contents"
"""inode id (8) → Content: the bytes of inline files, so that listings do not carry them."""
FILE_BLOCKS = "file_blocks"
"""inode id (8), index (4) → block id (8)."""
BLOCKS = "blocks"
"""block id (8) → Block."""
LEASES = "leases"
"""inode id (8) → Lease: the unpublished files and their writers."""
ANSWERS = "answers"
"""client id (16), call number // ANSWERS_PER_RECORD (8) → Answers."""
ANSWERS_BY_AGE = "answers_by_age"
"""time ms (8), key in ANSWERS (24) → empty: the same by age."""
DETACHED = "detached"
"""inode id (8) → due ms (8): directories cut off from the tree, still to be taken apart."""
DOOMED = "doomed"
"""due ms (8), inode id (8) → empty: files deleted or replaced, whose blocks go when due."""
UNHASHED = "unhashed"
"""inode id (8) → since ms (8): the files whose hash is not known and is to be computed."""
DATANODES = "datanodes"
"""datanode id (text) → Datanode: every datanode that ever registered."""
STORAGES = "storages"
"""storage id (text) → Storage."""

DURABLE_TABLES = (
    META,
    ENTRIES,
    INODES,
    CONTENTS,
    FILE_BLOCKS,
    BLOCKS,
    LEASES,
    ANSWERS,
    ANSWERS_BY_AGE,
    DETACHED,
    DOOMED,
    UNHASHED,
    DATANODES,
    STORAGES,
)

REPLICAS = "replicas"
"""block id (8), storage number (4) → Replica."""
STORAGE_BLOCKS = "storage_blocks"
"""storage number (4), block id (8) → empty: the inverse."""

SOFT_TABLES = (REPLICAS, STORAGE_BLOCKS)

ANSWERS_PER_RECORD = 16
"""More of them save little more, and each call that comes alone writes all of them again."""

_U64 = struct.Struct(">Q")
_U64_U64 = struct.Struct(">QQ")
_U64_U32 = struct.Struct(">QI")
_U32_U64 = struct.Struct(">IQ")


def number_key(number: int) -> bytes:
    """Return the key of an inode or block id."""
    return _U64.pack(number)


def read_number(key: bytes) -> int:
    """Return the number that `number_key` packed."""
    number: int = _U64.unpack(key)[0]
    return number


def entry_key(parent_id: int, name: str) -> bytes:
    """Return the key of a directory entry; `name` may be empty, for the start of a scan."""
    return _U64.pack(parent_id) + name.encode()


def split_entry_key(key: bytes) -> tuple[int, str]:
    """Return (parent inode id, name)."""
    return read_number(key[:8]), key[8:].decode()


def file_block_key(inode_id: int, index: int) -> bytes:
    """Return the key of block number `index` of a file."""
    return _U64_U32.pack(inode_id, index)


def answers_key(client_id: bytes, number: int) -> bytes:
    """Return the key of the answers among which that to a call is kept."""
    return client_id + _U64.pack(number // ANSWERS_PER_RECORD)


def answers_age_key(time_ms: int, key: bytes) -> bytes:
    """Return the key, in the order of age, of answers that stand under `key`."""
    return _U64.pack(time_ms) + key


def doomed_key(due_ms: int, inode_id: int) -> bytes:
    """Return the key of a doomed file."""
    return _U64_U64.pack(due_ms, inode_id)


def replica_key(block_id: int, storage_number: int) -> bytes:
    """Return the key of a reported replica."""
    return _U64_U32.pack(block_id, storage_number)


def storage_block_key(storage_number: int, block_id: int) -> bytes:
    """Return the key of a reported replica, in the order of storages."""
    return _U32_U64.pack(storage_number, block_id)
