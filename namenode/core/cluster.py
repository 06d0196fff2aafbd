"""The cluster as the namenode knows it: datanodes, replicas, safe mode, repair; all of it soft.

Everything here is rebuilt by registrations and reports after a start. It answers what decisions
about files need to know (`Knowledge`), takes what datanodes say, and hands out what they are to do.
The soft tables are changed in one transaction for each slice of work, begun and committed within
one call.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Protocol

import msgspec

from dolmen.protocol.client_messages import ReplicaLocation
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CommandFailed,
    Heartbeat,
    RegisterDatanode,
    ReplicaChange,
    ReplicaChecked,
    ReportBlocks,
)
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.operator_messages import ClusterReport, DatanodeReport
from dolmen.protocol.tokens import ClusterKeys, Target
from namenode.core import cluster_report
from namenode.core.assessment import Assessor
from namenode.core.balancing import Balancer
from namenode.core.block_map import Holding, Tables, good, holdings, rows_of
from namenode.core.checks import damaged_blocks
from namenode.core.datanodes import Datanodes, DatanodeState, Liveness, Patience
from namenode.core.deletions import vouch
from namenode.core.dispatch import Dispatch, Moment
from namenode.core.figures import ClusterFigures, gather
from namenode.core.hashing import Hashing, HashingOptions
from namenode.core.inspection import Sight
from namenode.core.intake import Intake
from namenode.core.joining import check_may_join
from namenode.core.knowledge import Wish
from namenode.core.locations import Reader
from namenode.core.lookup import load_meta
from namenode.core.membership import known_storages
from namenode.core.news import News
from namenode.core.outcome import AdminStateChanged, Effect, NamespaceEffect
from namenode.core.placement import Place, Request, choose
from namenode.core.records import DATANODE, Block
from namenode.core.redundancy import Redundancy, RepairOptions
from namenode.core.replica_reports import Piece
from namenode.core.rounds import Parts, UpkeepOptions
from namenode.core.safe_mode import SafeMode, SafeModeOptions
from namenode.core.tables import DATANODES, View, Writer
from namenode.core.topology import Topology
from namenode.core.upkeep import Upkeep
from namenode.core.verification import Verifier
from namenode.core.why import Circumstances

CHECKS_LIMIT = 1000
"""Hints of damage waiting for one datanode; a hint lost to the limit comes again with the next
read."""


class SoftTransaction(Writer, Protocol):
    """Structurally `dolmen.runtime.key_value.WriteTransaction`."""

    def commit(self) -> None: ...


class SoftTables(Protocol):
    """Structurally `dolmen.runtime.key_value.KeyValue`, as far as it is needed here."""

    def snapshot(self) -> AbstractContextManager[View]: ...
    def begin(self) -> SoftTransaction: ...


class ClusterOptions(msgspec.Struct, frozen=True):
    """What the cluster's upkeep needs to know of the settings."""

    patience: Patience
    safe_mode: SafeModeOptions
    repair: RepairOptions
    upkeep: UpkeepOptions
    hashing: HashingOptions
    software_version: str = ""


class Means(msgspec.Struct, frozen=True):
    """What the cluster works with."""

    keys: ClusterKeys
    soft: SoftTables
    random: Random


