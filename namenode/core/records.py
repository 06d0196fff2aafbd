"""The records of the namespace, each a versioned, checksummed value of one table (rule 9).

A value is: format version (1 byte), msgpack array, xxh32 of both (4 bytes). Fields are only added
at the end, with defaults, so that older records stay readable. A value that fails its checksum
raises DataDamaged: the namenode then stops and rebuilds its tables from checkpoint and log.
"""

import enum
from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec
import xxhash

from dolmen.protocol.client_messages import EntryKind
from dolmen.protocol.errors import MALFORMED, DataDamaged, UnsupportedVersion

RECORD_FORMAT = 2
"""Format 1 named the datanodes of a block by their ids, in a hundred bytes."""
_CHECK_BYTES = 4

RECALLED = 1024
"""Values of each type whose records are remembered: some hundred KiB. Equal bytes are always the
same record, so nothing has to be forgotten when a table changes."""


class BlockState(enum.IntEnum):
    """UNDER_CONSTRUCTION until the writer is done with it, then COMMITTED.

    COMPLETE (enough replicas are finalized) is not recorded: a block of a published file is
    complete, and that of an open file is asked of the block map when the file is published.
    """

    UNDER_CONSTRUCTION = 1
    COMMITTED = 2
    UNDER_RECOVERY = 3


