"""How many files a second are created, listed and deleted?

Empty files, each durable when its call returns: made by one asynchronous client that keeps many
calls in flight, listed whole, deleted by it and by a program that uses the synchronous filesystem.
The limit is the local file system doing the same one by one, and without waiting for its disk. In
each round files are made, listed and deleted, in this order.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from benchmarks.cluster import BenchCluster
from benchmarks.figures import PER_S, Line, Reading, compare, cpu_notes
from benchmarks.harness import Benchmark, Workshop
from benchmarks.machine import Room
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import own_meter
from fsspec_plugin.filesystem import DolmenFileSystem

SYNCHRONOUS_SHARE = 10
"""Of so many files one is deleted by the synchronous filesystem: one at a time takes longer."""

STEPS = (
    ("create empty files, 64 in flight", 25_000),
    ("create empty files, 512 in flight", 45_000),
    ("list a directory", 300_000),
    ("delete, 1 at a time, synchronous", 2_000),
    ("delete, 64 in flight", 20_000),
)
"""What a round does, in this order, and what we want of it."""

Steps = list[Reading]


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    count = workshop.sizes.listed_files
    ours: list[Steps] = []
    local: list[Steps] = []
    async with workshop.cluster() as cluster:
        for number in range(workshop.sizes.rounds):
            ours.append(await _Dolmen(cluster, f"/round-{number}", count).steps())
            folder = workshop.folder(f"round-{number}")
            local.append(await asyncio.to_thread(_local_steps, folder, count))
    for place, (name, aim) in enumerate(STEPS):
        rounds = [steps[place] for steps in ours]
        limit = [steps[place] for steps in local]
        notes = cpu_notes(rounds, limit, "s/1000")
        yield compare(
            name, PER_S, rounds, ("the local file system, not synced", limit), notes
        ).aiming_at(figure=aim)


class _Dolmen:
    """One round in a directory of its own."""

    def __init__(self, cluster: BenchCluster, path: str, count: int) -> None:
        self._cluster = cluster
        self._path = path
        self._count = count

    async def steps(self) -> Steps:
        client = self._cluster.client
        few, many = f"{self._path}/64", f"{self._path}/512"
        one_by_one = self._count // SYNCHRONOUS_SHARE
        return [
            await self._take(few, 64, lambda path: client.write_file(path, b"")),
            await self._take(many, 512, lambda path: client.write_file(path, b"")),
            await self._measure(self._count, lambda: client.list_directory(many)),
            await self._measure(
                one_by_one,
                lambda: asyncio.to_thread(self._delete_one_by_one, self._paths(few)[:one_by_one]),
            ),
            await self._take(many, 64, client.delete),
        ]

    def _paths(self, folder: str) -> list[str]:
        return [f"{folder}/part-{number:08d}.parquet" for number in range(self._count)]

    async def _take(
        self, folder: str, in_flight: int, call: Callable[[str], Awaitable[object]]
    ) -> Reading:
        paths = iter(self._paths(folder))

        async def take() -> None:
            for path in paths:
                await call(path)

        async def all_of_them() -> None:
            await asyncio.gather(*(take() for _ in range(in_flight)))

        return await self._measure(self._count, all_of_them)

    async def _measure(self, count: int, work: Callable[[], Awaitable[object]]) -> Reading:
        meter = self._cluster.meter()
        await work()
        return Reading(count / meter.elapsed_s, meter.cpu_s_per(count / 1000))

    def _delete_one_by_one(self, paths: Iterable[str]) -> None:
        host, _, port = self._cluster.address.rpartition(":")
        filesystem = DolmenFileSystem(host=host, port=int(port), skip_instance_cache=True)
        for path in paths:
            filesystem.rm_file(path)


def _local_steps(folder: Path, count: int) -> Steps:
    names = [f"part-{number:08d}.parquet" for number in range(count)]
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made = _timed(count, lambda: _make(descriptor, names))
        listed = _timed(count, lambda: _list(descriptor))
        deleted = _timed(count, lambda: _delete(descriptor, names))
    finally:
        os.close(descriptor)
    return [made, made, listed, deleted, deleted]


def _timed(count: int, work: Callable[[], None]) -> Reading:
    meter = own_meter()
    work()
    return Reading(count / meter.elapsed_s, meter.cpu_s_per(count / 1000))


def _make(descriptor: int, names: Iterable[str]) -> None:
    for name in names:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=descriptor))


def _list(descriptor: int) -> None:
    with os.scandir(descriptor) as entries:
        for entry in entries:
            entry.stat()


def _delete(descriptor: int, names: Iterable[str]) -> None:
    for name in names:
        os.unlink(name, dir_fd=descriptor)


def _room(_: Sizes) -> Room:
    return Room(GIB, 512 * MIB)


BENCHMARK = Benchmark(
    "namespace", "how many files a second are created, listed and deleted", run, _room
)
