"""A small world in virtual time: datanodes, a scripted namenode, and a writer that asks by hand."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import msgspec

from datanode import Datanode, DatanodeOptions
from datanode.core.quarantine_entry import DESCRIPTION_NAME, Description
from dolmen.protocol.block_messages import (
    BlockReply,
    BlockRequest,
    ChecksumsFollow,
    CopyReplica,
    FinalizeReplica,
    RangesFollow,
    ReadChecksums,
    ReadRanges,
    RestampReplica,
    SegmentStored,
    WriteSegment,
    decode_block_reply,
    encode_head,
)
from dolmen.protocol.checksums import block_digest, chunk_checksums
from dolmen.protocol.client_messages import Done, LocatedBlock, LocatedBlocks
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    DatanodeCall,
    Greet,
    Greeting,
    decode_call,
    encode_error,
    encode_reply,
)
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
    ReplicaChange,
    ReplicaChecked,
    ReplicaReport,
    ReportBlocks,
    ReportChanges,
    ReportTaken,
)
from dolmen.protocol.errors import AccessDenied, DolmenError, InvalidRequest, StaleHandle
from dolmen.protocol.tokens import NONCE_BYTES, Access, BlockToken, ClusterKeys, Target
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings
from dolmen.runtime.transport import Body, Incoming, Outgoing, body_of
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_file_passing import SimFilePassing
from dolmen.simulation.sim_key_value import SimKeyValueStore
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.sim_transport import SimTransport

CLUSTER_ID = "c1" * 16
SECRET = b"a secret of this cluster"
NAMENODE = "namenode:9870"
BLOCK = 0x20
TOKEN_LIFE_MS = 600_000
LENGTH_LIMIT = 1 << 22
PAGE_BLOCKS = 2
"""Of a file that is to be hashed, in one answer."""


class ScriptedNamenode:
    """Takes datanodes in, keeps what they report, and gives the orders that a test puts here."""

    def __init__(self) -> None:
        self.cluster_id = CLUSTER_ID
        self.keys = ClusterKeys(SECRET)
        self.epoch = 1
        self.registrations: list[RegisterDatanode] = []
        self.heartbeats: list[Heartbeat] = []
        self.pages: list[ReportBlocks] = []
        self.changes: list[ReplicaChange] = []
        self.failures: list[str] = []
        self.bad_sources: list[str] = []
        self.checked: list[ReplicaChecked] = []
        self.orders: dict[str, asyncio.Queue[AnyCommand]] = {}
        self.files: dict[tuple[int, int], list[LocatedBlock]] = {}
        """The blocks of files that are to be hashed, by inode id and transaction."""
        self.hash_calls: list[LocateToHash] = []
        self.hashed: asyncio.Queue[FileHashed] = asyncio.Queue()
        self.taken_in = True
        """Whether it lets datanodes register."""
        self.reports_to_lose = 0
        """So many of the next change reports are lost: the connection breaks."""

    def open_session(self, peer_host: str) -> "ScriptedSession":
        return ScriptedSession(self)

    async def exchange(self, incoming: Incoming) -> Outgoing:
        raise AssertionError("a namenode has no blocks")

    def order(self, datanode_id: str, command: AnyCommand) -> None:
        self.orders.setdefault(datanode_id, asyncio.Queue()).put_nowait(command)

    def locate_to_hash(self, request: LocateToHash) -> LocatedBlocks:
        self.hash_calls.append(request)
        blocks = self.files.get((request.inode_id, request.changed_txid))
        if blocks is None:
            raise StaleHandle("another file by now")
        page = blocks[request.first_index :][:PAGE_BLOCKS]
        return LocatedBlocks(tuple(page), len(blocks) > request.first_index + len(page))

    def reported(self) -> list[ReplicaReport]:
        return [replica for page in self.pages for replica in page.replicas]


class ScriptedSession:
    """One datanode's connection."""

    def __init__(self, namenode: ScriptedNamenode) -> None:
        self._namenode = namenode
        self._nonce = b"n" * NONCE_BYTES
        self._peer_nonce = b""
        self._datanode_id = ""

    async def answer(self, payload: bytes) -> bytes:
        call = decode_call(payload)
        try:
            if isinstance(call, Greet):
                return encode_reply(self._greet(call))
            assert isinstance(call, DatanodeCall)
            return encode_reply(await self._take(call.request))
        except DolmenError as error:
            return encode_error(error)

    def closed(self) -> None:
        """Nothing depends on it here."""

    def _greet(self, greet: Greet) -> Greeting:
        namenode = self._namenode
        self._peer_nonce = greet.nonce
        proof = namenode.keys.prove_membership("namenode", self._nonce, greet.nonce)
        return Greeting(
            PROTOCOL_VERSION,
            "0",
            namenode.cluster_id,
            namenode.epoch,
            self._nonce,
            proof,
            1 << 27,
            3,
            2,
            60_000,
            600_000,
        )

    async def _take(self, request: DatanodeRequest) -> DatanodeReply | LocatedBlocks | Done:
        namenode = self._namenode
        if isinstance(request, RegisterDatanode):
            namenode.keys.check_membership("datanode", self._peer_nonce, self._nonce, request.proof)
            if not namenode.taken_in:
                raise AccessDenied("connected already")
            self._datanode_id = request.datanode_id
            namenode.registrations.append(request)
            return Registered(namenode.epoch, 1000)
        if isinstance(request, Heartbeat):
            namenode.heartbeats.append(request)
            return HeartbeatTaken(namenode.epoch)
        if isinstance(request, AwaitCommands):
            return await self._orders(request.patience_ms / 1000)
        if isinstance(request, LocateToHash):
            return namenode.locate_to_hash(request)
        if isinstance(request, FileHashed):
            namenode.hashed.put_nowait(request)
            return Done()
        if isinstance(request, ReportBlocks):
            namenode.pages.append(request)
        elif namenode.reports_to_lose:
            namenode.reports_to_lose -= 1
            raise InvalidRequest("lost")
        else:
            self._keep(request)
        return ReportTaken()

    def _keep(self, report: ReportChanges) -> None:
        self._namenode.changes += report.changes
        for failed in report.failed_commands:
            self._namenode.failures += [failed.reason] if failed.reason else []
            self._namenode.bad_sources += failed.bad_sources
        self._namenode.checked += report.checked

    async def _orders(self, patience_s: float) -> Commands:
        queue = self._namenode.orders.setdefault(self._datanode_id, asyncio.Queue())
        try:
            async with asyncio.timeout(patience_s):
                return Commands(self._namenode.epoch, (await queue.get(),))
        except TimeoutError:
            return Commands(self._namenode.epoch, ())


