"""The durable changes of the namespace: past tense, complete, and refused by nobody.

An edit carries every id and time that the decision drew, so that replay is exact. `apply` (in
`apply.py`) is the only code that changes durable tables. The edits of one outcome are one
`EditGroup`, applied wholly or not at all; the log stores groups in batches.
"""

import msgspec

from dolmen.protocol.client_messages import EntryKind
from namenode.core.records import AdminState, Inode


class Edit(msgspec.Struct, frozen=True, array_like=True):
    """Base of all edits, for their common encoding only."""


class ClusterFormatted(Edit, frozen=True, tag=1):
    """The first edit of every log."""

    cluster_id: str
    namespace_id: int
    time_ms: int


class EpochRaised(Edit, frozen=True, tag=2):
    """A namenode became active (rule 23)."""

    epoch: int
    time_ms: int


class DirectoryMade(Edit, frozen=True, tag=3):
    inode_id: int
    parent_id: int
    name: str
    mode: int
    owner: str
    group: str
    time_ms: int


class FileCreated(Edit, frozen=True, tag=4):
    """An unpublished inode with a lease."""

    inode_id: int
    client_id: bytes
    path: str
    mode: int
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    time_ms: int

    def inode(self, txid: int) -> Inode:
        """Return the inode as it is made."""
        return Inode(
            inode_id=self.inode_id,
            parent_id=0,
            name="",
            kind=EntryKind.FILE,
            mode=self.mode,
            owner=self.owner,
            group=self.group,
            created_ms=self.time_ms,
            modified_ms=self.time_ms,
            created_txid=txid,
            changed_txid=txid,
            replication=self.replication,
            block_size_bytes=self.block_size_bytes,
        )


class BlockAllocated(Edit, frozen=True, tag=5):
    """A block follows the committed ones, or replaces the last one, of which nothing was kept."""

    inode_id: int
    index: int
    block_id: int
    stamp: int
    expected: tuple[str, ...]


class BlockCommitted(Edit, frozen=True, tag=6):
    block_id: int
    length_bytes: int
    digest: bytes


class StampIssued(Edit, frozen=True, tag=7):
    """A stamp was handed out; the block keeps its own until the pipeline is updated (rule 14)."""

    block_id: int
    stamp: int


class PipelineUpdated(Edit, frozen=True, tag=8):
    block_id: int
    stamp: int
    expected: tuple[str, ...]


class FilePublished(Edit, frozen=True, tag=9):
    """The file stands at (parent, name); what stood there is doomed, due at `replaced_due_ms`."""

    inode_id: int
    parent_id: int
    name: str
    length_bytes: int
    content_hash: bytes
    modified_ms: int
    time_ms: int
    replaced_due_ms: int


class FileDropped(Edit, frozen=True, tag=10):
    """An unpublished file was abandoned, or its lease ended: doomed, due at `due_ms`."""

    inode_id: int
    due_ms: int


class EntryRenamed(Edit, frozen=True, tag=11):
    """An entry moved; what stood at the target (a file, an empty directory) is doomed."""

    inode_id: int
    parent_id: int
    name: str
    time_ms: int
    replaced_due_ms: int


class EntryDeleted(Edit, frozen=True, tag=12):
    """A file is doomed; a directory is detached whole and taken apart by `TreeDismantled`."""

    inode_id: int
    time_ms: int
    due_ms: int


class TreeDismantled(Edit, frozen=True, tag=13):
    """At most `limit` entries of a detached directory: files are doomed, directories detached."""

    inode_id: int
    limit: int


class BlocksReclaimed(Edit, frozen=True, tag=14):
    """At most `limit` blocks of a doomed file are gone, the last ones first; then its inode."""

    inode_id: int
    limit: int


class DoomPostponed(Edit, frozen=True, tag=15):
    """A reader still renews: the doomed file's due time moves (rule 22)."""

    inode_id: int
    due_ms: int


class AttributesSet(Edit, frozen=True, tag=16):
    inode_id: int
    time_ms: int
    replication: int | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    modified_ms: int | None = None


