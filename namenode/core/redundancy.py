"""Repair: which copies are made, from where to where, how fast, and which are on their way.

A block with too few replicas gets as many transfers as it lacks, a badly spread one a single one to
a better place. A transfer is told to its target, which pulls the replica from the nearest source
that can give it; it is pending until the target reports the replica, says that it failed, or its
deadline passes, and then the block is planned again. A datanode that holds anything of the block is
no target, except one that found its own replica corrupt and has put it aside: on three datanodes
that is the only place left.

The members of a pipeline that finalized a moment ago are awaited like transfers, for a short time.
"""

from collections.abc import Iterable, Sequence
from random import Random

import msgspec

from dolmen.protocol.datanode_messages import ReplicaState
from namenode.core.block_map import Holding, Worth
from namenode.core.conditions import UNDER_REPLICATED, Condition
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness
from namenode.core.placement import Place, Request, choose
from namenode.core.presence import presence_of
from namenode.core.records import Block
from namenode.core.throttle import Throttle

TRANSFER_PATIENCE_MS = 30_000
"""How long a transfer may take beside its bytes: longer than a busy datanode lets one wait."""

SLOWEST_BYTES_PER_S = 1024 * 1024
"""Bytes per second below which a transfer is as good as lost."""

TRANSFERS_LIMIT = 32
"""On their way to one datanode: enough to keep it busy between two ticks, few to plan anew."""

SOURCES_LIMIT = 8
"""Named in one token: more than a target will ever try."""


def patience_ms(length_bytes: int) -> int:
    """Return how long a transfer of so many bytes may take."""
    return TRANSFER_PATIENCE_MS + length_bytes * 1000 // SLOWEST_BYTES_PER_S


class RepairOptions(msgspec.Struct, frozen=True):
    """How fast repair goes, and how long it waits."""

    rate_bytes: int  # per second and datanode
    publish_grace_ms: int  # how long finalized members of a pipeline are awaited
    min_replicas: int  # how many make a block durable
    shun_ms: int  # how long a datanode that failed to copy a block is not asked again


class Transfer(msgspec.Struct, frozen=True):
    """A copy on its way."""

    block_id: int
    target_id: str
    length_bytes: int
    deadline_ms: int

    @property
    def begun_ms(self) -> int:
        """When it was ordered."""
        return self.deadline_ms - patience_ms(self.length_bytes)


class Need(msgspec.Struct, frozen=True):
    """A block that a further replica helps, with all that is known of it."""

    block: Block
    wanted: int
    condition: Condition
    held: Sequence[Holding]


class Plan(msgspec.Struct, frozen=True):
    """A copy to be made; the sources are nearest first."""

    block: Block
    target: DatanodeState
    sources: tuple[DatanodeState, ...]


