"""The namenode process: its parts put together, started, stopped and killed.

A failed append or commit, or damaged tables, end it (rule 2): whatever ends one of its loops ends
all of them, connections are reset, and `wait` raises the cause. The restart finds the truth in the
log.
"""

import asyncio
import ipaddress
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from dolmen import __version__
from dolmen.protocol.errors import InvalidRequest, StartRefused
from dolmen.protocol.identifiers import parse_address
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.protocol.tokens import ClusterKeys
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings
from dolmen.runtime.transport import Listener
from namenode.checkpoint_calls import CheckpointCalls
from namenode.core.apply import apply_group
from namenode.core.case import NamesystemSettings
from namenode.core.cluster import Cluster, ClusterOptions, Means
from namenode.core.datanodes import Patience
from namenode.core.dispatch import Moment
from namenode.core.hashing import HashingOptions
from namenode.core.invariants import check_invariants
from namenode.core.namesystem import Namesystem
from namenode.core.outcome import Effect
from namenode.core.redundancy import RepairOptions
from namenode.core.rounds import UpkeepOptions
from namenode.core.safe_mode import SafeModeOptions
from namenode.core.tables import BLOCKS, read_number
from namenode.core.topology import Topology
from namenode.datanode_calls import Membership
from namenode.journal import Journal
from namenode.rpc import NamenodeService, Office
from namenode.status import NamenodeStatus
from namenode.store import Store, StoreOptions, open_store
from namenode.ticks import Ticks
from namenode.topology_file import TopologyFile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamenodeOptions:
    """Where a namenode keeps its state, where it listens, and how it behaves."""

    directory: str
    host: str = "127.0.0.1"
    port: int = 9870  # 0: any free one
    advertise: str | None = None  # host:port under which others reach it
    secret_file: str | None = None
    settings: Settings = field(default_factory=Settings)
    topology_file: str | None = None  # says which datanode is in which rack
    insecure: bool = False  # may listen on an address that is not loopback, believing its clients


class Namenode:
    """One namenode. It has its machine for itself: its end is the end of the machine's use."""

    def __init__(self, machine: Machine, options: NamenodeOptions) -> None:
        self._machine = machine
        self._options = options
        self._store: Store | None = None
        self._journal: Journal | None = None
        self._cluster: Cluster | None = None
        self._listener: Listener | None = None
        self._running: asyncio.Task[None] | None = None
        self._ended_by_us = False
        self.address = ""
        self.cluster_id = ""

    async def start(self) -> None:
        """Open the directory, listen, and work. StartRefused says in one line why it cannot."""
        _check_host(self._options)
        if self._options.advertise is not None:
            parse_address(self._options.advertise)
        store = await open_store(
            self._machine, StoreOptions(self._options.directory, self._options.secret_file)
        )
        try:
            await self._start_on(store)
        except StartRefused:
            await store.close_clean()
            raise
        except BaseException:
            store.kill()
            raise

    async def _start_on(self, store: Store) -> None:
        membership = self._assemble(store)
        topology = TopologyFile(store.disk, self._options.topology_file)
        if topology.path is not None:
            membership.cluster.take_topology(await _read_at_start(topology))
        checkpointer = store.checkpointer(self._options.settings.checkpoint_every)
        checkpoints = CheckpointCalls(checkpointer)
        office = Office(
            membership,
            store.cluster_id,
            self._options.settings,
            self._machine.wall_clock_ms,
            self._machine.random,
            topology,
            checkpoints,
        )
        service = NamenodeService(office)
        status = NamenodeStatus(membership, service.figures, store, checkpointer, self._works)
        listener = await self._machine.transport.listen(
            service, self._options.host, self._options.port, status
        )
        self._store, self._journal, self._listener = store, membership.journal, listener
        self._cluster = membership.cluster
        self.address = self._options.advertise or listener.address
        self.cluster_id = store.cluster_id
        ticks = Ticks(
            membership,
            checkpoints,
            self._options.settings,
            self._machine.wall_clock_ms,
        )
        self._running = asyncio.create_task(self._run(membership.journal, ticks))
        log.info(
            "dolmen %s: namenode of cluster %s at %s, epoch %d",
            __version__,
            store.cluster_id,
            self.address,
            store.epoch,
        )

    def _works(self) -> bool:
        """Whether the loops run; until they are started, nothing has ended them."""
        return self._running is None or not self._running.done()

    def _assemble(self, store: Store) -> Membership:
        settings = self._options.settings
        keys = ClusterKeys(store.secret)
        with store.tables.snapshot() as view:
            means = Means(keys, store.soft, self._machine.random)
            cluster = Cluster(_cluster_options(settings), means, view, _loop_ms())
        namesystem = Namesystem(_namesystem_settings(settings), keys, cluster)

        def release(effects: tuple[Effect, ...]) -> None:
            if not effects:
                return
            now = Moment(_loop_ms(), self._machine.wall_clock_ms())
            namesystem.take_effects(effects, now.wall_ms)
            with store.tables.snapshot() as view:
                cluster.release(effects, view, now)

        journal = Journal(store, apply_group, self._machine.wall_clock_ms, release)
        return Membership(
            cluster=cluster,
            namesystem=namesystem,
            journal=journal,
            keys=keys,
            epoch=store.epoch,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            wall_clock_ms=self._machine.wall_clock_ms,
        )

    async def _run(self, journal: Journal, ticks: Ticks) -> None:
        """Run the loops; `stop` ends the journal's, and with it the others."""
        try:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(ticks.run())
                await journal.run()
                ticking.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from failed
        finally:
            if not self._ended_by_us:
                self._let_go()

    async def wait(self) -> None:
        """Return when it was stopped or killed; raise what else ended it."""
        assert self._running is not None, "it was never started"
        await asyncio.wait((self._running,))
        if not self._ended_by_us:
            self._running.result()

    async def stop(self) -> None:
        """End cleanly: what is under way is answered, the tables are synced and marked clean."""
        if self._running is None or self._running.done():
            return
        assert self._store is not None
        assert self._journal is not None
        assert self._listener is not None
        self._ended_by_us = True
        await self._listener.close()
        self._journal.close()
        await asyncio.wait((self._running,))
        if self._running.cancelled() or self._running.exception() is not None:
            self._store.kill()
            self._running.result()
        await self._store.close_clean()
        await self._machine.transport.close()

    def report(self) -> ClusterReport | None:
        """Return how the cluster is; None unless this namenode works."""
        if self._journal is None or self._cluster is None or self._ended_by_us or not self._works():
            return None
        with self._journal.snapshot() as view:
            return self._cluster.report(view)

    def check_invariants(self) -> None:
        """Raise unless the durable tables fit together. Reads all of them."""
        if self._journal is not None:
            with self._journal.snapshot() as view:
                check_invariants(view)

    def check_conditions(self) -> None:
        """Raise unless what is noted of every block is what a count from scratch gives.

        That holds whenever no walk over blocks is under way: a while after the last event.
        """
        if self._journal is not None and self._cluster is not None:
            with self._journal.snapshot() as view:
                block_ids = [read_number(key) for key, _ in view.scan(BLOCKS)]
                self._cluster.check_invariants(view, block_ids)

    def kill(self) -> None:
        """End as `kill -9` does: connections reset, nothing flushed, the lock released."""
        if self._running is None or self._ended_by_us:
            return
        self._ended_by_us = True
        self._running.add_done_callback(_look_away)
        self._running.cancel()
        self._let_go()

    def _let_go(self) -> None:
        if self._listener is not None:
            self._listener.abort()
        self._machine.transport.abort()
        if self._store is not None:
            self._store.kill()