class Cluster:
    """Soft state, and the `Knowledge` that decisions about files need of it."""

    def __init__(self, options: ClusterOptions, means: Means, view: View, now_ms: int) -> None:
        self._options = options
        self._soft = means.soft
        self.random = means.random
        self.datanodes = Datanodes(options.patience, now_ms)
        for _, value in view.scan(DATANODES):
            self.datanodes.expect(DATANODE.decode(value))
        self._news = News()
        self._assessor = Assessor(self.datanodes, options.upkeep.min_replicas)
        self._redundancy = Redundancy(options.repair, self.datanodes, means.random)
        self._safe_mode = SafeMode(options.safe_mode, load_meta(view).blocks)
        self._intake = Intake(self.datanodes, self._assessor, self._redundancy, self._safe_mode)
        self.balancer = Balancer(self.datanodes, self._assessor, self._redundancy)
        self.hashing = Hashing(options.hashing, self.datanodes, self._news)
        parts = Parts(
            self.datanodes,
            self._assessor,
            self._redundancy,
            self._safe_mode,
            self._intake,
            means.keys,
            self._news,
            self.balancer,
            self.hashing,
        )
        self._upkeep = Upkeep(options.upkeep, parts)
        self.verifier = Verifier(self.datanodes)

    # ------------------------------------------------------------ Knowledge

    def in_safe_mode(self) -> str | None:
        """See Knowledge."""
        return self._safe_mode.reason()

    def registered_count(self) -> int:
        """See Knowledge."""
        return sum(not datanode.leaves for datanode in self.datanodes)

    def describe(self, datanode_id: str) -> DatanodeReport | None:
        """See Knowledge."""
        datanode = self.datanodes.get(datanode_id)
        if datanode is None:
            return None
        progress = self._upkeep.departures.progress(datanode)
        return cluster_report.describe(datanode, self.datanodes, progress)

    def due_changes(self, now_ms: int) -> tuple[AdminStateChanged, ...]:
        """See Knowledge."""
        return self._upkeep.departures.due_changes(now_ms)

    def choose_targets(self, wish: Wish) -> tuple[Target, ...]:
        """See Knowledge."""
        holders = [self.datanodes.get(datanode_id) for datanode_id in wish.holders]
        request = Request(
            wanted=wish.wanted,
            length_bytes=wish.length_bytes,
            writer_host=wish.writer_host,
            holders=tuple(Place(d.datanode_id, d.host, d.rack) for d in holders if d is not None),
            excluded=frozenset(wish.excluded) | frozenset(wish.holders),
        )
        chosen = choose(self.datanodes.roster(), request, self.random, lambda d: d.usable)
        return tuple(datanode.target for datanode in chosen)

    def most_room_bytes(self) -> int:
        """See Knowledge."""
        return max((d.free_bytes for d in self.datanodes if d.usable), default=0)

    def targets_of(self, datanode_ids: tuple[str, ...]) -> tuple[Target, ...]:
        """See Knowledge."""
        known = [self.datanodes.get(datanode_id) for datanode_id in datanode_ids]
        return tuple(d.target for d in known if d and d.liveness is Liveness.LIVE)

    def good_replicas(self, block: Block) -> int:
        """See Knowledge."""
        return len(good(self._held(block)))

    def locations(self, block: Block, reader_host: str) -> tuple[ReplicaLocation, ...]:
        """See Knowledge."""
        reader = Reader(reader_host, self.datanodes, self.random)
        return reader.locate(block.block_id, self._held(block))

    def _held(self, block: Block) -> list[Holding]:
        with self._soft.snapshot() as soft:
            return holdings(rows_of(soft, block.block_id), block, self.datanodes)

    # ------------------------------------------------------------ joining and leaving

    def check_may_join(self, request: RegisterDatanode, view: View) -> None:
        """Raise if this datanode has followed a newer namenode, or is connected already."""
        check_may_join(request, self.datanodes, view)

    def join(self, request: RegisterDatanode, view: View) -> None:
        """A datanode's registration is durable: it is LIVE."""
        value = view.get(DATANODES, request.datanode_id.encode())
        assert value is not None, "a datanode joins only after its registration was logged"
        before = self.datanodes.get(request.datanode_id)
        had = set() if before is None else set(before.volumes)
        if before is not None:
            self._redundancy.forget_target(request.datanode_id)
            self._upkeep.look_again(before.orders)
        self.hashing.forget_datanode(request.datanode_id)
        storages = list(known_storages(request, view))
        change = self.datanodes.join(DATANODE.decode(value), request, storages)
        datanode = self.datanodes.get(request.datanode_id)
        assert datanode is not None
        self._intake.begin(datanode)
        self._upkeep.drop_volumes(had - datanode.volumes.keys())
        if change.before is Liveness.DEAD:
            self._upkeep.classify_again(datanode)
        self._upkeep.look_around()
        self._news.say(f"datanode {request.datanode_id} registered, {request.address}")

    def take_topology(self, topology: Topology) -> int:
        """Take over what the topology file says; return how many racks are others now. A block may
        be badly spread now, or not any more: all are looked at."""
        changed = self.datanodes.take_topology(topology)
        if changed:
            self._upkeep.look_at_all()
        for datanode in changed:
            self._news.say(f"datanode {datanode.datanode_id} is in rack {datanode.rack} now")
        return len(changed)

    def leave(self, datanode_id: str) -> None:
        """A datanode's connection is gone."""
        datanode = self.datanodes.get(datanode_id)
        if datanode is not None and datanode.connected:
            self._upkeep.look_again(datanode.orders)
            self.datanodes.lose(datanode_id)
            self.hashing.forget_datanode(datanode_id)
            self._news.say(f"datanode {datanode_id} is STALE: its connection is lost")

    def hear(self, datanode_id: str, heartbeat: Heartbeat) -> None:
        """A heartbeat has come."""
        datanode = self._connected(datanode_id)
        was_dead = datanode.liveness is Liveness.DEAD
        datanode.health = heartbeat.health
        lost = self.datanodes.hear(datanode_id, heartbeat.storages, heartbeat.load)
        self._upkeep.drop_volumes(lost)
        if was_dead:
            self._upkeep.classify_again(datanode)

    # ------------------------------------------------------------ reports

    def open_page(self, datanode_id: str, page: ReportBlocks) -> None:
        """Check that this page of a full report may come now. InvalidRequest."""
        self._intake.open_page(self._connected(datanode_id), page)

    def take_piece(
        self, datanode_id: str, storage_id: str, piece: Piece, view: View
    ) -> tuple[list[int], bool]:
        """Take one slice of a page; return the blocks concerned, and whether to call again."""
        datanode = self._connected(datanode_id)
        with self._changing(view) as tables:
            return self._intake.take_piece(datanode, storage_id, piece, tables)

    def end_report(self, datanode_id: str) -> None:
        """The datanode's full report has been taken whole."""
        self._intake.end(self._connected(datanode_id))
        foreign, self._intake.foreign_replicas = self._intake.foreign_replicas, 0
        if foreign:
            self._news.say(
                f"{foreign} replicas of another namespace, or of a future given up, were reported,"
                f" lastly by datanode"
                f" {datanode_id}; they are left alone"
            )

    def take_changes(
        self, datanode_id: str, changes: tuple[ReplicaChange, ...], view: View
    ) -> list[int]:
        """Take one slice of an incremental report; return the blocks concerned."""
        datanode = self._connected(datanode_id)
        with self._changing(view) as tables:
            for change in changes:
                self._intake.take_change(datanode, change, tables)
                if change.kind is ChangeKind.DELETED:
                    self.verifier.deleted(datanode_id, change.replica.block_id)
                elif change.kind is ChangeKind.CORRUPT:
                    self.verifier.put_aside(datanode_id, change.replica.block_id)
        return [change.replica.block_id for change in changes]

    def take_failures(
        self, datanode_id: str, failures: tuple[CommandFailed, ...], now_ms: int
    ) -> None:
        """Commands failed, or sources gave bad bytes: those look for themselves."""
        for failure in failures:
            for source in failure.bad_sources:
                self.take_hint(failure.block_id, failure.stamp, source)
            if failure.reason:
                self._redundancy.failed(failure.block_id, datanode_id, now_ms)
                self._news.say(
                    f"datanode {datanode_id} could not do a command for block"
                    f" {failure.block_id:016x}: {failure.reason[:200]}"
                )

    def take_checked(
        self, datanode_id: str, answers: tuple[ReplicaChecked, ...], now_ms: int
    ) -> list[Dispatch]:
        """A datanode has checked replicas; return what it, or another, is to check next."""
        datanode = self._connected(datanode_id)
        with self._soft.snapshot() as soft:
            damaged = damaged_blocks(answers, datanode, soft)
        self.verifier.answered(datanode_id, answers, damaged, now_ms)
        vouch(datanode, answers)
        return self.next_checks(now_ms)

    def next_checks(self, now_ms: int) -> list[Dispatch]:
        """Return the checks that somebody waits for and that may be ordered now."""
        return [Dispatch(*ordered) for ordered in self.verifier.next_checks(now_ms)]

    def take_hint(self, block_id: int, stamp: int, datanode_id: str) -> None:
        """A reader found this replica damaged: its datanode is to look for itself."""
        datanode = self.datanodes.get(datanode_id)
        if datanode and datanode.connected and len(datanode.checks) < CHECKS_LIMIT:
            datanode.checks[block_id] = stamp

    # ------------------------------------------------------------ upkeep

    def release(self, effects: tuple[Effect, ...], view: View, now: Moment) -> None:
        """Take the effects of committed edits; those for the namespace half are not for here."""
        ours = [e for e in effects if not isinstance(e, NamespaceEffect)]
        if ours:
            with self._changing(view) as tables:
                self._upkeep.release(ours, tables, now)

    def tick(self, now: Moment) -> list[Dispatch]:
        """Let time pass; return commands."""
        return self._upkeep.tick(now) + self.next_checks(now.loop_ms)

    def step(self, view: View, now: Moment) -> tuple[list[Dispatch], bool]:
        """Do one slice of work; return commands, and whether there is more to do now."""
        if self._upkeep.idle:
            return [], False
        with self._changing(view) as tables:
            return self._upkeep.step(tables, now)

    @property
    def safe_mode(self) -> SafeMode:
        """Why nothing changes."""
        return self._safe_mode

    def take_news(self) -> list[str]:
        """Return what happened since the last call, for the log."""
        return self._news.take()

    def report(self, view: View) -> ClusterReport:
        """Return the cluster as `dolmen report` shows it."""
        return cluster_report.build(
            cluster_report.Figures(
                load_meta(view),
                self.datanodes,
                self._assessor,
                self._safe_mode,
                self._redundancy.pending_count,
                self._options.software_version,
                self._upkeep.departures,
            )
        )

    def figures(self) -> ClusterFigures:
        """Return what upkeep counts."""
        return gather(self.datanodes, self._assessor, self._redundancy, self._upkeep)

    @contextmanager
    def sight(self, view: View, now_ms: int) -> Iterator[Sight]:
        """What an inspection looks at, for one slice of it."""
        conditions, reason = self._assessor.conditions, self._safe_mode.reason()
        around = Circumstances(self.datanodes, self._redundancy, conditions, reason, now_ms)
        with self._soft.snapshot() as soft:
            yield Sight(view, soft, self._assessor, around)

    def check_invariants(self, view: View, block_ids: list[int]) -> None:
        """Raise unless the conditions of these blocks are what a count from scratch gives."""
        with self._soft.snapshot() as soft:
            self._assessor.check_invariants(view, soft, block_ids)

    def _connected(self, datanode_id: str) -> DatanodeState:
        datanode = self.datanodes.get(datanode_id)
        if datanode is None or not datanode.connected:
            raise InvalidRequest("register first: this datanode is not connected")
        return datanode

    @contextmanager
    def _changing(self, view: View) -> Iterator[Tables]:
        """The soft tables, to be changed in one transaction. What was done before an error stays:
        rows are facts, each for itself, and what is noted of their blocks must agree with them."""
        transaction = self._soft.begin()
        try:
            yield Tables(view, transaction, self.datanodes.replica_counts)
        finally:
            transaction.commit()
