"""A namenode process under measurement, on a directory that may have been filled before.

Whatever datanodes it gets are the benchmark's own.
"""

import asyncio
import socket
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random

from benchmarks.cluster import Daemon, NotInTime
from dolmen.cli.free_ports import free_ports
from dolmen.client import Client, ClientOptions
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.real_machine import real_machine

POLL_S = 0.25
"""Asking for the report and for metrics is itself work for the namenode."""

START_POLL_S = 0.002

START_S = 600.0
"""After a kill the tables may have to be read, or made anew from checkpoint and log."""

WORK_S = 3600.0
"""Longer than the namenode takes for anything waited for here; it ends what hangs."""


class LoneNamenode:
    """The process, and how to reach it."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        port = next(free_ports("127.0.0.1", Random()))
        self._place = ("127.0.0.1", port)
        self.address = f"127.0.0.1:{port}"
        self.directory = directory
        flags = [word for name, value in settings.items() for word in (f"--{name}", value)]
        words = ("namenode", "--dir", directory, "--port", port, *flags)
        self._daemon = Daemon("namenode", words, directory.with_suffix(".log"))

    @property
    def is_made(self) -> bool:
        """Whether it has ever been started."""
        return self.directory.exists()

    @property
    def pid(self) -> int:
        return self._daemon.pid

    @property
    def secret(self) -> bytes:
        """Its cluster's secret, once it has started."""
        return (self.directory / "cluster.secret").read_bytes().strip()

    def client(self) -> Client:
        """Return a client, which its user closes."""
        return Client(real_machine(), ClientOptions(namenode=self.address))

    async def start(self, path: str) -> float:
        """Start it, and return how many seconds it took until it told of `path`."""
        begun_s = time.perf_counter()
        self._daemon.start()
        while not self._listens():
            if time.perf_counter() - begun_s > START_S or not self._daemon.runs:
                raise NotInTime(f"the namenode did not start: {self._daemon.log.read_text()}")
            await asyncio.sleep(START_POLL_S)
        async with self.client() as client:
            await client.info(path)
        return time.perf_counter() - begun_s

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self._place) == 0

    async def stop(self) -> None:
        """Have it end cleanly."""
        await asyncio.to_thread(self._daemon.stop)

    def kill(self) -> None:
        """End it as a crash does."""
        self._daemon.kill()

    async def until_report(self, client: Client, holds: Callable[[ClusterReport], bool]) -> None:
        """Return when the report says so."""

        async def look() -> bool:
            return holds(await client.report())

        await self._until(look)

    async def until_metric(self, name: str, value: float) -> None:
        """Return when a figure of its status page is this one."""

        async def look() -> bool:
            return await asyncio.to_thread(self._metric, name) == value

        await self._until(look)

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        deadline_s = time.monotonic() + WORK_S
        while not await holds():
            if time.monotonic() > deadline_s or not self._daemon.runs:
                raise NotInTime(f"the namenode did not do it: {self._daemon.log.read_text()}")
            await asyncio.sleep(POLL_S)

    def _metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.address}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise NotInTime(f"the namenode has no figure {name}")
