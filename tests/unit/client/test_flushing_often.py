"""Files that are flushed often: few short blocks, written again seldom, under everybody's eyes."""

from random import Random

import pytest

from dolmen.client.client import Client
from dolmen.client.core.short_tail import REPEATED_BELOW_BYTES
from dolmen.protocol.draft_messages import ExtendFile
from tests.unit.client.cluster import World, on_world
from tests.unit.client.test_appending import lengths


def test_a_tail_that_is_long_enough_stays_and_is_not_kept_in_memory() -> None:
    async def test(world: World, client: Client) -> None:
        writer = await client.open_writer("/a", visible=True, block_size_bytes=4 << 20)
        for _ in range(2):
            await writer.write(bytes(REPEATED_BELOW_BYTES))
            await writer.flush()
            assert writer._tail._kept == b""
        await writer.write(b"end")
        await writer.flush()
        assert writer._tail._kept == b"end"
        await writer.close()
        assert lengths(world, "/a") == [REPEATED_BELOW_BYTES, REPEATED_BELOW_BYTES, 3]

    on_world(test)


@pytest.mark.parametrize("is_reopened", [False, True])
def test_short_blocks_at_the_end_are_few_and_seldom_written_again(is_reopened: bool) -> None:
    async def test(world: World, client: Client) -> None:
        line = Random(4).randbytes(100)
        writer = await client.open_writer("/a", visible=True)
        for _ in range(255):
            await writer.write(line)
            await writer.flush()
            if is_reopened:
                await writer.close()
                writer = await client.open_appender("/a")
        await writer.close()
        assert world.content("/a") == line * 255
        assert len(lengths(world, "/a")) <= 8
        extended = world.namenode.heard_of(ExtendFile)
        written = [each.last.length_bytes for each in extended if each.last is not None]
        assert len(written) == 255
        assert sum(written) <= 8 * 255 * len(line)

    on_world(test)


def test_who_opened_any_version_of_the_file_reads_that_one() -> None:
    async def test(world: World, client: Client) -> None:
        random = Random(5)
        content = b""
        readers = []
        writer = await client.open_writer("/a", visible=True)
        for _ in range(40):
            line = random.randbytes(random.choice((1, 50, 3000)))
            await writer.write(line)
            await writer.flush()
            content += line
            readers.append((await client.open_reader("/a"), content))
        await writer.close()
        for reader, expected in readers:
            assert await reader.read_at(0, len(content)) == expected

    on_world(test)
