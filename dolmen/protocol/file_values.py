"""What clients and namenode say of files: attributes, blocks, replicas."""

import enum

import msgspec

CONTENT_LIMIT_BYTES = 32 * 1024
"""The longest file that the namenode keeps itself: half of what one edit may have."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Base of all requests, for their common encoding only."""


class EntryKind(enum.IntEnum):
    """What an inode is."""

    DIRECTORY = 1
    FILE = 2


class FileInfo(msgspec.Struct, frozen=True, array_like=True, tag=101, gc=False):
    """What is known of one file or directory. `path` is canonical and absolute."""

    path: str
    inode_id: int
    kind: EntryKind
    length_bytes: int
    mode: int
    owner: str
    group: str
    modified_ms: int
    created_ms: int
    replication: int = 0
    block_size_bytes: int = 0
    content_hash: bytes = b""  # xxh3-128 of the whole file, 16 bytes, empty if unknown
    changed_txid: int = 0  # grows with every change: (inode_id, changed_txid) names a version
    cut_txid: int = 0  # when bytes were last taken away from it: (inode_id, cut_txid) only grows
    inline: bool = False  # the namenode keeps its bytes; it has no blocks, and no replicas


class ReplicaLocation(msgspec.Struct, frozen=True, array_like=True):
    """One replica a reader may ask, nearest first in its list."""

    datanode_id: str
    address: str
    host: str
    rack: str
    stale: bool = False


class LocatedBlock(msgspec.Struct, frozen=True, array_like=True):
    """A complete block, its replicas, and a token to read it."""

    block_id: int
    stamp: int
    offset_bytes: int  # of the block's first byte in the file
    length_bytes: int
    digest: bytes
    replicas: tuple[ReplicaLocation, ...]
    token: bytes


class CommittedBlock(msgspec.Struct, frozen=True, array_like=True):
    """A block the writer is done with: what every replica of it must be."""

    block_id: int
    stamp: int
    length_bytes: int
    digest: bytes