class Redundancy:
    """Transfers planned and under way."""

    def __init__(self, options: RepairOptions, datanodes: Datanodes, random: Random) -> None:
        self._options = options
        self._datanodes = datanodes
        self._random = random
        self._pending: dict[int, dict[str, Transfer]] = {}
        self._awaited: dict[int, tuple[int, frozenset[str]]] = {}
        self._shunned: dict[tuple[int, str], int] = {}
        self.throttle = Throttle(options.rate_bytes)
        self.copied_blocks = 0
        self.copied_bytes = 0
        self.failed_copies = 0

    @property
    def pending_count(self) -> int:
        """How many transfers are on their way."""
        return sum(len(transfers) for transfers in self._pending.values())

    @property
    def rate_bytes(self) -> int:
        """Bytes per second that repair may move through one datanode."""
        return self._options.rate_bytes

    def under_way(self, block_id: int) -> list[Transfer]:
        """Return the transfers of a block that are on their way."""
        return list(self._pending.get(block_id, {}).values())

    def shunned_until(self, block_id: int, datanode_id: str) -> int | None:
        """Return until when a datanode is not asked to copy this block, because it failed to."""
        return self._shunned.get((block_id, datanode_id))

    @staticmethod
    def occupied(held: Iterable[Holding]) -> frozenset[str]:
        """Return the datanodes on which a replica stands in the way of another copy."""
        return frozenset(h.datanode.datanode_id for h in held if _occupies(h))

    def begin_tick(self, now_ms: int) -> None:
        """Let time pass for the throttle."""
        known = {d.datanode_id for d in self._datanodes if d.liveness is not Liveness.DEAD}
        self.throttle.refill(known, now_ms)

    def expect(self, block: Block, now_ms: int) -> None:
        """A file was published: its pipelines' members will report within a moment."""
        until_ms = now_ms + self._options.publish_grace_ms
        members = self._datanodes.numbered(block.expected)
        self._awaited[block.block_id] = (until_ms, frozenset(d.datanode_id for d in members))

    def awaits(self, block_id: int, datanode_id: str) -> bool:
        """Return whether a replica of this block is about to be good on this datanode."""
        _, members = self._awaited.get(block_id, (0, frozenset()))
        return datanode_id in members or datanode_id in self._pending.get(block_id, {})

    def arrived(self, block_id: int, datanode_id: str) -> bool:
        """The target has the replica. Returns whether it was pending."""
        transfer = self._end(block_id, datanode_id)
        if transfer is None:
            return False
        self.copied_blocks += 1
        self.copied_bytes += transfer.length_bytes
        return True

    def failed(self, block_id: int, datanode_id: str, now_ms: int) -> None:
        """The target could not copy: for a while others are asked."""
        if self._end(block_id, datanode_id) is not None:
            self.failed_copies += 1
            self._shunned[block_id, datanode_id] = now_ms + self._options.shun_ms

    def forget_block(self, block_id: int) -> None:
        """This block is not repaired any more."""
        self._awaited.pop(block_id, None)
        for target_id in list(self._pending.get(block_id, ())):
            self._end(block_id, target_id)

    def forget_target(self, datanode_id: str) -> None:
        """A datanode died or started anew: what was on its way to it is not."""
        for block_id in [b for b, transfers in self._pending.items() if datanode_id in transfers]:
            self._end(block_id, datanode_id)

    def expire(self, now_ms: int) -> list[int]:
        """Give up what has taken too long; return the blocks whose transfers were given up."""
        late = [
            transfer
            for transfers in self._pending.values()
            for transfer in transfers.values()
            if transfer.deadline_ms <= now_ms
        ]
        for transfer in late:
            self.failed(transfer.block_id, transfer.target_id, now_ms)
        for block_id in [b for b, (until_ms, _) in self._awaited.items() if until_ms <= now_ms]:
            del self._awaited[block_id]
        for key in [k for k, until_ms in self._shunned.items() if until_ms <= now_ms]:
            del self._shunned[key]
        return [transfer.block_id for transfer in late]

    def plan(self, need: Need, now_ms: int) -> list[Plan]:
        """Begin the transfers that `need` lacks, as far as throttle and places allow."""
        block_id = need.block.block_id
        present = presence_of(need.held, block_id)
        have, sources = present.counting, present.readable
        coming = self._coming(block_id, have)
        lacking = 1 - len(coming)
        if need.condition in UNDER_REPLICATED:
            durable = max(1, min(self._options.min_replicas, need.wanted))
            lacking = present.lacking(need.wanted, durable, len(coming))
        if lacking <= 0 or not sources:
            return []
        targets = self._targets(need, [*have, *coming], lacking)
        if need.condition is Condition.MIS_REPLICATED:
            targets = [target for target in targets if _spreads(have, target)]
        plans = []
        for target in targets:
            plan = Plan(need.block, target, self._sources(sources, target, need.block.length_bytes))
            if self._begin(plan, now_ms):
                plans.append(plan)
        return plans

    def _targets(
        self, need: Need, places: Iterable[DatanodeState], count: int
    ) -> list[DatanodeState]:
        request = Request(
            wanted=count,
            length_bytes=need.block.length_bytes,
            holders=tuple(Place(d.datanode_id, d.host, d.rack) for d in places),
            excluded=self.occupied(need.held),
        )
        chosen = choose(
            self._datanodes.roster(),
            request,
            self._random,
            lambda datanode: self.is_free(need.block, datanode),
        )
        return list(chosen)

    def is_pending(self, block_id: int) -> bool:
        """Return whether any replica of this block is on its way."""
        return block_id in self._pending or block_id in self._awaited

    def is_busy(self, target: DatanodeState, length_bytes: int) -> bool:
        """Return whether this datanode takes no more now, and will in a while."""
        allowed = self.throttle.allows(target.datanode_id, length_bytes)
        return target.transfers >= TRANSFERS_LIMIT or not allowed

    def move(
        self, block: Block, target: DatanodeState, have: Sequence[DatanodeState], now_ms: int
    ) -> Plan | None:
        """Begin a copy that no lack asks for, because the block is to be elsewhere; None if the
        throttle does not let it through."""
        plan = Plan(block, target, self._sources(have, target, block.length_bytes))
        return plan if self._begin(plan, now_ms) else None

    def is_free(self, block: Block, target: DatanodeState) -> bool:
        """Return whether this datanode may be sent a copy of this block now."""
        return (
            target.usable
            and not self.is_busy(target, block.length_bytes)
            and block.block_id not in target.orders
            and (block.block_id, target.datanode_id) not in self._shunned
        )

    def _sources(
        self, have: Iterable[DatanodeState], target: DatanodeState, length_bytes: int
    ) -> tuple[DatanodeState, ...]:
        """Return who can give the replica: LIVE ones first, those with a share of the throttle
        left, then the nearest."""
        sources = list(have)
        self._random.shuffle(sources)
        sources.sort(
            key=lambda source: (
                source.liveness,
                not self.throttle.allows(source.datanode_id, length_bytes),
                source.host != target.host,
                source.rack != target.rack,
            )
        )
        return tuple(sources[:SOURCES_LIMIT])

    def _begin(self, plan: Plan, now_ms: int) -> bool:
        length_bytes = plan.block.length_bytes
        target = plan.target
        ends = (plan.sources[0].datanode_id, target.datanode_id)
        if not self.throttle.admit(length_bytes, *ends):
            return False
        deadline_ms = now_ms + patience_ms(length_bytes)
        transfer = Transfer(plan.block.block_id, target.datanode_id, length_bytes, deadline_ms)
        self._pending.setdefault(transfer.block_id, {})[transfer.target_id] = transfer
        target.promised_bytes += length_bytes
        target.transfers += 1
        return True

    def _end(self, block_id: int, target_id: str) -> Transfer | None:
        transfer = self._pending.get(block_id, {}).pop(target_id, None)
        if transfer is None:
            return None
        if not self._pending[block_id]:
            del self._pending[block_id]
        target = self._datanodes.get(target_id)
        if target is not None:
            target.promised_bytes -= transfer.length_bytes
            target.transfers -= 1
        return transfer

    def _coming(self, block_id: int, have: Iterable[DatanodeState]) -> list[DatanodeState]:
        """Return the usable datanodes that will have the replica within a moment."""
        there = {datanode.datanode_id for datanode in have}
        _, members = self._awaited.get(block_id, (0, frozenset()))
        expected = sorted((members | self._pending.get(block_id, {}).keys()) - there)
        known = [self._datanodes.get(datanode_id) for datanode_id in expected]
        return [d for d in known if d is not None and d.usable]


def _occupies(holding: Holding) -> bool:
    """Whether a replica stands in the way of another copy on the same datanode. A TEMPORARY one
    that nobody waits for does not: its copy has failed, or its datanode will refuse a second."""
    return holding.worth is Worth.GOOD or holding.replica.state != ReplicaState.TEMPORARY


def _spreads(have: Sequence[DatanodeState], target: DatanodeState) -> bool:
    """Whether a replica on `target` makes the block better spread."""
    hosts = {datanode.host for datanode in have}
    if len(hosts) < len(have):
        return target.host not in hosts
    return target.rack not in {datanode.rack for datanode in have}