async def _read_at_start(file: TopologyFile) -> Topology:
    try:
        return await file.read()
    except InvalidRequest as error:
        raise StartRefused(error.message) from None


def _look_away(task: asyncio.Task[None]) -> None:
    """What a killed process would still have raised concerns nobody."""
    with suppress(asyncio.CancelledError):
        task.exception()


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first cause in a group of groups."""
    cause: BaseException = failed
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


def _check_host(options: NamenodeOptions) -> None:
    if options.insecure or options.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(options.host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise StartRefused(
            f"{options.host} is not a loopback address, and users are not authenticated yet:"
            " whoever reaches the port can read and delete everything; listen on 127.0.0.1,"
            " or accept that with --insecure"
        )


def _cluster_options(settings: Settings) -> ClusterOptions:
    return ClusterOptions(
        patience=Patience(settings.stale_after_ms, settings.dead_after_ms),
        safe_mode=SafeModeOptions(settings.safe_mode_threshold, settings.safe_mode_quiet_ms),
        repair=RepairOptions(
            rate_bytes=settings.repair_rate_bytes,
            publish_grace_ms=settings.stale_after_ms,
            min_replicas=settings.min_replicas,
            shun_ms=settings.dead_after_ms,
        ),
        upkeep=UpkeepOptions(
            min_replicas=settings.min_replicas,
            order_repeat_ms=settings.dead_after_ms,
            token_life_ms=settings.block_token_life_ms,
        ),
        hashing=HashingOptions(settings.hash_after_ms, settings.repair_rate_bytes),
        software_version=__version__,
    )


def _namesystem_settings(settings: Settings) -> NamesystemSettings:
    return NamesystemSettings(
        block_size_bytes=settings.block_size_bytes,
        inline_limit_bytes=settings.inline_limit_bytes,
        replication=settings.replication,
        min_replicas=settings.min_replicas,
        delete_after_ms=settings.delete_after_ms,
        lease_soft_limit_ms=settings.lease_soft_limit_ms,
        lease_hard_limit_ms=settings.lease_hard_limit_ms,
        block_token_life_ms=settings.block_token_life_ms,
        answered_life_ms=settings.answered_life_ms,
    )
