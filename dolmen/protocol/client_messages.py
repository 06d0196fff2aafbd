"""What a client asks the namenode, and what it is answered.

Paths are absolute namespace paths (`/a/b`). Times are milliseconds since the epoch. Requests marked
"mutation" go with a call number above 0 and happen exactly once; the others change nothing that
lasts.
"""

from collections.abc import Sequence
from typing import get_args

import msgspec

from dolmen.protocol.draft_messages import DraftMutation, DraftOpened, DraftRead
from dolmen.protocol.errors import MALFORMED, InvalidRequest
from dolmen.protocol.file_values import (
    CONTENT_LIMIT_BYTES as CONTENT_LIMIT_BYTES,
)
from dolmen.protocol.file_values import (
    CommittedBlock as CommittedBlock,
)
from dolmen.protocol.file_values import (
    EntryKind as EntryKind,
)
from dolmen.protocol.file_values import (
    FileInfo as FileInfo,
)
from dolmen.protocol.file_values import (
    LocatedBlock as LocatedBlock,
)
from dolmen.protocol.file_values import (
    ReplicaLocation as ReplicaLocation,
)
from dolmen.protocol.file_values import (
    Request as Request,
)
from dolmen.protocol.operator_messages import OperatorMutation, OperatorRead, OperatorReply
from dolmen.protocol.tokens import Target

# ---------------------------------------------------------------- reads


class GetInfo(Request, frozen=True, tag=1):
    """→ FileInfo. NoSuchPath, NotADirectory (a component of the path is a file)."""

    path: str


class GetInfos(Request, frozen=True, tag=36):
    """→ Infos of at most INFOS_LIMIT paths, in their order: None where GetInfo would say that there
    is nothing.

    Of as many as fit into a page, at least one: whoever gets fewer asks again for the others.
    """

    paths: tuple[str, ...]


class ListDirectory(Request, frozen=True, tag=2):
    """→ Listing: entries after the name `after`, in byte order, at most `limit` (≤ 1000)."""

    path: str
    after: str = ""
    limit: int = 1000


class WalkTree(Request, frozen=True, tag=3):
    """→ Listing of everything below `path`, depth first, names in byte order, parents before
    children.

    `after` is the path (relative to `path`, no leading slash) of the last entry already seen.
    `max_depth` 1 means children only; 0 means no limit. A file has nothing below it.
    """

    path: str
    after: str = ""
    limit: int = 1000
    max_depth: int = 0


class OpenFile(Request, frozen=True, tag=4):
    """→ OpenedFile: attributes and the first page of blocks."""

    path: str
    host: str = ""  # the reader's host label, so that the nearest replica comes first


class LocateBlocks(Request, frozen=True, tag=5):
    """→ LocatedBlocks of an inode that was open: fresh tokens and replicas, also of a deleted file.

    StaleHandle once the file's grace period after deletion or replacement is over. Pages of a file
    that changes between them may not fit together: a reader asks by LocateListed.
    """

    inode_id: int
    first_index: int = 0
    host: str = ""


class RenewLeases(Request, frozen=True, tag=7):
    """→ LeasesRenewed. Keeps unpublished files of this client alive; lists those that ended."""

    inode_ids: tuple[int, ...]


class ReportCorruptReplica(Request, frozen=True, tag=8):
    """→ Done. A hint: the datanode re-reads the replica itself and only its own finding counts."""

    block_id: int
    stamp: int
    datanode_id: str


class CheckCreation(Request, frozen=True, tag=19):
    """→ Done. Refused as `file` would be if it were created now; nothing is made."""

    file: "CreateFile"


# ---------------------------------------------------------------- mutations


class MakeDirectory(Request, frozen=True, tag=20):
    """→ FileInfo. `parents` makes missing parents; an existing directory is fine with
    `exist_ok`."""

    path: str
    mode: int = 0o755
    parents: bool = False
    exist_ok: bool = False


class FirstBlock(msgspec.Struct, frozen=True, array_like=True):
    """Bytes are at hand: the first block of a new file is wanted with it, as by AllocateBlock."""

    excluded: tuple[str, ...] = ()
    host: str = ""


class CreateFile(Request, frozen=True, tag=21):
    """→ CreatedFile: a new inode in no directory, on which the caller holds the lease.

    `path` is where it is meant to go: it is refused now if that could not be published now (a
    directory, below a file, too long, or existing and `exclusive`). 0 asks for the cluster's value.
    """

    path: str
    replication: int = 0
    block_size_bytes: int = 0
    mode: int = 0o644
    exclusive: bool = False
    first_block: FirstBlock | None = None


class AllocateBlock(Request, frozen=True, tag=22):
    """→ AllocatedBlock number `index` of the file; commits block `index - 1` as `previous` says.

    TooFewDatanodes when fewer than min(min_replicas, replication, registered datanodes) can take
    it.
    """

    inode_id: int
    index: int
    previous: CommittedBlock | None = None
    excluded: tuple[str, ...] = ()  # ids of datanodes that just failed this writer
    host: str = ""


class RebuildPipeline(Request, frozen=True, tag=23):
    """→ AllocatedBlock: a new generation stamp is issued, with survivors and replacements as
    targets.

    The block keeps its recorded stamp until `UpdatePipeline`. Replacements copy from `survivors`.
    """

    inode_id: int
    block_id: int
    stamp: int
    survivors: tuple[str, ...]  # datanode ids, in pipeline order
    excluded: tuple[str, ...] = ()
    host: str = ""


