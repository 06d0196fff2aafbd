"""How a published file gets more bytes, or fewer: through a draft.

A draft is an unpublished file whose blocks are meant for another one, its target. A target has at
most one draft, and whoever holds the lease of the draft is the target's one writer. Blocks are
written to the draft as to any unpublished file (AllocateBlock and so on, under the draft's inode
id), and `ExtendFile` moves them to the target, whole and complete, in one step: committed blocks
never change. So the target always has exactly the bytes that were last extended, whatever becomes
of its writer, and there is nothing to recover: a draft that ends takes with it only what nobody was
promised.
"""

import msgspec

from dolmen.protocol.file_values import CommittedBlock, LocatedBlock, Request

LISTED_LIMIT = 500
"""Blocks that one call names: some milliseconds of the namenode's time."""

# ---------------------------------------------------------------- reads


class LocateBlock(Request, frozen=True, tag=15):
    """→ LocatedBlocks with this one block, wherever it is now: fresh token and replicas.

    For a reader that knows the block: files may have been cut, joined or deleted since. StaleHandle
    once the block is kept no longer.
    """

    block_id: int
    host: str = ""


class ReopenFile(Request, frozen=True, tag=16):
    """→ OpenedFile: the file as it is now, wherever it was moved to. StaleHandle: deleted."""

    inode_id: int
    host: str = ""


class LocateListed(Request, frozen=True, tag=17):
    """→ LocatedBlocks: blocks that inode `inode_id` listed when it was opened, wherever they are.

    In their order; fewer if the answer is full, or up to the first that is kept no longer:
    StaleHandle if that is the first of all.
    """

    inode_id: int
    block_ids: tuple[int, ...]
    host: str = ""


class KeepBlocks(Request, frozen=True, tag=18):
    """→ Done. Somebody still reads these blocks: they stay for as long as a token given now."""

    block_ids: tuple[int, ...]


# ---------------------------------------------------------------- mutations


class OpenDraft(Request, frozen=True, tag=31):
    """→ DraftOpened: the caller is the file's one writer.

    LeaseConflict while another writer was heard within the soft limit; after that its draft ends.
    NoSuchPath, IsADirectory. `inode_id`, if given, is which file must stand at `path`.
    """

    path: str
    inode_id: int = 0
    host: str = ""


class ExtendFile(Request, frozen=True, tag=32):
    """→ FileInfo of the target. Its blocks from `start_bytes` on give way to those of the draft.

    `start_bytes` is where one of its blocks begins, or its end; `keep_bytes` says how many of its
    bytes it still has afterwards: all of them (more are appended), or fewer (it is cut). Those from
    `start_bytes` to `keep_bytes` the draft begins with. `last` commits the draft's last block.
    `final` ends the draft. Waits inside the namenode until all blocks are complete, as PublishFile.
    LeaseConflict: the draft is not the target's any more. StaleHandle: the target was deleted.
    """

    draft_id: int
    start_bytes: int
    keep_bytes: int
    last: CommittedBlock | None = None
    final: bool = False
    modified_ms: int = 0  # 0: now


class RecoverLease(Request, frozen=True, tag=33):
    """→ FileInfo. Ends the draft of the file at `path`, whoever holds it: others may write."""

    path: str


class ConcatFiles(Request, frozen=True, tag=34):
    """→ FileInfo of the target: the sources' blocks are behind its own, in this order.

    The sources are gone in the same step. All are files, none twice, none with a draft.
    """

    target: str
    sources: tuple[str, ...]


DraftRead = LocateBlock | ReopenFile | LocateListed | KeepBlocks
DraftMutation = OpenDraft | ExtendFile | RecoverLease | ConcatFiles


# ---------------------------------------------------------------- replies


class DraftOpened(msgspec.Struct, frozen=True, array_like=True, tag=116):
    """A draft was made. `tail` is the target's last block, if it has one."""

    draft_id: int
    inode_id: int
    path: str
    length_bytes: int
    block_size_bytes: int
    replication: int
    tail: LocatedBlock | None = None