class DatanodeRegistered(Edit, frozen=True, tag=17):
    """A datanode is new, or came back at another address, host or rack."""

    datanode_id: str
    number: int
    address: str
    host: str
    rack: str


class StorageRegistered(Edit, frozen=True, tag=18):
    storage_id: str
    number: int
    datanode_id: str


class CallAnswered(Edit, frozen=True, tag=19):
    """The reply to the call that made this group's edits; forgets at most a few older replies."""

    client_id: bytes
    number: int
    time_ms: int
    reply: bytes
    forget_before_ms: int = 0


class AdminStateSet(Edit, frozen=True, tag=20):
    """A datanode is to leave, to rest or to serve again, or has left."""

    datanode_id: str
    admin_state: AdminState
    maintenance_until_ms: int = 0


class FutureGivenUp(Edit, frozen=True, tag=21):
    """An operator goes on with a namespace that was rolled back: these numbers and stamps, which
    replicas from the lost future bear, are never given out again."""

    next_block_number: int
    next_stamp: int


class DraftAttached(Edit, frozen=True, tag=22):
    """An unpublished file is the draft of this one: its blocks are meant for it."""

    draft_id: int
    inode_id: int


class HiddenFileMade(Edit, frozen=True, tag=23):
    """A doomed file in no directory, which keeps what another gives up for those who read it."""

    inode_id: int
    of_id: int
    due_ms: int
    time_ms: int


class BlocksMoved(Edit, frozen=True, tag=24):
    """`count` blocks of a file, from number `first_index` on, come behind those of another."""

    source_id: int
    first_index: int
    count: int
    inode_id: int


class FileExtended(Edit, frozen=True, tag=25):
    """The file's blocks are others now; `cut`: it has not all the bytes any more that it had."""

    inode_id: int
    modified_ms: int
    cut: bool = False
    time_ms: int = 0


class FileJoined(Edit, frozen=True, tag=26):
    """A file, whose blocks another has now, is gone with its entry."""

    inode_id: int
    time_ms: int


class ContentHashed(Edit, frozen=True, tag=27):
    """The hash of a file's bytes as they are since `changed_txid` was computed from its blocks."""

    inode_id: int
    changed_txid: int
    content_hash: bytes


class FileStored(Edit, frozen=True, tag=28):
    """A file stands at (parent, name) with this content, published from its beginning; what stood
    there is doomed, due at `replaced_due_ms`."""

    inode_id: int
    parent_id: int
    name: str
    mode: int
    owner: str
    group: str
    replication: int
    block_size_bytes: int
    content: bytes
    content_hash: bytes
    modified_ms: int
    time_ms: int
    replaced_due_ms: int


class ContentReplaced(Edit, frozen=True, tag=29):
    """A file without blocks has this content now; none if it is to get blocks, or to be empty."""

    inode_id: int
    content: bytes
    content_hash: bytes
    modified_ms: int
    cut: bool = False


AnyEdit = (
    ClusterFormatted
    | EpochRaised
    | DirectoryMade
    | FileCreated
    | BlockAllocated
    | BlockCommitted
    | StampIssued
    | PipelineUpdated
    | FilePublished
    | FileDropped
    | EntryRenamed
    | EntryDeleted
    | TreeDismantled
    | BlocksReclaimed
    | DoomPostponed
    | AttributesSet
    | DatanodeRegistered
    | StorageRegistered
    | CallAnswered
    | AdminStateSet
    | FutureGivenUp
    | DraftAttached
    | HiddenFileMade
    | BlocksMoved
    | FileExtended
    | FileJoined
    | ContentHashed
    | FileStored
    | ContentReplaced
)

EDIT_LIMIT_BYTES = 64 * 1024
RECORDS_PER_EDIT_LIMIT = 1000

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[AnyEdit, ...])


def encode_group(edits: tuple[AnyEdit, ...]) -> bytes:
    """Return one group of edits, as the log stores it."""
    return _ENCODER.encode(edits)


def decode_group(payload: bytes) -> tuple[AnyEdit, ...]:
    """Return the group in `payload`; msgspec's errors mean an unknown edit or damage."""
    return _DECODER.decode(payload)
