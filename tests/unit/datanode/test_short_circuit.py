"""What a datanode passes to readers on its host, and what it takes back."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from dolmen.protocol.checksums import CHUNK_BYTES, block_digest, chunk_checksums
from dolmen.protocol.datanode_messages import CheckReplica, InvalidateReplica
from dolmen.protocol.errors import AccessDenied, DolmenError, NoSuchReplica, PeerLost, to_error
from dolmen.protocol.passing_messages import (
    FromDatanode,
    OpenReplica,
    ReplicaPassed,
    ReplicaRefused,
    ReplicaRevoked,
    decode_from_datanode,
    encode_message,
    name_of,
)
from dolmen.protocol.tokens import Access, Target, prove_token
from dolmen.runtime.file_passing import Channel, PassedFile
from dolmen.runtime.settings import Settings
from dolmen.simulation.sim_file_passing import SimFilePassing
from tests.unit.datanode.world import BLOCK, World, content, digest_of

DATA = content(3 * CHUNK_BYTES + 11)
DATA_FILE = "/data/volumes/0/finalized/0000/00/00/0000000000000020.block"


class Neighbour:
    """A reader on a datanode's host that asks by hand."""

    def __init__(self, world: World, host: str) -> None:
        self.lost_times = 0
        self._passing = SimFilePassing(world.network, host, "neighbour", Random(1))
        self._heard: asyncio.Queue[tuple[FromDatanode, Sequence[PassedFile]]] = asyncio.Queue()
        self._channel: Channel | None = None

    async def connect(self, datanode_id: str) -> "Neighbour":
        self._channel = await self._passing.connect(name_of(datanode_id), self)
        return self

    def received(self, payload: bytes, files: Sequence[PassedFile]) -> None:
        self._heard.put_nowait((decode_from_datanode(payload), files))

    def lost(self) -> None:
        self.lost_times += 1

    def say(self, payload: bytes) -> None:
        assert self._channel is not None
        self._channel.send(payload)

    async def next(self) -> tuple[FromDatanode, Sequence[PassedFile]]:
        async with asyncio.timeout(10):
            return await self._heard.get()

    async def ask(self, proof: bytes, stamp: int = 1) -> tuple[FromDatanode, Sequence[PassedFile]]:
        self.say(encode_message(OpenReplica(7, proof, BLOCK, stamp)))
        return await self.next()

    async def refusal(self, proof: bytes, stamp: int = 1) -> DolmenError:
        message, files = await self.ask(proof, stamp)
        assert isinstance(message, ReplicaRefused)
        assert not files
        return to_error(message.refusal)


async def neighbour(world: World) -> Neighbour:
    """A reader beside a datanode that holds the block."""
    node = await world.start("a")
    (target,) = world.targets("a")
    await world.write(DATA, target)
    await world.finalize(DATA, target)
    return await Neighbour(world, "a").connect(node.datanode_id)


def proof(world: World, access: Access = Access.READ, stamp: int = 1, *targets: Target) -> bytes:
    return prove_token(world.token(access, *targets, stamp=stamp))


async def bytes_of(file: PassedFile, offset: int, length: int) -> bytes:
    buffer = memoryview(bytearray(length))
    count = await file.read_into(offset, buffer)
    return bytes(buffer[:count])


def test_a_replica_is_passed_with_its_checksums_for_as_long_as_the_token_lives() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        message, (data, checksums) = await reader.ask(proof(world))
        assert isinstance(message, ReplicaPassed)
        assert (message.number, message.length_bytes) == (7, len(DATA))
        assert 0 < message.life_ms <= 600_000
        assert await bytes_of(data, 0, len(DATA) + 9) == DATA
        expected = chunk_checksums(DATA)
        assert await bytes_of(checksums, message.checksums_offset, 999) == expected
        assert block_digest(len(DATA), expected) == digest_of(DATA)
        assert all(disk.open_files == 0 for disk in world.disks["a"])

    world.run(scenario())


def test_only_who_shows_a_read_token_for_the_block_and_stamp_is_passed_it() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        for bad in (
            b"",
            world.token(Access.READ),  # a token that was given away is no proof
            proof(world, Access.WRITE),
            proof(world, Access.READ, 2),
            proof(world)[:-1],
            bytes(32) + proof(world)[32:],
        ):
            assert isinstance(await reader.refusal(bad), AccessDenied)
        assert isinstance(await reader.refusal(proof(world, stamp=2), stamp=2), DolmenError)
        message, _ = await reader.ask(proof(world))
        assert isinstance(message, ReplicaPassed)

    world.run(scenario())


def test_a_replica_that_is_deleted_is_revoked_and_not_passed_again() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        await reader.ask(proof(world))
        world.namenode.order(world.nodes["a"].datanode_id, InvalidateReplica(BLOCK, 1))
        assert await reader.next() == (ReplicaRevoked(BLOCK, 1), [])
        assert isinstance(await reader.refusal(proof(world)), NoSuchReplica)

    world.run(scenario())


def test_a_replica_that_is_found_damaged_is_revoked_and_read_over_the_network_alone() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        await reader.ask(proof(world))
        world.storages["a"].file(DATA_FILE).rot(5)
        world.namenode.order(world.nodes["a"].datanode_id, CheckReplica(BLOCK, 1))
        assert await reader.next() == (ReplicaRevoked(BLOCK, 1), [])
        assert isinstance(await reader.refusal(proof(world)), NoSuchReplica)

    world.run(scenario())


def test_a_reader_that_talks_nonsense_loses_its_connection_and_others_keep_theirs() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        other = await Neighbour(world, "a").connect(world.nodes["a"].datanode_id)
        reader.say(b"nonsense")
        await asyncio.sleep(1)
        assert (reader.lost_times, other.lost_times) == (1, 0)
        message, _ = await other.ask(proof(world))
        assert isinstance(message, ReplicaPassed)

    world.run(scenario())


def test_a_datanode_that_is_told_so_passes_nothing() -> None:
    world = World()
    world.settings = Settings(short_circuit=False)

    async def scenario() -> None:
        with pytest.raises(PeerLost):
            await neighbour(world)

    world.run(scenario())


def test_the_end_of_a_datanode_ends_its_connections() -> None:
    world = World()

    async def scenario() -> None:
        reader = await neighbour(world)
        await world.nodes.pop("a").stop()
        await asyncio.sleep(1)
        assert reader.lost_times == 1

    world.run(scenario())
