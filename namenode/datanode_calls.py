"""What a datanode's connection may ask: to join, to be heard, to report, and what it is to do.

Reports of one connection are taken one after the other in the order in which they came, in slices;
between two slices everybody else gets a turn. Of full reports one slice is taken in a turn of the
event loop, however many datanodes report at once after a restart. Commands wait in the connection's
outbox for the call that fetches them, and are void with the connection: whatever still holds is
planned again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from dolmen.protocol.client_messages import Done, LocatedBlocks
from dolmen.protocol.datanode_messages import (
    AnyCommand,
    AwaitCommands,
    Commands,
    DatanodeReply,
    DatanodeRequest,
    FileHashed,
    Heartbeat,
    HeartbeatTaken,
    LocateToHash,
    RegisterDatanode,
    Registered,
    ReportBlocks,
    ReportChanges,
    ReportTaken,
)
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.tokens import ClusterKeys
from namenode.core.cluster import Cluster
from namenode.core.dispatch import Dispatch
from namenode.core.namesystem import Namesystem
from namenode.core.replica_reports import SLICE, pieces_of
from namenode.journal import Journal

COMMANDS_LIMIT = 1000
"""In one reply: a transfer with its token takes some 700 bytes, and a message 1 MiB."""

OUTBOX_LIMIT = 10_000
"""Commands that nobody fetches; what is dropped beyond is planned again when its time is over."""

PATIENCE_LIMIT_S = 60.0
"""How long a call for commands may wait: it costs a future, and a peer's silence shows anyway."""


class Outbox:
    """Commands on their way to one connection."""

    def __init__(self) -> None:
        self._commands: deque[AnyCommand] = deque()
        self._filled = asyncio.Event()

    def put(self, command: AnyCommand) -> None:
        """Add a command."""
        if len(self._commands) < OUTBOX_LIMIT:
            self._commands.append(command)
            self._filled.set()

    async def take(self, patience_s: float) -> tuple[AnyCommand, ...]:
        """Return the commands there are, as soon as there are any; none after `patience_s`."""
        try:
            async with asyncio.timeout(patience_s):
                while not self._commands:
                    self._filled.clear()
                    await self._filled.wait()
        except TimeoutError:
            return ()
        count = min(len(self._commands), COMMANDS_LIMIT)
        return tuple(self._commands.popleft() for _ in range(count))


