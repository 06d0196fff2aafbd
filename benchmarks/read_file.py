"""How fast is a large file read, from disks and from memory?

Client and replicas are on one host. Cold, the limit is reading the same bytes from a local file
that is not in the page cache. Warm, the client reads the replicas' own files, beside a local file,
and in another line it may not (`short_circuit` off): then the limit is a bare stream over a socket
between two Python processes, verified, which is the least that any server must do.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks import file_object
from benchmarks.cluster import BenchCluster
from benchmarks.figures import MIB_PER_S, Line, Reading, compare, cpu_notes
from benchmarks.harness import Benchmark, Workshop
from benchmarks.local_files import COPIES, read_files, write_blocks
from benchmarks.machine import Room, make_cold, make_warm
from benchmarks.peers import Peer, serving
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.socket_stream import receive, serve
from benchmarks.usage import Meter, own_meter
from benchmarks.write_file import write
from dolmen.client import Client

PATH = "/file"

BUFFER_BYTES = 64 * MIB
"""What the program reads at a time, into one buffer: some pieces for each of several streams."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    sizes = workshop.sizes
    folder = workshop.directory / "local"
    await asyncio.to_thread(write_blocks, folder, sizes)
    local_files = sorted(folder.iterdir())
    async with workshop.cluster() as cluster:
        await write(cluster.client, PATH, sizes.file_bytes)
        sides = _Sides(cluster, local_files, sizes)
        ours, bare = await workshop.interleave(sides.dolmen_cold, sides.local_cold)
        yield sides.line("cold", ours, ("a local file, cold", bare)).aiming_at(ratio=0.8)

        make_warm([*local_files, *cluster.replicas()])
        for line in await file_object.lines(workshop, cluster, PATH, local_files):
            yield line
        with serving(serve) as stream:
            sides.stream = stream
            ours, socket = await workshop.interleave(sides.over_the_socket, sides.socket)
        limit = ("a bare socket stream, and xxh3", socket)
        yield sides.line("warm, over the socket", ours, limit).aiming_at(ratio=0.7)


class _Sides:
    """The ways to read the same bytes."""

    def __init__(self, cluster: BenchCluster, local_files: list[Path], sizes: Sizes) -> None:
        self._cluster = cluster
        self._local_files = local_files
        self._length_bytes = sizes.file_bytes
        self._buffer = memoryview(bytearray(min(BUFFER_BYTES, sizes.file_bytes)))
        self.stream = Peer(0, 0)

    def line(self, name: str, ours: list[Reading], limit: tuple[str, list[Reading]]) -> Line:
        """Return a line of the table."""
        title = f"read {self._length_bytes / MIB:,.0f} MiB, {name}"
        notes = cpu_notes(ours, limit[1], "s/GiB")
        return compare(title, MIB_PER_S, ours, limit, notes)

    async def dolmen_cold(self) -> Reading:
        make_cold(self._cluster.replicas())
        return await self._read(self._cluster.client)

    async def over_the_socket(self) -> Reading:
        async with self._cluster.new_client(short_circuit=False) as client:
            await client.connect()
            return await self._read(client)

    async def _read(self, client: Client) -> Reading:
        meter = self._cluster.meter()
        async with await client.open_reader(PATH) as reader:
            for offset in range(0, reader.length_bytes, len(self._buffer)):
                await reader.read_into(offset, self._buffer)
        return self._reading(meter)

    async def local_cold(self) -> Reading:
        make_cold(self._local_files)
        meter = own_meter()
        read_files(self._local_files)
        return self._reading(meter)

    async def socket(self) -> Reading:
        meter = own_meter(self.stream.pid)
        receive(self.stream.port, self._length_bytes)
        return self._reading(meter)

    def _reading(self, meter: Meter) -> Reading:
        return Reading(
            self._length_bytes / MIB / meter.elapsed_s, meter.cpu_s_per(self._length_bytes / GIB)
        )


def _room(sizes: Sizes) -> Room:
    return Room((COPIES + 1) * sizes.file_bytes + GIB, (COPIES + 2) * sizes.file_bytes + GIB // 2)


BENCHMARK = Benchmark(
    "read", "how fast a large file is read, from disks and from memory", run, _room, True
)
