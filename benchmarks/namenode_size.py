"""What memory does a namenode take for its files, and how fast does it start with them?

It is started on a directory that was filled beforehand (`load_namespace`), after a clean end and
after `kill -9`, and started is when it has answered a call. The limit is a Python process that
imports the same modules and does nothing: what is above it are the files. Memory is what the kernel
calls resident. The pages of the tables that were touched are in it, though the kernel may take them
back at any time: so after a walk over all files the limit has the tables' size in it.
"""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from benchmarks.cluster import WITHIN_S, Daemon, NotInTime
from benchmarks.disk_bytes import tables_line
from benchmarks.figures import MIB as IN_MIB
from benchmarks.figures import SECONDS, Line, Reading, compare
from benchmarks.harness import Benchmark, Workshop
from benchmarks.load_namespace import file_path, load
from benchmarks.machine import Room
from benchmarks.peers import Worker
from benchmarks.sizes import GIB, MIB, Sizes
from benchmarks.usage import memory_bytes
from dolmen.cli.free_ports import free_ports
from dolmen.client import Client, ClientOptions
from dolmen.runtime.real_machine import real_machine

BARE = """
import dolmen.cli.daemons, dolmen.runtime.real_machine, namenode.node
print(flush=True)
input()
"""
BARE_NAME = "Python with the same imports"

POLL_S = 0.002

START_S = 1.0
MEMORY_MIB = 190.0
"""Our aims, with a million files: 200 MB are 190 MiB."""

BYTES_PER_FILE = 3000
"""Above what tables, log, and three checkpoints of them take while one is being written."""


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""
    directory, loaded = workshop.directory / "namenode", 0
    for files in workshop.sizes.files:
        await asyncio.to_thread(_load, directory, range(loaded, files))
        loaded, name = files, f"namenode, {files:,} files"
        sides = _Sides(directory, files)
        stopped, killed, bare = await workshop.interleave(sides.stopped, sides.killed, sides.bare)
        yield compare(f"{name}: start", SECONDS, stopped, (BARE_NAME, bare)).aiming_at(
            figure=START_S
        )
        yield compare(f"{name}: after a kill", SECONDS, killed, (BARE_NAME, bare))
        bare_memory = sides.bare_memory[-len(bare) :]  # without the warm-up's
        yield compare(
            f"{name}: memory", IN_MIB, sides.memory[-len(bare) :], (BARE_NAME, bare_memory)
        ).aiming_at(figure=MEMORY_MIB)
        yield tables_line(name, directory, files)
        walked, tables_mib, notes = await sides.walked()
        least = Reading(bare_memory[-1].value + tables_mib)
        yield compare(
            f"{name}: all walked", IN_MIB, [walked], (f"{BARE_NAME}, and tables", [least]), notes
        )


def _load(directory: Path, files: range) -> None:
    with Worker(load, directory, files) as worker:
        while worker.answer() < files.stop:
            pass


class _Sides:
    """Starts of a namenode on a full directory, and of Python alone."""

    def __init__(self, directory: Path, files: int) -> None:
        self._directory = directory
        self._files = files
        port = next(free_ports("127.0.0.1", Random()))
        self._port = port
        words = ("namenode", "--dir", directory, "--port", port)
        self._namenode = Daemon("namenode", words, directory.with_suffix(".log"))
        self.memory: list[Reading] = []
        self.bare_memory: list[Reading] = []

    async def stopped(self) -> Reading:
        """Start after a clean end; and kill it."""
        reading = await self._start()
        self.memory.append(_memory(self._namenode.pid))
        self._namenode.kill()
        return reading

    async def killed(self) -> Reading:
        """Start after `kill -9`; and end it cleanly."""
        reading = await self._start()
        await asyncio.to_thread(self._namenode.stop)
        return reading

    async def bare(self) -> Reading:
        """Start Python alone, and import what a namenode imports."""
        started_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BARE), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        reading = Reading(time.perf_counter() - started_s)
        self.bare_memory.append(_memory(process.pid))
        process.kill()
        await process.wait()
        return reading

    async def walked(self) -> tuple[Reading, float, str]:
        """Walk over all files; return the memory then, the tables' MiB, and what is in both."""
        await self._start()
        started_s = time.perf_counter()
        async with self._client() as client:
            found = [1 async for _ in client.walk_tree("/")]
        assert len(found) >= self._files, f"{len(found)} of {self._files} files were loaded"
        notes = f"{len(found) / (time.perf_counter() - started_s):,.0f} entries walked per s"
        pid = self._namenode.pid
        own_mib = memory_bytes(pid, "RssAnon") / MIB
        tables_mib = sum(file.stat().st_blocks * 512 for file in self._tables()) / MIB
        reading = _memory(pid)
        await asyncio.to_thread(self._namenode.stop)
        notes += f", tables {tables_mib:,.0f} MiB, anonymous {own_mib:,.0f} MiB"
        return reading, tables_mib, notes

    async def _start(self) -> Reading:
        """Start it and return how long it took until it answered a call."""
        started_s = time.perf_counter()
        self._namenode.start()
        while not _listens(self._port):
            if not self._namenode.runs or time.perf_counter() - started_s > WITHIN_S:
                raise NotInTime(f"the namenode did not start: {self._namenode.log.read_text()}")
            await asyncio.sleep(POLL_S)
        async with self._client() as client:
            await client.info(file_path(self._files - 1))
        return Reading(time.perf_counter() - started_s)

    def _client(self) -> Client:
        return Client(real_machine(), ClientOptions(namenode=f"127.0.0.1:{self._port}"))

    def _tables(self) -> list[Path]:
        return [path for path in (self._directory / "namespace").rglob("*") if path.is_file()]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _memory(pid: int) -> Reading:
    return Reading(memory_bytes(pid) / MIB)


def _room(sizes: Sizes) -> Room:
    return Room(sizes.files[-1] * BYTES_PER_FILE + GIB, sizes.files[-1] * 1000 + GIB)


BENCHMARK = Benchmark(
    "namenode", "what memory a namenode takes for its files, and how fast it starts", run, _room
)
