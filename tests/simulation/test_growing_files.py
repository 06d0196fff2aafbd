"""Files of a whole cluster are appended to, flushed, cut, joined and read, while its processes are
restarted: at every moment they are what Python bytes would be."""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec import structs

from dolmen.client import AppendWriter, Client, Reader
from dolmen.protocol.errors import InvalidRequest, LeaseConflict, NoSuchPath, StaleHandle
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace

BLOCK_BYTES = 128 * 1024
INLINE_BYTES = 4096
PLAN = Plan(seed=1, datanodes=4, block_size_bytes=BLOCK_BYTES, inline_limit_bytes=INLINE_BYTES)
PATHS = ("/a", "/b", "/c")
LAST = b"the end\n"

paths = st.sampled_from(PATHS)
lengths = st.one_of(
    st.sampled_from((0, 1, 64 * 1024, BLOCK_BYTES, BLOCK_BYTES + 1)),
    st.integers(INLINE_BYTES - 1, INLINE_BYTES + 1),
    st.integers(0, 400_000),
)
short_lengths = st.integers(INLINE_BYTES - 1, INLINE_BYTES + 1) | st.integers(0, INLINE_BYTES // 2)


@dataclass
class Growing:
    """The files as they must be, and who writes and reads them."""

    client: Client
    cluster: SimCluster
    content: dict[str, bytes] = field(default_factory=dict)
    writers: dict[str, AppendWriter] = field(default_factory=dict)
    unflushed: dict[str, bytes] = field(default_factory=dict)
    readers: list[tuple[Reader, bytes]] = field(default_factory=list)

    async def write(self, path: str, data: bytes) -> None:
        """Write behind the end, with a writer that stays open."""
        if path not in self.writers:
            block_bytes = BLOCK_BYTES * (1 + PATHS.index(path))
            writer = await self.client.open_appender(
                path, create=True, block_size_bytes=block_bytes
            )
            self.writers[path] = writer
            self.unflushed[path] = b""
            self.content.setdefault(path, b"")
        await self.writers[path].write(data)
        self.unflushed[path] += data
        assert self.writers[path].length_bytes == len(self.content[path] + self.unflushed[path])

    async def store(self, path: str, data: bytes) -> None:
        """Put another file there, whole; who writes the one before hears that it is gone."""
        info = await self.client.write_file(path, data)
        assert info.inline == (0 < len(data) <= INLINE_BYTES)
        self.content[path] = data
        if path in self.writers:
            writer, unflushed = self.writers.pop(path), self.unflushed.pop(path)
            with pytest.raises(StaleHandle) if unflushed else suppress(StaleHandle):
                await writer.close()

    async def flush(self, path: str) -> None:
        if path in self.writers:
            await self.writers[path].flush()
            self.content[path] += self.unflushed[path]
            self.unflushed[path] = b""

    async def close(self, path: str) -> None:
        if path in self.writers:
            info = await self.writers.pop(path).close()
            self.content[path] += self.unflushed.pop(path)
            assert info.length_bytes == len(self.content[path])

    async def abandon(self, path: str) -> None:
        if path in self.writers:
            await self.writers.pop(path).abandon()

    async def recover(self, path: str) -> None:
        """Take the file from its writer, who has changed nothing when he comes back."""
        if path not in self.content:
            return
        await self.client.recover_lease(path)
        if path in self.writers:
            writer = self.writers.pop(path)
            with pytest.raises(LeaseConflict):
                await writer.close()

    async def truncate(self, path: str, length: int) -> None:
        content = self.content.get(path)
        cutting = self.client.truncate(path, length)
        if content is None:
            with pytest.raises(NoSuchPath):
                await cutting
        elif length > len(content):
            with pytest.raises(InvalidRequest):
                await cutting
        elif path in self.writers and length < len(content):
            with pytest.raises(LeaseConflict):
                await cutting
        else:
            assert (await cutting).length_bytes == length
            self.content[path] = content[:length]

    async def concat(self, target: str, source: str) -> None:
        joining = self.client.concat(target, [source])
        there = {target, source} <= self.content.keys()
        if there and target != source and not {target, source} & self.writers.keys():
            await joining
            self.content[target] += self.content.pop(source)
        else:
            with pytest.raises((NoSuchPath, LeaseConflict, InvalidRequest)):
                await joining

    async def read(self, path: str) -> None:
        """Open it, and keep it open to the end."""
        if path in self.content:
            self.readers.append((await self.client.open_reader(path), self.content[path]))

    async def restart(self, index: int, power_loss: bool) -> None:
        """Kill the namenode, or a datanode, perhaps with its machine, and start it again."""
        lives: list[Lives] = [self.cluster.namenode, *self.cluster.datanodes]
        await lives[index].kill(power_loss=power_loss)
        await lives[index].start()

    async def check(self) -> None:
        for path, content in self.content.items():
            assert await self.client.read_file(path) == content

    async def check_readers(self) -> None:
        for reader, content in self.readers:
            with suppress(StaleHandle):  # what it has opened is kept for a while only
                assert await reader.read_at(0, len(content) + 1) == content


steps = st.one_of(
    st.tuples(st.just("write"), paths, lengths),
    st.tuples(st.just("store"), paths, short_lengths),
    st.tuples(st.sampled_from(("flush", "close", "abandon", "recover", "read")), paths),
    st.tuples(st.just("truncate"), paths, lengths),
    st.tuples(st.just("concat"), paths, paths),
    st.tuples(st.just("restart"), st.integers(0, PLAN.datanodes), st.booleans()),
)


async def take_steps(drawn: list[tuple[Any, ...]], seed: int) -> None:
    random = Random(seed)
    cluster = SimCluster(PLAN, Trace(asyncio.get_running_loop().time))
    await cluster.start()
    async with cluster.inspector() as client:
        growing = Growing(client, cluster)
        for name, *words in drawn:
            if name in ("write", "store"):
                words[1] = random.randbytes(words[1])
            await getattr(growing, name)(*words)
            await growing.check()
            cluster.check_invariants()
        await growing.check_readers()
        for path in list(growing.writers):
            await growing.close(path)
        await growing.check()
    await cluster.stop()
    assert cluster.found == []


@settings(max_examples=30, deadline=None)
@given(st.lists(steps, max_size=25), st.integers(0, 1000))
def test_files_that_grow_and_shrink_are_what_bytes_would_be(
    drawn: list[tuple[Any, ...]], seed: int
) -> None:
    virtual_time.run(take_steps(drawn, seed))


async def write_log(client: Client, random: Random, ends_s: float) -> bytes:
    """Write and flush lines at any pace until then; return them all."""
    loop, written = asyncio.get_running_loop(), b""
    async with await client.open_appender("/log") as writer:
        while loop.time() < ends_s:
            line = b"%d %s\n" % (len(written), b"x" * random.choice((1, 1000, 200_000)))
            await writer.write(line)
            written += line
            if random.random() < 0.5:
                await writer.flush()
            await asyncio.sleep(random.choice((0, 0.1, 2)))
        await writer.write(LAST)
    return written + LAST


async def follow_log(client: Client) -> bytes:
    """Return the bytes that come, until the last line."""
    got = bytearray()
    async with aclosing(client.follow("/log")) as pieces:
        async for piece in pieces:
            got += piece
            if got.endswith(LAST):
                break
    return bytes(got)


async def kill_in_turn(cluster: SimCluster, random: Random) -> None:
    while True:
        lives = random.choice([cluster.namenode, *cluster.datanodes])
        await lives.kill(power_loss=random.random() < 0.3)
        await asyncio.sleep(random.choice((0, 1, 8)))
        await lives.start()
        await asyncio.sleep(random.choice((0.1, 2, 10)))


async def watch_log(seed: int) -> None:
    random = Random(seed)
    cluster = SimCluster(structs.replace(PLAN, seed=seed), Trace(asyncio.get_running_loop().time))
    await cluster.start()
    async with cluster.inspector() as client:
        await client.write_file("/log", b"")
        following = asyncio.create_task(follow_log(client))
        killing = asyncio.create_task(kill_in_turn(cluster, random))
        written = await write_log(client, random, asyncio.get_running_loop().time() + 120)
        async with asyncio.timeout(600):
            assert await following == written
        killing.cancel()
        await asyncio.wait([killing])
    await cluster.stop()
    assert cluster.found == []


@pytest.mark.parametrize("seed", range(2))
def test_every_byte_of_a_log_is_followed_once_while_its_servers_die(seed: int) -> None:
    virtual_time.run(watch_log(seed))
