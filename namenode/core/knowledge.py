"""What deciding about files needs to know of the cluster: the seam between namespace and
replication.

The namespace half (`namespace`, `files`, `leases`) asks; the replication half (`block_map`,
`datanodes`, `placement`) answers from soft state. Nothing here changes anything.
"""

from random import Random
from typing import Protocol

import msgspec

from dolmen.protocol.client_messages import ReplicaLocation
from dolmen.protocol.operator_messages import DatanodeReport
from dolmen.protocol.tokens import Target
from namenode.core.outcome import AdminStateChanged
from namenode.core.records import Block


class Wish(msgspec.Struct, frozen=True):
    """Targets wanted for one block."""

    wanted: int  # how many new targets
    length_bytes: int  # room each must have
    writer_host: str = ""
    holders: tuple[
        str, ...
    ] = ()  # datanode ids that have it already: never chosen, count for racks
    excluded: tuple[str, ...] = ()


class Knowledge(Protocol):
    """Soft state, as far as decisions about files need it."""

    random: Random

    def in_safe_mode(self) -> str | None:
        """Return why the namenode is in safe mode, or None if it is not."""

    def registered_count(self) -> int:
        """Return how many datanodes are registered and not leaving, dead ones included."""

    def describe(self, datanode_id: str) -> DatanodeReport | None:
        """Return what is known of a datanode now, None if nothing is."""

    def due_changes(self, now_ms: int) -> tuple[AdminStateChanged, ...]:
        """Return who has left for good, and whose maintenance is over."""

    def choose_targets(self, wish: Wish) -> tuple[Target, ...]:
        """Return up to `wish.wanted` distinct targets in pipeline order, best first; fewer, or
        none, if no more can take the block. Only LIVE datanodes in service."""

    def most_room_bytes(self) -> int:
        """Return the greatest room that a datanode which takes new replicas has."""

    def targets_of(self, datanode_ids: tuple[str, ...]) -> tuple[Target, ...]:
        """Return those of the given datanodes that are LIVE now, as targets, in the order given."""

    def good_replicas(self, block: Block) -> int:
        """Return how many datanodes have reported a FINALIZED replica of this block themselves,
        with the block's committed stamp, length and digest, and are not DEAD."""

    def locations(self, block: Block, reader_host: str) -> tuple[ReplicaLocation, ...]:
        """Return the good replicas of a block, nearest first, stale ones last, dead ones left
        out; and after them, as stale, damaged ones, whose good ranges can be read."""
