"""What a decision returns, and what the rest of the process may do with it and when (rule 1)."""

import msgspec

from dolmen.protocol.control_messages import Reply
from namenode.core.edits import AnyEdit
from namenode.core.records import AdminState


class BlocksForgotten(msgspec.Struct, frozen=True):
    """These blocks are no longer wanted (their file is doomed): nothing is repaired any more."""

    block_ids: tuple[int, ...]


class BlocksDropped(msgspec.Struct, frozen=True):
    """These blocks left the namespace: every replica of them is to be invalidated."""

    block_ids: tuple[int, ...]


class BlocksChanged(msgspec.Struct, frozen=True):
    """Classify these blocks anew: published, or wanted replication changed."""

    block_ids: tuple[int, ...]


class FileReplicationChanged(msgspec.Struct, frozen=True):
    """All blocks of this file are to be classified anew, in pieces."""

    inode_id: int


class LeaseTouched(msgspec.Struct, frozen=True):
    """The writer of this file was heard now."""

    inode_id: int


class LeaseEnded(msgspec.Struct, frozen=True):
    """This file has no writer any more."""

    inode_id: int


class FileOpened(msgspec.Struct, frozen=True):
    """A read token for this file was given out with the reply."""

    inode_id: int
    until_ms: int


class ReadersMoved(msgspec.Struct, frozen=True):
    """Blocks of a file are another's now: who may still read them counts for that one too."""

    source_id: int
    inode_id: int


class AdminStateChanged(msgspec.Struct, frozen=True):
    """A datanode leaves, rests, serves again, or has left."""

    datanode_id: str
    admin_state: AdminState
    maintenance_until_ms: int = 0


class FutureForgotten(msgspec.Struct, frozen=True):
    """What was reported from the future, below these counters, is given up and left alone."""

    next_block_number: int
    next_stamp: int


Effect = (
    BlocksForgotten
    | BlocksDropped
    | BlocksChanged
    | FileReplicationChanged
    | LeaseTouched
    | LeaseEnded
    | FileOpened
    | ReadersMoved
    | AdminStateChanged
    | FutureForgotten
)


NamespaceEffect = LeaseTouched | LeaseEnded | FileOpened | ReadersMoved
"""Those that the namespace half takes; the others are the replication half's."""


class Outcome(msgspec.Struct, frozen=True):
    """A decision: nothing has changed yet."""

    reply: Reply
    edits: tuple[AnyEdit, ...] = ()  #: durable BEFORE the reply leaves the process
    effects: tuple[Effect, ...] = ()  #: released AFTER the commit, dropped with it


class Waits(msgspec.Struct, frozen=True):
    """No decision yet: ask again when the replicas of one of these blocks change, or at a
    deadline."""

    block_ids: tuple[int, ...]
    reason: str
