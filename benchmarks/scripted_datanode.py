"""A datanode that is reports alone: it speaks the protocol over a real connection, and has no disk.

So a namenode can be given millions of replicas. It registers, reports in full page by page as a
datanode does, sends heartbeats, and takes commands: what it is to delete it reports as deleted,
copies it never makes.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from datanode.core.reports import BATCH_CHANGES, pages
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    Call,
    DatanodeCall,
    Greet,
    Greeting,
    Reply,
    decode_reply,
    encode_call,
)
from dolmen.protocol.datanode_messages import (
    AwaitCommands,
    ChangeKind,
    Commands,
    DatanodeRequest,
    Heartbeat,
    HeartbeatTaken,
    InvalidateReplica,
    RegisterDatanode,
    Registered,
    ReplicaChange,
    ReplicaReport,
    ReplicaState,
    ReportChanges,
    ReportTaken,
    StorageStatus,
)
from dolmen.protocol.tokens import NONCE_BYTES, ClusterKeys
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Connection

CONNECT_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 120.0
"""A page of thousands of replicas waits for its turn between others."""

PATIENCE_MS = 10_000

ROOM_BYTES = 1 << 50
"""Nothing is to fail for want of room."""

R = TypeVar("R", bound=Reply)

LookUp = Callable[[int, str], ReplicaReport | None]


class ScriptedDatanode:
    """One datanode with one volume; `join` it, and `leave` as a process that is killed does."""

    def __init__(self, machine: Machine, namenode: str, secret: bytes, number: int) -> None:
        self.datanode_id = f"{number:032x}"
        self.storage = StorageStatus(f"{number + 100:032x}", ROOM_BYTES, 0, ROOM_BYTES)
        self._machine = machine
        self._namenode = namenode
        self._keys = ClusterKeys(secret)
        self._number = number
        self._epoch = 0
        self._connection: Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._queue: asyncio.Queue[ReplicaChange] = asyncio.Queue()

    async def join(self, block_ids: Sequence[int], look_up: LookUp) -> None:
        """Register, and report these replicas in full."""
        connection = await self._machine.transport.connect(self._namenode, CONNECT_TIMEOUT_S)
        self._connection = connection
        registered = await self._register()
        self._tasks = [
            asyncio.create_task(self._beat(registered.heartbeat_interval_ms / 1000)),
            asyncio.create_task(self._take_commands()),
        ]
        report_id = self._machine.random.getrandbits(48)
        for page in pages(report_id, [(self.storage.storage_id, block_ids)], look_up):
            await self._ask(page, ReportTaken)
        self._tasks.append(asyncio.create_task(self._tell()))

    async def leave(self) -> None:
        """Break the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            with suppress(ConnectionError):
                await self._connection.close()
        self._connection = None

    def stored(self, replica: ReplicaReport) -> None:
        """There is one more replica: tell so."""
        self._changed(ChangeKind.STORED, replica)

    def _changed(self, kind: ChangeKind, replica: ReplicaReport) -> None:
        self._queue.put_nowait(ReplicaChange(kind, self.storage.storage_id, replica))

    async def _register(self) -> Registered:
        own_nonce = self._machine.random.randbytes(NONCE_BYTES)
        greeting = await self._call(Greet(PROTOCOL_VERSION, "datanode", "", own_nonce), Greeting)
        self._epoch = greeting.epoch
        request = RegisterDatanode(
            datanode_id=self.datanode_id,
            proof=self._keys.prove_membership("datanode", own_nonce, greeting.nonce),
            address=f"127.0.0.1:{1 + self._number}",  # nobody listens: nobody reads or writes
            host=f"host-{self._number}",
            rack="/rack",
            highest_epoch=self._epoch,
            software_version="",
            storages=(self.storage,),
        )
        return await self._ask(request, Registered)

    async def _beat(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self._ask(Heartbeat((self.storage,), 0), HeartbeatTaken)

    async def _take_commands(self) -> None:
        while True:
            for command in (await self._ask(AwaitCommands(PATIENCE_MS), Commands)).commands:
                if isinstance(command, InvalidateReplica):
                    gone = ReplicaReport(command.block_id, command.stamp, 0, ReplicaState.FINALIZED)
                    self._changed(ChangeKind.DELETED, gone)

    async def _tell(self) -> None:
        """Report changes as they come, those that have gathered meanwhile together."""
        while True:
            changes = [await self._queue.get()]
            while len(changes) < BATCH_CHANGES and not self._queue.empty():
                changes.append(self._queue.get_nowait())
            await self._ask(ReportChanges(tuple(changes)), ReportTaken)

    async def _ask(self, request: DatanodeRequest, expected: type[R]) -> R:
        return await self._call(DatanodeCall(request), expected)

    async def _call(self, call: Call, expected: type[R]) -> R:
        assert self._connection is not None, "it has not joined"
        reply = decode_reply(await self._connection.call(encode_call(call), CALL_TIMEOUT_S))
        assert isinstance(reply, expected), f"{reply!r} is no {expected.__name__}"
        return reply