@dataclass(frozen=True)
class Membership:
    """What datanodes' calls are answered with; `connected` are the connections by datanode."""

    cluster: Cluster
    namesystem: Namesystem
    journal: Journal
    keys: ClusterKeys
    epoch: int
    heartbeat_interval_ms: int
    wall_clock_ms: Callable[[], int]
    connected: "dict[str, DatanodeConnection]" = field(default_factory=dict)
    slicing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a slice of a full report is taken, and until everybody else has had a turn."""

    def deliver(self, dispatches: Iterable[Dispatch]) -> None:
        """Hand commands to the datanodes that are connected."""
        for dispatch in dispatches:
            connection = self.connected.get(dispatch.datanode_id)
            if connection is not None:
                connection.outbox.put(dispatch.command)


class DatanodeConnection:
    """One greeted connection of a datanode."""

    def __init__(self, membership: Membership, own_nonce: bytes, peer_nonce: bytes) -> None:
        self._membership = membership
        self._nonces = (own_nonce, peer_nonce)
        self._datanode_id: str | None = None
        self._reporting = asyncio.Lock()
        self.outbox = Outbox()

    async def answer(self, request: DatanodeRequest) -> DatanodeReply | LocatedBlocks | Done:
        """Answer one call. DolmenError refuses it."""
        if isinstance(request, RegisterDatanode):
            return await self._register(request)
        datanode_id = self._registered_id()
        match request:
            case Heartbeat():
                self._membership.cluster.hear(datanode_id, request)
                return HeartbeatTaken(self._membership.epoch)
            case ReportBlocks():
                async with self._reporting:
                    return await self._take_page(request)
            case ReportChanges():
                async with self._reporting:
                    return await self._take_changes(request)
            case AwaitCommands(patience_ms):
                patience_s = min(max(patience_ms, 0) / 1000, PATIENCE_LIMIT_S)
                commands = await self.outbox.take(patience_s)
                return Commands(self._membership.epoch, commands)
            case LocateToHash():
                return self._locate_to_hash(datanode_id, request)
            case FileHashed():
                return await self._take_hash(datanode_id, request)

    def closed(self) -> None:
        """The connection is gone: its datanode is STALE, unless it has a newer one."""
        datanode_id = self._datanode_id
        if datanode_id is not None and self._membership.connected.get(datanode_id) is self:
            del self._membership.connected[datanode_id]
            self._membership.cluster.leave(datanode_id)

    async def _register(self, request: RegisterDatanode) -> Registered:
        membership = self._membership
        own_nonce, peer_nonce = self._nonces
        membership.keys.check_membership("datanode", peer_nonce, own_nonce, request.proof)
        if self._datanode_id not in (None, request.datanode_id):
            raise InvalidRequest("a connection belongs to one datanode")
        with membership.journal.snapshot() as view:
            membership.cluster.check_may_join(request, view)
        await membership.journal.submit(
            lambda view, now_ms: membership.namesystem.register_datanode(request, view, now_ms)
        )
        with membership.journal.snapshot() as view:
            membership.cluster.check_may_join(request, view)  # somebody may have come meanwhile
            membership.cluster.join(request, view)
        self._datanode_id = request.datanode_id
        membership.connected[request.datanode_id] = self
        return Registered(membership.epoch, membership.heartbeat_interval_ms)

    def _registered_id(self) -> str:
        if self._datanode_id is None:
            raise InvalidRequest("register first: this connection belongs to no datanode yet")
        if self._membership.connected.get(self._datanode_id) is not self:
            raise InvalidRequest("this connection was replaced by a newer one of the same datanode")
        return self._datanode_id

    async def _take_page(self, page: ReportBlocks) -> ReportTaken:
        cluster, journal = self._membership.cluster, self._membership.journal
        cluster.open_page(self._registered_id(), page)
        for piece in pieces_of(page):
            more = True
            while more:
                async with self._membership.slicing:
                    datanode_id = self._registered_id()
                    with journal.snapshot() as view:
                        taken = cluster.take_piece(datanode_id, page.storage_id, piece, view)
                    block_ids, more = taken
                    journal.wake(block_ids)
                    await asyncio.sleep(0)
        if page.all_done:
            cluster.end_report(self._registered_id())
        return ReportTaken()

    async def _take_changes(self, report: ReportChanges) -> ReportTaken:
        cluster, journal = self._membership.cluster, self._membership.journal
        for start in range(0, len(report.changes), SLICE):
            changes = report.changes[start : start + SLICE]
            with journal.snapshot() as view:
                journal.wake(cluster.take_changes(self._registered_id(), changes, view))
            await asyncio.sleep(0)
        now_ms = _loop_ms()
        cluster.take_failures(self._registered_id(), report.failed_commands, now_ms)
        dispatches = cluster.take_checked(self._registered_id(), report.checked, now_ms)
        self._membership.deliver(dispatches)
        return ReportTaken()

    # ------------------------------------------------------------ hashes of files

    def _locate_to_hash(self, datanode_id: str, request: LocateToHash) -> LocatedBlocks:
        membership = self._membership
        hashing, datanode = (
            membership.cluster.hashing,
            membership.cluster.datanodes.get(datanode_id),
        )
        hashing.heard(datanode_id, request.inode_id, request.changed_txid, _loop_ms())
        host = "" if datanode is None else datanode.host
        with membership.journal.snapshot() as view:
            now_ms = membership.wall_clock_ms()
            return membership.namesystem.locate_to_hash(request, host, view, now_ms)

    async def _take_hash(self, datanode_id: str, report: FileHashed) -> Done:
        membership = self._membership
        hashing = membership.cluster.hashing
        hashing.heard(datanode_id, report.inode_id, report.changed_txid, _loop_ms())
        try:
            if not report.problem:
                await membership.journal.submit(
                    lambda view, now_ms: membership.namesystem.take_hash(report, view, now_ms)
                )
        finally:
            hashing.ended(report, _loop_ms())
        return Done()


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
