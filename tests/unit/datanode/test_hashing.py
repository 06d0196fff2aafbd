"""A datanode reads a whole file, from whoever has its blocks, and tells the hash of its bytes."""

import asyncio
from dataclasses import dataclass

import xxhash

from dolmen.protocol.block_messages import FinalizeReplica, WriteSegment
from dolmen.protocol.checksums import CHUNK_BYTES, chunk_checksums
from dolmen.protocol.client_messages import LocatedBlock, ReplicaLocation
from dolmen.protocol.datanode_messages import FileHashed, HashFile
from dolmen.protocol.tokens import Access, BlockToken, Target
from dolmen.runtime.settings import Settings
from dolmen.runtime.transport import body_of
from tests.unit.datanode.world import BLOCK, LENGTH_LIMIT, TOKEN_LIFE_MS, World, content, digest_of

INODE, TXID = 5, 77
PIECES = [content(length, salt) for salt, length in enumerate((1_100_000, 1, 3 * CHUNK_BYTES + 9))]
WHOLE = b"".join(PIECES)


@dataclass
class File:
    """A file with a block for each of `PIECES`, of which all given datanodes have replicas."""

    world: World

    async def store(self, *names: str) -> None:
        targets = self.world.targets(*names)
        self.world.namenode.files[INODE, TXID] = [
            await self._block(BLOCK + number, data, targets) for number, data in enumerate(PIECES)
        ]

    async def _block(self, block_id: int, data: bytes, targets: tuple[Target, ...]) -> LocatedBlock:
        write = self._token(block_id, Access.WRITE, targets)
        segment = WriteSegment(write, block_id, 1, 0, len(data), chunk_checksums(data), 0)
        await self.world.ask(targets[0].address, segment, body_of(data))
        for target in targets:
            end = FinalizeReplica(write, block_id, 1, len(data), digest_of(data))
            await self.world.ask(target.address, end)
        replicas = tuple(
            ReplicaLocation(t.datanode_id, t.address, "host", "/rack") for t in targets
        )
        token = self._token(block_id, Access.READ, ())
        return LocatedBlock(block_id, 1, 0, len(data), digest_of(data), replicas, token)

    def _token(self, block_id: int, access: Access, targets: tuple[Target, ...]) -> bytes:
        expires_ms = self.world.wall_clock_ms() + TOKEN_LIFE_MS
        token = BlockToken(block_id, 1, access, "ann", expires_ms, LENGTH_LIMIT, targets)
        return self.world.namenode.keys.sign(token)

    async def hash_on(self, name: str, txid: int = TXID) -> FileHashed:
        """Have a datanode hash it, and return what it says."""
        self.world.namenode.order(self.world.nodes[name].datanode_id, HashFile(INODE, txid))
        return await self.world.namenode.hashed.get()


def test_the_hash_is_that_of_all_bytes_in_their_order_whoever_has_them() -> None:
    world = World()
    file = File(world)

    async def scenario() -> None:
        for name in ("a", "b", "c"):
            await world.start(name)
        await file.store("a", "b")
        for name in ("a", "b", "c"):
            hashed = await file.hash_on(name)
            assert hashed == FileHashed(INODE, TXID, xxhash.xxh3_128_digest(WHOLE))

    world.run(scenario())
    assert [call.first_index for call in world.namenode.hash_calls[:2]] == [0, 2]


def test_rotten_bytes_are_never_hashed_but_read_from_another_replica_and_told_of() -> None:
    world = World()
    file = File(world)

    async def scenario() -> None:
        for name in ("a", "b"):
            await world.start(name)
        await file.store("a", "b")
        path = "/data/volumes/0/finalized/0000/00/00/0000000000000020.block"
        world.storages["a"].file(path).rot(600_000)
        hashed = await file.hash_on("a")
        assert hashed.content_hash == xxhash.xxh3_128_digest(WHOLE)
        await asyncio.sleep(2)
        assert world.namenode.bad_sources == [world.nodes["a"].datanode_id]

    world.run(scenario())


def test_a_file_of_which_a_block_is_nowhere_has_no_hash_and_it_is_said_why() -> None:
    world = World()
    file = File(world)

    async def scenario() -> None:
        for name in ("a", "b"):
            await world.start(name)
        await file.store("b")
        await world.kill("b")
        hashed = await file.hash_on("a")
        assert hashed.content_hash == b""
        assert "no source gave block" in hashed.problem

    world.run(scenario())


def test_a_file_that_changed_meanwhile_is_left_and_the_next_order_is_worked_off() -> None:
    world = World()
    file = File(world)

    async def scenario() -> None:
        await world.start("a")
        await file.store("a")
        assert "another file by now" in (await file.hash_on("a", TXID - 1)).problem
        assert (await file.hash_on("a")).content_hash == xxhash.xxh3_128_digest(WHOLE)

    world.run(scenario())


def test_hashing_keeps_to_its_rate_and_asks_anew_where_blocks_are() -> None:
    world = World()
    world.settings = Settings(repair_rate_bytes=64 * 1024)
    file = File(world)

    async def scenario() -> None:
        await world.start("a")
        await file.store("a")
        begun_s = asyncio.get_running_loop().time()
        hashed = await file.hash_on("a")
        took_s = asyncio.get_running_loop().time() - begun_s
        assert hashed.content_hash == xxhash.xxh3_128_digest(WHOLE)
        assert took_s > (len(WHOLE) - 2 * CHUNK_BYTES) / (32 * 1024)

    world.run(scenario())
    assert [call.first_index for call in world.namenode.hash_calls] == [0, 1]


def test_an_order_ends_with_the_connection_that_it_came_over() -> None:
    world = World()
    world.settings = Settings(repair_rate_bytes=64 * 1024)
    file = File(world)

    async def scenario() -> None:
        node = await world.start("a")
        await file.store("a")
        world.namenode.order(node.datanode_id, HashFile(INODE, TXID))
        await asyncio.sleep(5)
        world.namenode.reports_to_lose = 1
        world.namenode.epoch += 1  # whereupon the datanode leaves, and registers anew
        await asyncio.sleep(60)
        assert world.namenode.hashed.empty()
        assert len(world.namenode.registrations) == 2

    world.run(scenario())