class World:
    """A namenode, any number of datanodes with their disks, and a client."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.network = SimNetwork(Random(seed))
        self.namenode = ScriptedNamenode()
        self.client = SimTransport(self.network, "client")
        self.storages: dict[str, SimStorage] = {}
        self.disks: dict[str, list[SimDisk]] = {}
        self.nodes: dict[str, Datanode] = {}
        self.settings = Settings()

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        virtual_time.run(self._run(scenario))
        assert self.network.failures == []

    async def _run(self, scenario: Coroutine[Any, Any, None]) -> None:
        listening = await self.listen()
        await scenario
        for node in self.nodes.values():
            node.check_invariants()
            await node.stop()
        await listening.close()
        await self.client.close()
        await asyncio.sleep(1)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, "tasks were left behind"

    async def listen(self) -> Any:
        transport = SimTransport(self.network, "namenode")
        return await transport.listen(self.namenode, "namenode", 9870)

    def options(self, name: str, **changes: Any) -> DatanodeOptions:
        given: dict[str, Any] = {
            "directories": ("/data",),
            "namenode": NAMENODE,
            "host": name,
            "port": 9864,
            "secret_file": "/secret",
            "settings": self.settings,
        }
        return DatanodeOptions(**given | changes)

    def make(self, name: str, **changes: Any) -> Datanode:
        """Return a datanode on the disk of this name, not started."""
        storage = self.storages.get(name)
        if storage is None:
            storage = self.storages[name] = SimStorage()
            inode = storage.open("/secret", create=True)
            inode.write(0, SECRET + b"\n")
            inode.sync()
            storage.sync_directory("/")
        disks = self.disks[name] = []

        def open_disk() -> SimDisk:
            disks.append(SimDisk(storage, name))
            return disks[-1]

        machine = Machine(
            transport=SimTransport(self.network, name),
            open_disk=open_disk,
            tables=SimKeyValueStore(),
            wall_clock_ms=self.wall_clock_ms,
            random=Random(self.random.random()),
            background=_refuse,
            boot_id="boot",
            host_name=name,
            file_passing=SimFilePassing(self.network, name, name, Random(0)),
        )
        return Datanode(machine, self.options(name, **changes))

    async def start(self, name: str, **changes: Any) -> Datanode:
        node = self.nodes[name] = self.make(name, **changes)
        await node.start()
        return node

    async def kill(self, name: str, *, power_loss: bool = False) -> None:
        node = self.nodes.pop(name)
        node.kill()
        for disk in self.disks[name]:
            disk.kill()
        await node.wait()
        if power_loss:
            self.storages[name].crash(self.random)

    def wall_clock_ms(self) -> int:
        return 1_000_000 + int(asyncio.get_running_loop().time() * 1000)

    # ------------------------------------------------------------ the client's side

    def targets(self, *names: str) -> tuple[Target, ...]:
        nodes = [self.nodes[name] for name in names]
        return tuple(Target(node.datanode_id, node.address) for node in nodes)

    def token(
        self, access: Access, *targets: Target, stamp: int = 1, life_ms: int = TOKEN_LIFE_MS
    ) -> bytes:
        expires_ms = self.wall_clock_ms() + life_ms
        token = BlockToken(BLOCK, stamp, access, "ann", expires_ms, LENGTH_LIMIT, targets)
        return self.namenode.keys.sign(token)

    async def ask(
        self, address: str, head: BlockRequest, body: Body | None = None
    ) -> tuple[BlockReply, bytes]:
        async with self.client.exchange(address, encode_head(head), body) as answered:
            reply = decode_block_reply(answered.head)
            data = bytearray(answered.body.length_bytes)
            await answered.body.read_into(memoryview(data))
        return reply, bytes(data)

    async def write(
        self,
        data: bytes,
        *targets: Target,
        offset: int = 0,
        stamp: int = 1,
        digest: bytes = b"",
    ) -> SegmentStored:
        """Send one segment to the head of the pipeline; with its digest, a whole block."""
        token = self.token(Access.WRITE, *targets, stamp=stamp)
        sums = chunk_checksums(data)
        head = WriteSegment(token, BLOCK, stamp, offset, len(data), sums, 0, digest)
        reply, _ = await self.ask(targets[0].address, head, body_of(data))
        assert isinstance(reply, SegmentStored)
        return reply

    async def finalize(self, data: bytes, *targets: Target, stamp: int = 1) -> None:
        token = self.token(Access.WRITE, *targets, stamp=stamp)
        head = FinalizeReplica(token, BLOCK, stamp, len(data), digest_of(data))
        for target in targets:
            await self.ask(target.address, head)

    async def restamp(self, length: int, old: int, new: int, *targets: Target) -> None:
        token = self.token(Access.WRITE, *targets, stamp=new)
        for target in targets:
            await self.ask(target.address, RestampReplica(token, BLOCK, new, old, length))

    async def copy(
        self, target: Target, length: int, digest: bytes, *sources: Target, stamp: int = 1
    ) -> BlockReply:
        token = self.token(Access.COPY, *sources, stamp=stamp)
        head = CopyReplica(token, BLOCK, stamp, length, digest)
        reply, _ = await self.ask(target.address, head)
        return reply

    async def read(
        self, target: Target, *ranges: tuple[int, int], stamp: int = 1, access: Access = Access.READ
    ) -> bytes:
        token = self.token(access, stamp=stamp)
        reply, data = await self.ask(target.address, ReadRanges(token, BLOCK, stamp, ranges))
        assert reply == RangesFollow(len(data))
        return data

    async def checksums(self, target: Target, stamp: int = 1) -> tuple[ChecksumsFollow, bytes]:
        token = self.token(Access.READ, stamp=stamp)
        reply, data = await self.ask(target.address, ReadChecksums(token, BLOCK, stamp))
        assert isinstance(reply, ChecksumsFollow)
        return reply, data


def digest_of(data: bytes) -> bytes:
    return block_digest(len(data), chunk_checksums(data))


def quarantined(world: World, name: str, root: str = "/data/volumes/0") -> list[Description]:
    """Return what a datanode's quarantine holds."""
    storage = world.storages[name]
    if "quarantine" not in storage.directory(root).entries:
        return []
    entries = storage.directory(f"{root}/quarantine").entries
    found = []
    for entry in sorted(entries):
        path = f"{root}/quarantine/{entry}"
        data = bytes(storage.file(f"{path}/{DESCRIPTION_NAME}").data)
        found.append(msgspec.json.decode(data, type=Description))
        assert {*found[-1].files, DESCRIPTION_NAME} == set(storage.directory(path).entries)
    return found


def content(length: int, salt: int = 0) -> bytes:
    """Return bytes that no other salt gives."""
    return Random(salt).randbytes(length)


def _refuse(work: object) -> Any:
    raise AssertionError("a datanode does no work beside its loop but through its disks")
