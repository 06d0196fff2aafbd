"""What the replicas of one block are good for, now that datanodes may leave or rest.

A replica counts towards the wanted number if its datanode is in service and not DEAD, or rests: in
MAINTENANCE it counts although it is away, so that nothing is copied because of it. But of a block
with a resting replica as many as make a write durable (rule 17) are to be on others. One that is
being decommissioned has a replica to read and to copy from, which counts for nothing.

A leaving datanode is needed until the block has its number elsewhere, or is on every datanode that
serves if those are fewer, as long as they make it durable; a resting one until the block is durable
elsewhere, as far as there is anybody else.
"""

from collections.abc import Iterable

import msgspec

from namenode.core.block_map import Holding, Worth
from namenode.core.conditions import Condition, urgency
from namenode.core.datanodes import DatanodeState, Liveness
from namenode.core.records import AdminState


class Members(msgspec.Struct, frozen=True):
    """Who could have replicas."""

    min_replicas: int
    serving: int = 0  # in service, and not DEAD
    registered: int = 0  # in service, also DEAD ones

    def durable(self, wanted: int) -> int:
        """Return on how many datanodes a block that wants so many replicas is durable."""
        return max(1, min(self.min_replicas, wanted))


def count_members(datanodes: Iterable[DatanodeState], min_replicas: int) -> Members:
    """Return who there is."""
    in_service = [d for d in datanodes if d.admin_state is AdminState.IN_SERVICE]
    serving = sum(datanode.liveness is not Liveness.DEAD for datanode in in_service)
    return Members(min_replicas, serving, len(in_service))


class Presence(msgspec.Struct, frozen=True):
    """The datanodes with a good replica of one block that is not ordered away."""

    serving: tuple[DatanodeState, ...]
    resting: tuple[DatanodeState, ...]  # also DEAD ones
    leaving: tuple[DatanodeState, ...]  # also DEAD ones

    @property
    def counting(self) -> tuple[DatanodeState, ...]:
        """Those that count towards the wanted number."""
        return (*self.serving, *self.resting)

    @property
    def readable(self) -> tuple[DatanodeState, ...]:
        """Those that the block can be read and copied from."""
        return tuple(
            datanode
            for datanode in (*self.serving, *self.resting, *self.leaving)
            if datanode.liveness is not Liveness.DEAD
        )

    def lacking(self, wanted: int, durable: int, coming: int = 0) -> int:
        """Return how many more are to be made when so many are on their way."""
        missing = wanted - len(self.counting) - coming
        if self.resting:
            missing = max(missing, durable - len(self.serving) - coming)
        return max(0, missing)

    def condition(self, wanted: int, members: Members) -> Condition | None:
        """Return what is wrong with the number of replicas."""
        readable = len(self.readable)
        if not readable:
            return Condition.MISSING
        durable = min(members.durable(wanted), max(1, members.serving))
        if self.lacking(wanted, durable):
            return urgency(readable, wanted)
        return Condition.OVER_REPLICATED if len(self.serving) > wanted else None

    def needed(self, wanted: int, members: Members) -> list[DatanodeState]:
        """Return the leaving and resting datanodes that are not to be stopped yet."""
        served, durable = len(self.serving), members.durable(wanted)
        found: list[DatanodeState] = []
        if served < max(1, min(durable, members.serving)):
            found += self.resting
        spread = min(wanted, max(members.serving, min(durable, members.registered)))
        if len(self.counting) < max(1, spread):
            found += [d for d in self.leaving if d.admin_state is AdminState.DECOMMISSIONING]
        return found


def presence_of(held: Iterable[Holding], block_id: int) -> Presence:
    """Sort the holders of a block by what their replica is good for."""
    serving, resting, leaving = [], [], []
    for holding in held:
        datanode = holding.datanode
        if holding.worth is not Worth.GOOD or block_id in datanode.orders:
            continue
        if datanode.admin_state is AdminState.MAINTENANCE:
            resting.append(datanode)
        elif datanode.admin_state is not AdminState.IN_SERVICE:
            leaving.append(datanode)
        elif datanode.liveness is not Liveness.DEAD:
            serving.append(datanode)
    return Presence(tuple(serving), tuple(resting), tuple(leaving))
