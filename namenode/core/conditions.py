"""How each complete block fares: missing, under-, over- or mis-replicated; the rest are fine.

How many replicas there are to be is said by `presence`, how they are to be spread by `spread`.
`Conditions` holds the blocks that are not fine, each in exactly one set, so that the sizes of the
sets are the figures of the report. The sets of under-replicated blocks are the queues of repair:
most urgent first, and within one level in turn.

The sets are in memory: they hold only what is wrong, which is little unless much has failed; and
when it has, they grow without a pause (see `block_queue`).
"""

import enum
from collections.abc import Iterable, Sequence

import msgspec

from namenode.core.block_queue import BlockQueue
from namenode.core.datanodes import DatanodeState


class Condition(enum.IntEnum):
    """What is wrong with a block; of the under-replicated ones, the order of repair."""

    ONE_LEFT = 1
    """Under-replicated: a single replica is left."""
    FEW_LEFT = 2
    """Under-replicated: fewer than a third of those wanted."""
    SOME_GONE = 3
    """Under-replicated otherwise."""
    MIS_REPLICATED = 4
    OVER_REPLICATED = 5
    MISSING = 6


UNDER_REPLICATED = (Condition.ONE_LEFT, Condition.FEW_LEFT, Condition.SOME_GONE)
REPAIRED = (*UNDER_REPLICATED, Condition.MIS_REPLICATED)
"""What a further replica helps, most urgent first."""

WORSE_THAN_A_THIRD = 3


class Surroundings(msgspec.Struct, frozen=True):
    """What the cluster offers: hosts and racks with a datanode that takes new replicas, each with
    the most room there is on one."""

    hosts: dict[str, int]
    racks: dict[str, int]


def survey(datanodes: Iterable[DatanodeState]) -> Surroundings:
    """Return what these datanodes, all usable, offer."""
    hosts: dict[str, int] = {}
    racks: dict[str, int] = {}
    for datanode in datanodes:
        hosts[datanode.host] = max(hosts.get(datanode.host, 0), datanode.free_bytes)
        racks[datanode.rack] = max(racks.get(datanode.rack, 0), datanode.free_bytes)
    return Surroundings(hosts, racks)


def urgency(readable: int, wanted: int) -> Condition:
    """Return how urgent it is to copy a block that lacks replicas and can be read from so many."""
    if readable == 1:
        return Condition.ONE_LEFT
    few = readable * WORSE_THAN_A_THIRD < wanted
    return Condition.FEW_LEFT if few else Condition.SOME_GONE


def spread(
    held_by: Sequence[DatanodeState], length_bytes: int, around: Surroundings
) -> Condition | None:
    """Return whether a block with enough replicas, those that count on `held_by`, is badly spread.

    It is if two of them are on one host although another host could take one, or all on one rack
    although another could.
    """
    count = len(held_by)
    hosts = {datanode.host for datanode in held_by}
    racks = {datanode.rack for datanode in held_by}
    crowded = len(hosts) < count and _offers_other(around.hosts, hosts, length_bytes)
    narrow = count > 1 and len(racks) == 1 and _offers_other(around.racks, racks, length_bytes)
    return Condition.MIS_REPLICATED if crowded or narrow else None


class Cramped(msgspec.Struct):
    """The smallest blocks that are spread as well as the room allows, and could be better: as soon
    as another host or rack has room for such a one, they are to be judged again."""

    on_hosts_bytes: int | None = None
    in_racks_bytes: int | None = None

    def note(
        self, held_by: Sequence[DatanodeState], length_bytes: int, around: Surroundings
    ) -> None:
        """A block that is not called badly spread is so on these datanodes."""
        hosts = {datanode.host for datanode in held_by}
        racks = {datanode.rack for datanode in held_by}
        if len(hosts) < len(held_by) and around.hosts.keys() - hosts:
            self.on_hosts_bytes = min(self.on_hosts_bytes or length_bytes, length_bytes)
        if len(held_by) > 1 and len(racks) == 1 and around.racks.keys() - racks:
            self.in_racks_bytes = min(self.in_racks_bytes or length_bytes, length_bytes)


def has_gained(before: dict[str, int], now: dict[str, int], needed_bytes: int | None) -> bool:
    """Return whether any host or rack has so much room now, and had not before."""
    if needed_bytes is None:
        return False
    return any(before.get(name, -1) < needed_bytes <= room for name, room in now.items())


def _offers_other(offered: dict[str, int], taken: set[str], length_bytes: int) -> bool:
    return any(room >= length_bytes and name not in taken for name, room in offered.items())


class Conditions:
    """The blocks that are not fine."""

    def __init__(self) -> None:
        self._sets = {condition: BlockQueue() for condition in Condition}

    def get(self, block_id: int) -> Condition | None:
        """Return what is wrong with a block, None if nothing is."""
        for condition, blocks in self._sets.items():
            if block_id in blocks:
                return condition
        return None

    def counts(self) -> dict[str, int]:
        """Return how many blocks there are in each condition, by its name."""
        return {condition.name: len(blocks) for condition, blocks in self._sets.items()}

    def set(self, block_id: int, condition: Condition | None) -> None:
        """Note what is wrong with a block; it keeps its place in the queue if that is no news."""
        before = self.get(block_id)
        if before is condition:
            return
        if before is not None:
            self._sets[before].discard(block_id)
        if condition is not None:
            self._sets[condition].add(block_id)

    def count(self, *conditions: Condition) -> int:
        """Return how many blocks have one of these conditions."""
        return sum(len(self._sets[condition]) for condition in conditions)

    def take_turn(self, condition: Condition, limit: int) -> list[int]:
        """Return the next `limit` blocks of this condition, which go to the end of its queue."""
        return self._sets[condition].take_turn(limit)

    def of(self, condition: Condition) -> BlockQueue:
        """Return the blocks of this condition."""
        return self._sets[condition]
