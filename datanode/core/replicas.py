"""The life of a replica: its states, the events that change them, and nothing else.

    (none) ─ COPY_STARTED ─► TEMPORARY ─ COPY_FINALIZED ─► FINALIZED
       │                        └─ PREFIX_COPIED ─► BEING_WRITTEN
       ├─ ARRIVED_WHOLE ─► FINALIZED
       └─ FIRST_SEGMENT_ARRIVED ─► BEING_WRITTEN ─ WRITER_FINALIZED ─► FINALIZED
                                        ▲  └─ RESTARTED ─► WAITING_FOR_RECOVERY
                                        └─ RESTAMPED ── from each of those three

    FINALIZED ─ DAMAGE_FOUND ─► DAMAGED ─ FOUND_SOUND ─► FINALIZED

A DAMAGED replica is read as before, by readers who verify what they get, and nothing else is done
with it until it is dropped. It is sound again if its whole content reads well later, as after the
trouble of a cable. A replica has one stamp at a time; whoever names another one is refused. A
TEMPORARY replica has never been promised to anybody: it is not reported and does not outlive the
process. What the table lacks is a bug, and raises.
"""

import enum
from dataclasses import dataclass

from datanode.core.receiver import ReceivedChunks
from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.protocol.errors import NoSuchReplica, StaleGeneration
from dolmen.protocol.identifiers import format_block_id


class ReplicaEvent(enum.Enum):
    """What can happen to a replica."""

    FIRST_SEGMENT_ARRIVED = enum.auto()
    ARRIVED_WHOLE = enum.auto()
    COPY_STARTED = enum.auto()
    PREFIX_COPIED = enum.auto()
    COPY_FINALIZED = enum.auto()
    WRITER_FINALIZED = enum.auto()
    RESTAMPED = enum.auto()
    RESTARTED = enum.auto()
    DAMAGE_FOUND = enum.auto()
    FOUND_SOUND = enum.auto()
    DROPPED = enum.auto()


_TEMPORARY = ReplicaState.TEMPORARY
_BEING_WRITTEN = ReplicaState.BEING_WRITTEN
_FINALIZED = ReplicaState.FINALIZED
_WAITING = ReplicaState.WAITING_FOR_RECOVERY
_DAMAGED = ReplicaState.DAMAGED

COMPLETE = (_FINALIZED, _DAMAGED)
"""The states of a replica that has, or had, all its bytes and gets no more."""

#: None stands for a replica that does not exist.
TRANSITIONS: dict[tuple[ReplicaState | None, ReplicaEvent], ReplicaState | None] = {
    (None, ReplicaEvent.FIRST_SEGMENT_ARRIVED): _BEING_WRITTEN,
    (None, ReplicaEvent.ARRIVED_WHOLE): _FINALIZED,
    (None, ReplicaEvent.COPY_STARTED): _TEMPORARY,
    (_TEMPORARY, ReplicaEvent.PREFIX_COPIED): _BEING_WRITTEN,
    (_TEMPORARY, ReplicaEvent.COPY_FINALIZED): _FINALIZED,
    (_TEMPORARY, ReplicaEvent.RESTARTED): None,
    (_TEMPORARY, ReplicaEvent.DROPPED): None,
    (_BEING_WRITTEN, ReplicaEvent.WRITER_FINALIZED): _FINALIZED,
    (_BEING_WRITTEN, ReplicaEvent.RESTAMPED): _BEING_WRITTEN,
    (_BEING_WRITTEN, ReplicaEvent.RESTARTED): _WAITING,
    (_BEING_WRITTEN, ReplicaEvent.DROPPED): None,
    (_FINALIZED, ReplicaEvent.RESTAMPED): _BEING_WRITTEN,
    (_FINALIZED, ReplicaEvent.RESTARTED): _FINALIZED,
    (_FINALIZED, ReplicaEvent.DAMAGE_FOUND): _DAMAGED,
    (_FINALIZED, ReplicaEvent.DROPPED): None,
    (_DAMAGED, ReplicaEvent.FOUND_SOUND): _FINALIZED,
    (_DAMAGED, ReplicaEvent.RESTARTED): _DAMAGED,
    (_DAMAGED, ReplicaEvent.DROPPED): None,
    # Rule 17: an unfinished replica whose contents fit the committed digest is finalized.
    (_WAITING, ReplicaEvent.WRITER_FINALIZED): _FINALIZED,
    (_WAITING, ReplicaEvent.RESTAMPED): _BEING_WRITTEN,
    (_WAITING, ReplicaEvent.RESTARTED): _WAITING,
    (_WAITING, ReplicaEvent.DROPPED): None,
}


