"""A namenode on a simulated machine, datanodes that only talk, and a client: all in virtual time.

A scripted datanode holds replicas as reports alone. It keeps the protocol: it joins, reports in
full, sends heartbeats, and carries out commands at once.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

import msgspec

from dolmen.protocol import client_messages as messages
from dolmen.protocol import operator_messages
from dolmen.protocol.checksums import block_digest
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    ClientCall,
    DatanodeCall,
    Greet,
    Greeting,
    decode_reply,
    encode_call,
)
from dolmen.protocol.datanode_messages import (
    AnyCommand,
    AwaitCommands,
    ChangeKind,
    CheckReplica,
    Commands,
    Health,
    Heartbeat,
    InvalidateReplica,
    QuarantineReplica,
    RegisterDatanode,
    ReplicaChange,
    ReplicaChecked,
    ReplicaReport,
    ReplicaState,
    ReportBlocks,
    ReportChanges,
    StorageStatus,
    TransferReplica,
)
from dolmen.protocol.errors import PeerLost
from dolmen.protocol.tokens import Access, ClusterKeys
from dolmen.runtime.settings import Settings
from dolmen.runtime.transport import Connection
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport
from namenode.node import Namenode, NamenodeOptions
from tests.unit.namenode.store_worlds import SimHost

SECRET = b"s" * 32
SECRET_FILE = "/data/secret"
LENGTH_BYTES = 1000
DIGEST = block_digest(LENGTH_BYTES, b"checksum")
CALL_TIMEOUT_S = 30.0

SETTINGS = Settings(
    heartbeat_interval_ms=100,
    stale_after_ms=400,
    dead_after_ms=1000,
    delete_after_ms=500,
    safe_mode_quiet_ms=1000,
    block_token_life_ms=1000,
)


@dataclass
class World:
    """What outlives the processes."""

    settings: Settings = SETTINGS
    network: SimNetwork = field(default_factory=lambda: SimNetwork(Random(1)))
    host: SimHost = field(default_factory=SimHost)
    namenode: Namenode | None = None

    async def start_namenode(self) -> Namenode:
        disk = self.host.machine().open_disk()
        await disk.write_file(SECRET_FILE, SECRET)
        disk.close()
        transport = SimTransport(self.network, "namenode")
        machine = replace(self.host.machine(), transport=transport)
        options = NamenodeOptions(
            directory=self.host.directory,
            host="namenode",
            secret_file=SECRET_FILE,
            settings=self.settings,
            insecure=True,
        )
        self.namenode = Namenode(machine, options)
        await self.namenode.start()
        return self.namenode

    async def kill_namenode(self) -> None:
        assert self.namenode is not None
        self.namenode.kill()
        await self.namenode.wait()
        self.host.kill()

    async def stop_namenode(self) -> None:
        assert self.namenode is not None
        await self.namenode.stop()

    async def add_datanodes(self, number: int) -> list["ScriptedDatanode"]:
        datanodes = [ScriptedDatanode(self, index) for index in range(number)]
        for datanode in datanodes:
            await datanode.start()
        return datanodes


class ScriptedDatanode:
    """A datanode of replicas that are reports alone."""

    def __init__(self, world: World, index: int, rack: str = "/default") -> None:
        self.world = world
        self.datanode_id = f"{index:032x}"
        self.storage_id = f"{index + 1000:032x}"
        self.process = f"datanode{index}"
        self.address = f"{self.process}:9864"
        self.rack = rack
        self.replicas: dict[int, ReplicaReport] = {}
        self.commands: list[AnyCommand] = []
        self.obedient = True
        self.bad: set[int] = set()  # blocks of which it finds some bytes damaged when it looks
        self.epoch = 0
        self.health = Health()
        self._connection: Connection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._transport: SimTransport | None = None

    @property
    def storages(self) -> tuple[StorageStatus, ...]:
        return (StorageStatus(self.storage_id, 1 << 40, 0, 1 << 40),)

    async def start(self, *, report: bool = True) -> None:
        self._transport = SimTransport(self.world.network, self.process)
        await self.join()
        if report:
            await self.report_in_full()
        self._tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._obey())]

    async def join(self, secret: bytes = SECRET) -> Greeting:
        assert self._transport is not None
        self._connection = await self._transport.connect("namenode:9870", 1.0)
        nonce = bytes(16)
        greeting = decode_reply(
            await self._connection.call(
                encode_call(Greet(PROTOCOL_VERSION, "datanode", "", nonce)), CALL_TIMEOUT_S
            )
        )
        assert isinstance(greeting, Greeting)
        keys = ClusterKeys(secret)
        keys.check_membership("namenode", greeting.nonce, nonce, greeting.proof)
        proof = keys.prove_membership("datanode", nonce, greeting.nonce)
        self.epoch = greeting.epoch
        await self.call(
            RegisterDatanode(
                datanode_id=self.datanode_id,
                proof=proof,
                address=self.address,
                host=self.process,
                rack=self.rack,
                highest_epoch=self.epoch,
                software_version="0",
                storages=self.storages,
            )
        )
        return greeting

    async def report_in_full(self) -> None:
        replicas = tuple(self.replicas[block_id] for block_id in sorted(self.replicas))
        await self.call(ReportBlocks(self.storage_id, 1, replicas, True, True, True))

    async def call(self, request: Any) -> Any:
        assert self._connection is not None
        payload = encode_call(DatanodeCall(request))
        return decode_reply(await self._connection.call(payload, CALL_TIMEOUT_S))

    async def store(self, block_id: int, stamp: int) -> None:
        await self.take(ReplicaReport(block_id, stamp, LENGTH_BYTES, FINALIZED, DIGEST))

    async def take(self, replica: ReplicaReport) -> None:
        self.replicas[replica.block_id] = replica
        await self._tell(ChangeKind.STORED, replica)

    async def drop(self, block_id: int, kind: ChangeKind = ChangeKind.DELETED) -> None:
        await self._tell(kind, self.replicas.pop(block_id))

    async def _tell(self, kind: ChangeKind, replica: ReplicaReport) -> None:
        await self.call(ReportChanges((ReplicaChange(kind, self.storage_id, replica),)))

    async def _beat(self) -> None:
        with suppress(PeerLost):
            while True:
                await self.call(Heartbeat(self.storages, 0, self.health))
                await asyncio.sleep(self.world.settings.heartbeat_interval_ms / 1000)

    async def _obey(self) -> None:
        with suppress(PeerLost):
            while True:
                reply = await self.call(AwaitCommands(5000))
                assert isinstance(reply, Commands)
                self.commands += reply.commands
                if self.obedient:
                    for command in reply.commands:
                        await self.carry_out(command)

    async def carry_out(self, command: AnyCommand) -> None:
        match command:
            case TransferReplica():
                keys = ClusterKeys(SECRET)
                token = keys.open_token(command.token, 0)
                assert token.access is Access.COPY
                assert token.targets
                await self.store(command.block_id, command.stamp)
            case InvalidateReplica(block_id, stamp):
                held = self.replicas.get(block_id)
                if held is not None and held.stamp == stamp:
                    await self.drop(block_id)
            case CheckReplica(block_id, stamp):
                await self.check(block_id, stamp)
            case QuarantineReplica(block_id, stamp):
                held = self.replicas.get(block_id)
                if held is not None and held.state is ReplicaState.DAMAGED:
                    await self.drop(block_id, ChangeKind.CORRUPT)

    async def check(self, block_id: int, stamp: int) -> None:
        held, problem = self.replicas.get(block_id), ""
        if held is None:
            problem = "it is not there"
        elif block_id in self.bad:
            self.bad.discard(block_id)
            problem = "chunk 3 fails its checksum"
            await self.take(msgspec.structs.replace(held, state=ReplicaState.DAMAGED))
        await self.call(ReportChanges((), checked=(ReplicaChecked(block_id, stamp, problem),)))

    def kill(self) -> None:
        assert self._transport is not None
        self._transport.abort()
        for task in self._tasks:
            task.cancel()


FINALIZED = ReplicaState.FINALIZED


class ScriptedClient:
    """A client that writes files of one or more blocks through scripted datanodes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._transport = SimTransport(world.network, "client")
        self._numbers = count(1)
        self._connection: Connection | None = None

    async def connect(self) -> None:
        self._connection = await self._transport.connect("namenode:9870", 1.0)
        greet = encode_call(Greet(PROTOCOL_VERSION, "client", "", b""))
        decode_reply(await self._connection.call(greet, CALL_TIMEOUT_S))

    async def call(self, request: Any) -> Any:
        assert self._connection is not None
        number = next(self._numbers) if isinstance(request, messages.Mutation) else 0
        payload = encode_call(ClientCall(bytes(16), number, "ann", request))
        return decode_reply(await self._connection.call(payload, CALL_TIMEOUT_S))

    async def report(self) -> operator_messages.ClusterReport:
        report = await self.call(operator_messages.GetReport())
        assert isinstance(report, operator_messages.ClusterReport)
        return report

    async def write(
        self, path: str, datanodes: list[ScriptedDatanode], replication: int = 3
    ) -> int:
        """Write a file of one block; return the block's id."""
        by_id = {datanode.datanode_id: datanode for datanode in datanodes}
        created = await self.call(messages.CreateFile(path, replication=replication))
        block = await self.call(messages.AllocateBlock(created.inode_id, 0))
        for target in block.targets:
            await by_id[target.datanode_id].store(block.block_id, block.stamp)
        last = messages.CommittedBlock(block.block_id, block.stamp, LENGTH_BYTES, DIGEST)
        await self.call(messages.PublishFile(created.inode_id, path, last, bytes(16)))
        return int(block.block_id)


def holders(datanodes: list[ScriptedDatanode], block_id: int) -> list[ScriptedDatanode]:
    return [datanode for datanode in datanodes if block_id in datanode.replicas]


Scenario = Callable[[World, ScriptedClient], Coroutine[Any, Any, None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        world = World()
        await world.start_namenode()
        client = ScriptedClient(world)
        await client.connect()
        await scenario(world, client)
        await world.stop_namenode()
        assert world.network.failures == []

    virtual_time.run(main())


async def until(check: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 what is looked at is in another process
            await asyncio.sleep(0.01)


async def until_report(
    client: ScriptedClient, check: Callable[[operator_messages.ClusterReport], bool]
) -> operator_messages.ClusterReport:
    async with asyncio.timeout(20):
        while not check(report := await client.report()):  # noqa: ASYNC110 as above
            await asyncio.sleep(0.05)
    return report


def healthy(report: operator_messages.ClusterReport) -> bool:
    problems = (
        report.under_replicated_blocks,
        report.over_replicated_blocks,
        report.mis_replicated_blocks,
        report.missing_blocks,
        report.corrupt_replicas,
        report.pending_transfers,
    )
    return not any(problems) and not report.safe_mode
