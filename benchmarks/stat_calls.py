"""How many files a second can be asked about: one at a time, by the synchronous filesystem and by
an asynchronous client, and 64 at once?

The limit is a bare echo over one aiohttp WebSocket, with messages as long as those of the calls:
the least that any namenode reached in this way must do for each of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from benchmarks import echo
from benchmarks.cluster import BenchCluster
from benchmarks.figures import PER_S, Line, Reading, compare, cpu_notes
from benchmarks.harness import Benchmark, Workshop
from benchmarks.machine import Room
from benchmarks.peers import serving
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import own_meter
from dolmen.client import Client
from dolmen.protocol.client_messages import GetInfo
from dolmen.protocol.control_messages import CLIENT_ID_BYTES, ClientCall, encode_call, encode_reply
from fsspec_plugin.filesystem import DolmenFileSystem

PATH = "/measurements/2024/part-00000.parquet"
SYNCHRONOUS = 0
"""Of the calls in flight: one at a time, by the synchronous filesystem."""

AIMS = {SYNCHRONOUS: 5_000, 1: 5_000, 64: 50_000}
"""By calls in flight."""

HEAD_BYTES = 12
"""Before each message on a control connection."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    async with workshop.cluster() as cluster:
        await cluster.client.write_file(PATH, b"here")
        lengths = await _lengths(cluster.client)
        with serving(partial(echo.serve, lengths=lengths)) as peer:
            async with echo.connected(peer.port, lengths) as bare:
                for in_flight in AIMS:
                    sides = _Sides(cluster, (bare, peer.pid), in_flight, workshop.sizes.rate_s)
                    ours, echoed = await workshop.interleave(sides.dolmen, sides.echo)
                    line = compare(
                        f"stat, {in_flight} in flight" if in_flight else "stat, synchronous",
                        PER_S,
                        ours,
                        ("echo over an aiohttp WebSocket", echoed),
                        cpu_notes(ours, echoed, "s/1000"),
                    )
                    yield line.aiming_at(figure=AIMS[in_flight])


class _Sides:
    """Calls and their echo, so many in flight."""

    def __init__(
        self, cluster: BenchCluster, bare: tuple[echo.Echo, int], in_flight: int, for_s: float
    ) -> None:
        self._cluster = cluster
        self._echo, self._echo_pid = bare
        self._in_flight = in_flight
        self._for_s = for_s

    async def dolmen(self) -> Reading:
        meter = self._cluster.meter()
        if self._in_flight == SYNCHRONOUS:
            asked = await asyncio.to_thread(_ask_synchronously, self._cluster.address, self._for_s)
        else:
            asked = await _ask(self._cluster.client, self._in_flight, self._for_s)
        return Reading(asked / meter.elapsed_s, meter.cpu_s_per(asked / 1000))

    async def echo(self) -> Reading:
        meter = own_meter(self._echo_pid)
        answered = await self._echo.round_trips(max(1, self._in_flight), self._for_s)
        return Reading(answered / meter.elapsed_s, meter.cpu_s_per(answered / 1000))


async def _ask(client: Client, in_flight: int, for_s: float) -> int:
    """Keep so many calls on their way for a while; return how many were answered."""
    until_s = time.perf_counter() + for_s

    async def ask() -> int:
        answered = 0
        while time.perf_counter() < until_s:
            await client.info(PATH)
            answered += 1
        return answered

    return sum(await asyncio.gather(*(ask() for _ in range(in_flight))))


def _ask_synchronously(address: str, for_s: float) -> int:
    host, _, port = address.rpartition(":")
    filesystem = DolmenFileSystem(host=host, port=int(port), skip_instance_cache=True)
    asked, until_s = 0, time.perf_counter() + for_s
    while time.perf_counter() < until_s:
        filesystem.info(PATH)
        asked += 1
    return asked


async def _lengths(client: Client) -> echo.Lengths:
    """Return how long the frames of a call and of its reply are."""
    call = ClientCall(bytes(CLIENT_ID_BYTES), 0, client.user, GetInfo(PATH))
    reply = await client.info(PATH)
    return echo.Lengths(HEAD_BYTES + len(encode_call(call)), HEAD_BYTES + len(encode_reply(reply)))


def _room(_: Sizes) -> Room:
    return Room(GIB, 512 * MIB)


BENCHMARK = Benchmark(
    "stat", "how many files a second can be asked about, one at a time and 64 at once", run, _room
)
