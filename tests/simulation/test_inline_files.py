"""Files that the namenode keeps itself, in a whole cluster: at every boundary of their length, in
every way to read them, and while the namenode dies."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from random import Random

import pytest

from dolmen.client import Client
from dolmen.protocol.errors import (
    IsADirectory,
    PathExists,
    StaleHandle,
)
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace

LIMIT = 4096
PLAN = Plan(seed=1, datanodes=3, block_size_bytes=128 * 1024, inline_limit_bytes=LIMIT)
EDGES = (0, 1, LIMIT - 1, LIMIT, LIMIT + 1)
DATA = Random(1).randbytes(3 * LIMIT)

Scenario = Callable[[SimCluster, Client], Awaitable[None]]


def on_cluster(scenario: Scenario) -> None:
    """Run a scenario with a whole cluster and a client of it, in virtual time."""

    async def main() -> None:
        cluster = SimCluster(PLAN, Trace(asyncio.get_running_loop().time))
        await cluster.start()
        async with cluster.inspector() as client:
            await scenario(cluster, client)
        cluster.check_invariants()
        await cluster.stop()
        assert cluster.found == []

    virtual_time.run(main())


def is_inline(length: int) -> bool:
    return 0 < length <= LIMIT


@pytest.mark.parametrize("length", EDGES)
def test_a_file_of_this_length_is_read_as_it_was_written(length: int) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        data = DATA[:length]
        whole = await client.write_file("/whole", data)
        async with await client.open_writer("/pieces") as writer:
            for start in range(0, length, 1000):
                await writer.write(bytearray(data[start : min(start + 1000, length)]))
                assert writer.length_bytes == min(start + 1000, length)
        for info in (whole, writer.info, await client.info("/pieces")):
            assert (info.length_bytes, info.inline) == (length, is_inline(length))
            assert info.content_hash == whole.content_hash == writer.content_hash
            assert await client.read_file(info.path) == data
            async with await client.open_reader(info.path) as reader:
                assert await reader.read_at(length // 2, LIMIT) == data[length // 2 :]
                assert await reader.read_at(length, 5) == b""
                ranges = [(0, 7), (length // 3, length // 2), (length, length + 9)]
                expected = [data[start:end] for start, end in ranges]
                assert await reader.read_ranges(ranges) == expected
        located = [block async for block in client.locate_blocks("/whole")]
        assert bool(located) == (length > LIMIT)
        report = await client.report()
        kept = 2 * is_inline(length)
        assert (report.inline_files, report.inline_bytes) == (kept, kept * length)

    on_cluster(scenario)


@pytest.mark.parametrize("more", [1, LIMIT, 200_000])
@pytest.mark.parametrize("before", EDGES)
def test_what_is_appended_comes_behind_what_was_there(before: int, more: int) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        data = Random(2).randbytes(more)
        await client.write_file("/f", DATA[:before])
        async with await client.open_reader("/f") as old:
            async with await client.open_appender("/f") as writer:
                await writer.write(data[: more // 2])
                await writer.flush()
                assert await client.read_file("/f") == DATA[:before] + data[: more // 2]
                await writer.write(data[more // 2 :])
            assert await client.read_file("/f") == DATA[:before] + data
            assert not (await client.info("/f")).inline
            assert await old.read_at(0, before) == DATA[:before]

    on_cluster(scenario)


@pytest.mark.parametrize("before", [1, LIMIT, LIMIT + 1])
def test_a_file_that_is_cut_has_what_is_left(before: int) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        for length in sorted({0, 1, before // 2, before - 1, before}):
            await client.write_file("/f", DATA[:before])
            info = await client.truncate("/f", length)
            assert (info.length_bytes, info) == (length, await client.info("/f"))
            assert info.inline == (is_inline(before) and length > 0)
            assert await client.read_file("/f") == DATA[:length]

    on_cluster(scenario)


@pytest.mark.parametrize("target", [0, 1, LIMIT // 2, LIMIT, LIMIT + 1])
@pytest.mark.parametrize("sources", [(0,), (1, 2), (LIMIT // 2,), (LIMIT,), (1, LIMIT + 1, 3)])
def test_joined_files_are_one(target: int, sources: tuple[int, ...]) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        expected = DATA[:target]
        await client.write_file("/target", expected)
        for number, length in enumerate(sources):
            data = Random(number).randbytes(length)
            expected += data
            await client.write_file(f"/{number}", data)
        info = await client.concat("/target", [f"/{number}" for number in range(len(sources))])
        assert info == await client.info("/target")
        assert await client.read_file("/target") == expected
        assert [entry.path for entry in await client.list_directory("/")] == ["/target"]
        if max(target, *sources) <= LIMIT:
            assert info.inline == is_inline(len(expected))

    on_cluster(scenario)


def test_a_file_can_be_opened_to_be_written_only_where_it_could_be_published() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await client.make_directory("/d")
        await client.write_file("/f", b"here")
        with pytest.raises(IsADirectory):
            await client.open_writer("/d")
        with pytest.raises(PathExists):
            await client.open_writer("/f", exclusive=True)
        with pytest.raises(PathExists):
            await client.write_file("/f", b"", exclusive=True)
        first, second = [await client.open_writer("/new", exclusive=True) for _ in range(2)]
        await first.write(b"first")
        await second.write(b"second")
        await first.close()
        with pytest.raises(PathExists):
            await second.close()
        long = await client.open_writer("/long")
        await client.make_directory("/long")
        with pytest.raises(IsADirectory):
            await long.write(DATA)
        await long.abandon()
        assert await client.read_file("/new") == b"first"

    on_cluster(scenario)


def test_nobody_keeps_what_was_not_published() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        writer = await client.open_writer("/f")
        await writer.write(b"given up")
        await writer.abandon()
        writer = await client.open_writer("/f")
        with suppress(RuntimeError):
            async with writer:
                await writer.write(b"given up")
                raise RuntimeError
        page = [page async for page in client.operator.inspect("/")]
        assert [(one.files, one.open_files) for one in page] == [(0, 0)]

    on_cluster(scenario)


def test_a_reader_has_what_it_opened_whatever_becomes_of_the_file() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await client.write_file("/f", b"the first")
        async with await client.open_reader("/f") as reader:
            await client.write_file("/f", b"the second")
            await client.delete("/f")
            await asyncio.sleep(60)
            assert await reader.read_at(0, 100) == b"the first"

    on_cluster(scenario)


def test_a_follower_gets_each_byte_once_as_a_content_becomes_a_block() -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await client.write_file("/f", b"one ")
        async with aclosing(client.follow("/f")) as pieces:
            assert await anext(pieces) == b"one "
            async with await client.open_appender("/f") as writer:
                await writer.write(b"two")
            assert await anext(pieces) == b"two"

    on_cluster(scenario)


@pytest.mark.parametrize(("after", "kept"), [(b"one two", True), (b"one TWO", False)])
def test_a_follower_is_told_when_a_content_that_it_was_given_is_another_one(
    after: bytes, kept: bool
) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        await client.write_file("/f", b"one two")
        async with aclosing(client.follow("/f")) as pieces:
            assert await anext(pieces) == b"one two"
            await client.truncate("/f", 4)
            async with await client.open_appender("/f") as writer:
                await writer.write(after[4:] + b", and more")
            if kept:
                assert await anext(pieces) == b", and more"
            else:
                with pytest.raises(StaleHandle):
                    await anext(pieces)

    on_cluster(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_stored_is_there_after_the_namenode_lost_its_power_and_once(seed: int) -> None:
    async def scenario(cluster: SimCluster, client: Client) -> None:
        random = Random(seed)
        stored: dict[str, bytes] = {}

        async def store(name: str) -> None:
            for number in range(30):
                path, data = f"/{name}/{number}", random.randbytes(random.choice((1, 99, LIMIT)))
                await client.write_file(path, data, exclusive=True)  # twice would be PathExists
                stored[path] = data
                await asyncio.sleep(random.choice((0, 0.001, 0.5)))

        async def kill() -> None:
            while True:
                await asyncio.sleep(random.choice((0.003, 0.5, 3.0)))
                await cluster.namenode.kill(power_loss=random.random() < 0.5)
                await cluster.namenode.start()

        killing = asyncio.create_task(kill())
        await asyncio.gather(*(store(name) for name in "abc"))
        killing.cancel()
        await asyncio.wait([killing])
        if not cluster.namenode.is_up:
            await cluster.namenode.start()
        assert len(stored) == 90
        for path, data in stored.items():
            assert await client.read_file(path) == data

    on_cluster(scenario)