class UpdatePipeline(Request, frozen=True, tag=24):
    """→ Done. The issued `stamp` becomes the block's; `members` hold `length_bytes` under it."""

    inode_id: int
    block_id: int
    stamp: int
    length_bytes: int
    members: tuple[str, ...]


class PublishFile(Request, frozen=True, tag=25):
    """→ FileInfo. Puts the file at `path` whole, making parents, replacing a file in one step.

    Waits inside the namenode until every block is complete; TooFewDatanodes if that takes too long.
    """

    inode_id: int
    path: str
    last: CommittedBlock | None
    content_hash: bytes
    exclusive: bool = False
    modified_ms: int = 0  # 0: now


class AbandonFile(Request, frozen=True, tag=26):
    """→ Done. Drops an unpublished file and its blocks."""

    inode_id: int


class StoreFile(Request, frozen=True, tag=35):
    """→ FileInfo. CreateFile and PublishFile in one step, of a file without blocks.

    The namenode keeps `content` itself, at most CONTENT_LIMIT_BYTES. ChecksumMismatch if that does
    not have the hash.
    """

    file: CreateFile
    content: bytes
    content_hash: bytes
    modified_ms: int = 0  # 0: now


class Rename(Request, frozen=True, tag=27):
    """→ Done. As POSIX rename; with `replace=False` an existing target is PathExists."""

    source: str
    target: str
    replace: bool = True


class Delete(Request, frozen=True, tag=28):
    """→ Done. A non-empty directory needs `recursive`; the root is refused, and what is not of
    `kind`."""

    path: str
    recursive: bool = False
    kind: EntryKind | None = None


class SetAttributes(Request, frozen=True, tag=29):
    """→ FileInfo. Changes what is not None."""

    path: str
    replication: int | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    modified_ms: int | None = None


ReadRequest = (
    GetInfo
    | GetInfos
    | ListDirectory
    | WalkTree
    | OpenFile
    | LocateBlocks
    | CheckCreation
    | RenewLeases
    | ReportCorruptReplica
    | DraftRead
    | OperatorRead
)
Mutation = (
    MakeDirectory
    | CreateFile
    | AllocateBlock
    | RebuildPipeline
    | UpdatePipeline
    | PublishFile
    | StoreFile
    | AbandonFile
    | Rename
    | Delete
    | SetAttributes
    | DraftMutation
    | OperatorMutation
)
ClientRequest = ReadRequest | Mutation

MUTATIONS = frozenset(get_args(Mutation))
"""To look a type up in: a union is walked member by member."""

OPERATOR_READS = frozenset(get_args(OperatorRead))


# ---------------------------------------------------------------- replies


class Done(msgspec.Struct, frozen=True, array_like=True, tag=100):
    """It is done; there is nothing more to say."""


class Listing(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """A page of entries; `more` says that the next page is not empty, `after` asks for it.

    The entries are packed once more, so that the next page can be asked for before those of this
    one are unpacked.
    """

    packed: bytes
    more: bool = False
    after: str = ""

    @property
    def entries(self) -> tuple[FileInfo, ...]:
        """The entries, unpacked each time. InvalidRequest: they are not sound."""
        try:
            return _ENTRIES.decode(self.packed)
        except MALFORMED as error:
            raise InvalidRequest(f"malformed listing: {error}") from None


_ENTRIES = msgspec.msgpack.Decoder(tuple[FileInfo, ...])


def make_listing(entries: Sequence[FileInfo], after: str | None = None) -> Listing:
    """Return the page of `entries`, behind which the next one begins `after`, if there is one."""
    return Listing(msgspec.msgpack.encode(entries), after is not None, after or "")


class Infos(msgspec.Struct, frozen=True, array_like=True, tag=117):
    """What is at each of some paths."""

    entries: tuple[FileInfo | None, ...]


class OpenedFile(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """A file as it was at one moment; `more` says that blocks follow after those given.

    Then `block_ids` are the ids of all its blocks at that moment, 8 bytes each, big-endian.
    Of an inline file there are no blocks, but all of its bytes.
    """

    info: FileInfo
    blocks: tuple[LocatedBlock, ...]
    more: bool
    block_ids: bytes = b""
    content: bytes = b""


class LocatedBlocks(msgspec.Struct, frozen=True, array_like=True, tag=104):
    """A page of a file's blocks; `moved`: some are another file's, with their offsets in that."""

    blocks: tuple[LocatedBlock, ...]
    more: bool
    moved: bool = False


class AllocatedBlock(msgspec.Struct, frozen=True, array_like=True, tag=106):
    """A block to write: pipeline in order, and the WRITE token that covers it.

    After RebuildPipeline `fresh` names the targets that must first copy the prefix, with
    `copy_token` (COPY, whose targets are the survivors).
    """

    block_id: int
    stamp: int
    targets: tuple[Target, ...]
    token: bytes
    fresh: tuple[str, ...] = ()
    copy_token: bytes = b""


class CreatedFile(msgspec.Struct, frozen=True, array_like=True, tag=105):
    """The new inode, with the values that were chosen; and the first block, if that was wanted and
    there are datanodes for all its replicas: else it is to be asked for."""

    inode_id: int
    replication: int
    block_size_bytes: int
    first_block: AllocatedBlock | None = None


class LeasesRenewed(msgspec.Struct, frozen=True, array_like=True, tag=107):
    """The inodes whose lease the caller no longer holds."""

    ended: tuple[int, ...]


ClientReply = (
    Done
    | FileInfo
    | Infos
    | Listing
    | OpenedFile
    | LocatedBlocks
    | CreatedFile
    | AllocatedBlock
    | LeasesRenewed
    | DraftOpened
    | OperatorReply
)