class AdminState(enum.IntEnum):
    """Whether a datanode is wanted or leaving."""

    IN_SERVICE = 1
    DECOMMISSIONING = 2
    DECOMMISSIONED = 3
    MAINTENANCE = 4


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all records, for their common encoding only."""


class Entry(Record, frozen=True):
    """One name in a directory."""

    inode_id: int
    created_txid: int


class Inode(Record, frozen=True):
    """A file or directory. An unpublished or doomed file is in no directory (parent id 0)."""

    inode_id: int
    parent_id: int
    name: str
    kind: EntryKind
    mode: int
    owner: str
    group: str
    created_ms: int
    modified_ms: int
    created_txid: int
    changed_txid: int
    entry_count: int = 0  # of a directory
    length_bytes: int = 0  # of a file: the sum of its committed blocks, or that of its content
    block_count: int = 0
    replication: int = 0
    block_size_bytes: int = 0
    content_hash: bytes = b""
    published: bool = False
    doomed_due_ms: int = 0  # > 0: deleted or replaced
    storage_policy: int = 0
    coding_policy: int = 0
    flags: int = 0
    extras: dict[int, bytes] = {}
    first_due_ms: int = 0  # the due time before readers postponed it; they may, up to a day
    draft_id: int = 0  # of a file: the unpublished one whose blocks are meant for it
    cut_txid: int = 0  # when bytes were last taken away from it
    hidden: bool = False  # never stood in a directory: keeps what a file gave up for its readers

    @property
    def lacks_hash(self) -> bool:
        """Whether this is a file with bytes, still published, whose hash nobody knows."""
        kept = self.published and not self.doomed_due_ms
        return kept and self.length_bytes > 0 and not self.content_hash

    @property
    def is_inline(self) -> bool:
        """Whether this is a file whose bytes are in the table of contents: it has no blocks."""
        return self.length_bytes > 0 and self.block_count == 0


class Content(Record, frozen=True):
    """All bytes of an inline file."""

    data: bytes


class Block(Record, frozen=True):
    """One block of one file. `expected` are the numbers of the datanodes its pipeline was given."""

    block_id: int
    inode_id: int
    index: int
    stamp: int
    length_bytes: int
    digest: bytes
    state: BlockState
    issued_stamp: int = 0  # a stamp that was only issued, while a pipeline is rebuilt (rule 14)
    floor_bytes: int = 0
    expected: tuple[int, ...] = ()
    offset_bytes: int = 0  # of its first byte in the file


class Lease(Record, frozen=True):
    """The right to write an unpublished file."""

    inode_id: int
    client_id: bytes
    path: str  # where the writer means to publish it; for people only
    target_id: int = 0  # of a draft: the file that its blocks are meant for


class Answer(Record, frozen=True):
    """The reply to a mutation, for its repetitions."""

    number: int
    time_ms: int
    reply: bytes


class Answers(Record, frozen=True):
    """The answers to some calls of one client; `filed_ms` is where they stand by age."""

    filed_ms: int
    answers: tuple[Answer, ...]


class Datanode(Record, frozen=True):
    """A datanode that registered once; its address is the last one."""

    datanode_id: str
    number: int
    address: str
    host: str
    rack: str
    admin_state: AdminState = AdminState.IN_SERVICE
    maintenance_until_ms: int = 0  # 0: until somebody ends it


class Storage(Record, frozen=True):
    """A volume of a datanode."""

    storage_id: str
    number: int
    datanode_id: str


class Replica(Record, frozen=True):
    """A reported replica (soft)."""

    stamp: int
    length_bytes: int
    state: int  # dolmen.protocol.datanode_messages.ReplicaState
    digest: bytes = b""


class Meta(Record, frozen=True):
    """All counters of the namespace in one record, under the key b"meta"."""

    cluster_id: str
    namespace_id: int
    created_ms: int
    epoch: int
    applied_txid: int
    applied_digest: bytes
    next_inode_id: int
    next_block_number: int
    next_stamp: int
    next_datanode_number: int
    next_storage_number: int
    files: int
    directories: int
    blocks: int  # of published files
    given_up_blocks: tuple[tuple[int, int], ...] = ()
    """Ranges [first, end) of numbers that a lost future of this namespace has used (rule 25)."""
    given_up_stamps: tuple[tuple[int, int], ...] = ()
    hidden_files: int = 0  # among the doomed ones
    inline_files: int = 0  # of published files
    inline_bytes: int = 0


R = TypeVar("R", bound=Record)


class Codec(Generic[R]):
    """Encodes and decodes the records of one type."""

    def __init__(self, record_type: type[R]) -> None:
        self._name = record_type.__name__
        self._decoder = msgspec.msgpack.Decoder(record_type)
        self.recall: Callable[[bytes], R] = lru_cache(RECALLED)(self.decode)
        """`decode`, for what is asked for again and again: directories on the way, counters."""

    def encode(self, record: R) -> bytes:
        """Return the value to store."""
        payload = _HEAD + _ENCODER.encode(record)
        return payload + xxhash.xxh32_digest(payload)

    def decode(self, value: bytes) -> R:
        """Return the record in `value`. DataDamaged, UnsupportedVersion."""
        payload = value[:-_CHECK_BYTES]
        if not payload or xxhash.xxh32_digest(payload) != value[-_CHECK_BYTES:]:
            raise DataDamaged(f"a record of the namespace ({self._name}) fails its checksum")
        if payload[0] != RECORD_FORMAT:
            fit = "a newer" if payload[0] > RECORD_FORMAT else "an older"
            raise UnsupportedVersion(
                f"a record of the namespace has format {payload[0]}; "
                f"this software knows {RECORD_FORMAT}: start {fit} one"
            )
        try:
            return self._decoder.decode(payload[1:])
        except MALFORMED as error:
            raise DataDamaged(
                f"a record of the namespace ({self._name}) is malformed: {error}"
            ) from None


_ENCODER = msgspec.msgpack.Encoder()
_HEAD = bytes((RECORD_FORMAT,))

ENTRY = Codec(Entry)
INODE = Codec(Inode)
CONTENT = Codec(Content)
BLOCK = Codec(Block)
LEASE = Codec(Lease)
ANSWERS = Codec(Answers)
DATANODE = Codec(Datanode)
STORAGE = Codec(Storage)
REPLICA = Codec(Replica)
META_RECORD = Codec(Meta)
META_KEY = b"meta"