class ImpossibleTransition(AssertionError):
    """An event that cannot happen in this state: a bug of the datanode."""


def next_state(state: ReplicaState | None, event: ReplicaEvent) -> ReplicaState | None:
    """Return the state after `event`, None if the replica is gone."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        name = state.name if state else "no replica"
        raise ImpossibleTransition(f"{event.name} cannot happen to {name}") from None


def state_after(state: ReplicaState | None, event: ReplicaEvent) -> ReplicaState:
    """Return the state after an event that does not end the replica."""
    after = next_state(state, event)
    if after is None:
        raise ImpossibleTransition(f"a replica does not outlive {event.name}")
    return after


@dataclass(slots=True)
class Replica:
    """One replica as the datanode knows it.

    `received` holds the chunks of one that is not FINALIZED; of a FINALIZED one `stored_bytes` and
    `digest` are kept, and its checksums stay on disk.
    """

    block_id: int
    stamp: int
    state: ReplicaState
    storage_id: str
    received: ReceivedChunks | None = None
    stored_bytes: int = 0
    digest: bytes = b""
    verified_ms: int = 0
    """When all of it was last verified, on the scrubber's clock; 0 if that is not known."""

    @property
    def length_bytes(self) -> int:
        """The length of a finalized replica, else that of its contiguous verified prefix."""
        return self.stored_bytes if self.received is None else self.received.prefix_bytes

    @property
    def occupied_bytes(self) -> int:
        """The bytes it takes on disk, those behind a gap included."""
        return self.stored_bytes if self.received is None else self.received.stored_bytes

    def happened(self, event: ReplicaEvent) -> None:
        """Change the state of a replica that goes on to exist."""
        self.state = state_after(self.state, event)

    def become_finalized(self, event: ReplicaEvent, length_bytes: int, digest: bytes) -> None:
        """The files are durable in their final form: forget the chunks, keep what is reported."""
        self.happened(event)
        self.received, self.stored_bytes, self.digest = None, length_bytes, digest

    def become_written(self, event: ReplicaEvent, stamp: int, received: ReceivedChunks) -> None:
        """The replica goes on as one being written, with these chunks under this stamp."""
        self.happened(event)
        self.stamp, self.received, self.stored_bytes, self.digest = stamp, received, 0, b""

    def chunks(self) -> ReceivedChunks:
        """Return the chunks of a replica that is not finalized."""
        if self.received is None:
            raise ImpossibleTransition(f"{self} has given its chunks up")
        return self.received

    def check_stamp(self, stamp: int) -> None:
        """Raise StaleGeneration unless this is the replica's stamp."""
        if stamp != self.stamp:
            raise StaleGeneration(f"{self} was asked for under stamp {stamp}")

    def report(self) -> ReplicaReport:
        """Return what the namenode is told of this replica."""
        return ReplicaReport(self.block_id, self.stamp, self.length_bytes, self.state, self.digest)

    def __str__(self) -> str:
        return f"replica {format_block_id(self.block_id)} ({self.state.name}, stamp {self.stamp})"


def no_such_replica(block_id: int) -> NoSuchReplica:
    """Return the error for a block that is not here."""
    return NoSuchReplica(f"no replica of block {format_block_id(block_id)} is here")
