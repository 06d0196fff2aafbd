"""Reading by the synchronous file object, on the host of its replicas, and the least that it costs.

The limits do by plain system calls what must be done: the bytes come out of the page cache, and the
checksum of each chunk that is touched is computed. A program that reads 4 KiB makes Dolmen verify
the 64 KiB around them, and so does the limit.
"""

import asyncio
import functools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import xxhash

from benchmarks.cluster import BenchCluster
from benchmarks.figures import MIB_PER_S, PER_S, Line, Reading, compare, cpu_notes
from benchmarks.harness import Workshop
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import Meter, own_meter
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.identifiers import parse_address
from fsspec_plugin import DolmenFileSystem

READ_BYTES = MIB
RANDOM_BYTES = 4 * 1024
CLOCK_EVERY = 100
"""Reads between two looks at the clock."""


async def lines(
    workshop: Workshop, cluster: BenchCluster, path: str, local_files: list[Path]
) -> list[Line]:
    """Return what the file object reaches with a warm file: from end to end, and at random."""
    sides = _Sides(cluster, path, local_files, workshop.sizes)
    title = f"read {workshop.sizes.file_bytes / MIB:,.0f} MiB, warm, local"
    ours, bare = await workshop.interleave(sides.dolmen, sides.local)
    limit = ("readinto of a local file, and xxh3", bare)
    whole = compare(title, MIB_PER_S, ours, limit, cpu_notes(ours, bare, "s/GiB"))
    ours, bare = await workshop.interleave(sides.dolmen_at_random, sides.local_at_random)
    limit = ("pread of the chunk in a local file, and xxh3", bare)
    at_random = compare(
        "read 4 KiB at random, local", PER_S, ours, limit, cpu_notes(ours, bare, "s/1000")
    )
    return [whole.aiming_at(ratio=0.5), at_random.aiming_at(figure=20_000)]


class _Sides:
    """The ways to read, each in a thread of its own, as programs do."""

    def __init__(
        self, cluster: BenchCluster, path: str, local_files: list[Path], sizes: Sizes
    ) -> None:
        self._cluster = cluster
        host, port = parse_address(cluster.address)
        self._fs = DolmenFileSystem(host=host, port=port)
        self._path = path
        self._local_files = local_files
        self._sizes = sizes
        self._random = random.Random(1)

    async def dolmen(self) -> Reading:
        return await self._whole(self._read_whole, self._cluster.meter())

    async def local(self) -> Reading:
        return await self._whole(lambda: _read_verified(self._local_files), own_meter())

    async def dolmen_at_random(self) -> Reading:
        with await asyncio.to_thread(self._fs.open, self._path, "rb") as file:
            await asyncio.to_thread(self._touch_blocks, file)
            work = functools.partial(self._read_at_random, file)
            return await self._at_random(work, self._cluster.meter())

    async def local_at_random(self) -> Reading:
        return await self._at_random(self._read_chunks_at_random, own_meter())

    async def _whole(self, work: Callable[[], None], meter: Meter) -> Reading:
        await asyncio.to_thread(work)
        length_bytes = self._sizes.file_bytes
        return Reading(length_bytes / MIB / meter.elapsed_s, meter.cpu_s_per(length_bytes / GIB))

    async def _at_random(self, work: Callable[[], int], meter: Meter) -> Reading:
        done = await asyncio.to_thread(work)
        return Reading(done / meter.elapsed_s, meter.cpu_s_per(done / 1000))

    def _read_whole(self) -> None:
        buffer = bytearray(READ_BYTES)
        with self._fs.open(self._path, "rb") as file:
            while file.readinto(buffer):
                pass

    def _touch_blocks(self, file: BinaryIO) -> None:
        """Have all blocks open: that is done once for each, and not what is measured."""
        for start in range(0, self._sizes.file_bytes, self._sizes.block_bytes):
            file.seek(start)
            file.read(RANDOM_BYTES)

    def _read_at_random(self, file: BinaryIO) -> int:
        def read(offset: int) -> None:
            file.seek(offset)
            file.read(RANDOM_BYTES)

        return self._for_a_while(read, self._sizes.file_bytes)

    def _read_chunks_at_random(self) -> int:
        buffer = memoryview(bytearray(CHUNK_BYTES))
        descriptor = os.open(self._local_files[0], os.O_RDONLY)
        try:

            def read(offset: int) -> None:
                os.preadv(descriptor, [buffer], offset // CHUNK_BYTES * CHUNK_BYTES)
                xxhash.xxh3_64_digest(buffer)

            return self._for_a_while(read, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)

    def _for_a_while(self, read: Callable[[int], None], length_bytes: int) -> int:
        """Read at random offsets, and return how often."""
        done, until_s = 0, time.perf_counter() + self._sizes.rate_s
        while time.perf_counter() < until_s:
            for _ in range(CLOCK_EVERY):
                read(self._random.randrange(length_bytes - RANDOM_BYTES))
            done += CLOCK_EVERY
        return done


def _read_verified(files: list[Path]) -> None:
    """Read files from beginning to end, and compute what each chunk would be compared with."""
    buffer = memoryview(bytearray(READ_BYTES))
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                for start in range(0, count, CHUNK_BYTES):
                    xxhash.xxh3_64_digest(buffer[start : start + CHUNK_BYTES])
