"""A log is written and followed while datanodes and the namenode are killed in turn: every line
comes once, and in order.

It lasts until two datanodes have died, and the namenode between them; longer if
DOLMEN_TEST_FOLLOW_S says so.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

from dolmen.client import Client
from tests.integration.real_cluster import WITHIN_S, RealCluster, Server

LASTS_S = float(os.environ.get("DOLMEN_TEST_FOLLOW_S", "0"))
DATANODES = 4
LAST = "the end"

#: Two datanodes, and the namenode between them.
KILLED_MIN = 3


async def write_log(client: Client, killed: list[str]) -> list[str]:
    """Write and flush lines until the time is over and some were killed; return them all."""
    lines: list[str] = []
    ends_s = time.monotonic() + LASTS_S
    async with await client.open_appender("/log") as writer:
        while time.monotonic() < ends_s or len(killed) < KILLED_MIN:
            lines.append(f"{len(lines)} {'x' * (len(lines) * 7919 % 3000)}")
            await writer.write(f"{lines[-1]}\n".encode())
            if len(lines) % 3 == 0:
                await writer.flush()
        await writer.write(f"{LAST}\n".encode())
    return [*lines, LAST]


async def follow_log(client: Client) -> list[str]:
    """Return the lines that come, until the last one."""
    text = b""
    async with aclosing(client.follow("/log")) as pieces:
        async for piece in pieces:
            text += piece
            if text.endswith(f"\n{LAST}\n".encode()):
                break
    return text.decode().splitlines()


@asynccontextmanager
async def deaths(cluster: RealCluster) -> AsyncIterator[list[str]]:
    """Kill the servers in turn, and start each again; the next one dies when all serve again."""
    killed: list[str] = []

    async def kill_in_turn(servers: Iterator[Server]) -> None:
        for server in servers:
            await asyncio.to_thread(server.kill)
            server.start()
            async with cluster.ready():
                killed.append(server.name)

    killing = asyncio.create_task(kill_in_turn(_in_turn(cluster)))
    try:
        yield killed
    finally:
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing


def _in_turn(cluster: RealCluster) -> Iterator[Server]:
    while True:
        for datanode in cluster.datanodes:
            yield datanode
            yield cluster.namenode


async def watch(cluster: RealCluster) -> None:
    async with cluster.ready() as client, cluster.client() as reader, cluster.client() as late:
        await client.write_file("/log", b"")
        following = asyncio.create_task(follow_log(reader))
        async with deaths(cluster) as killed:
            lines = await write_log(client, killed)
        cluster.start()
        async with asyncio.timeout(WITHIN_S):
            assert await following == lines
            assert await follow_log(late) == lines


def test_every_line_of_a_log_is_followed_once_while_its_servers_die(tmp_path: Path) -> None:
    with RealCluster(tmp_path, DATANODES) as cluster:
        asyncio.run(watch(cluster))
