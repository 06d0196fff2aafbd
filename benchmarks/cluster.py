"""A cluster under measurement: a namenode and datanodes, each a process started as by an operator.

All of them are ended and their files left when it is closed: whoever gave the directory removes it,
after the last figure.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from benchmarks.usage import Meter
from dolmen.cli.free_ports import free_ports
from dolmen.client import Client, ClientOptions
from dolmen.protocol.errors import NamenodeUnreachable
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.real_machine import real_machine

POLL_S = 0.02
WITHIN_S = 120.0
"""Longer than anything waited for here takes on a busy machine; it ends what hangs."""


class NotInTime(Exception):
    """What a benchmark waits for did not come; the message has what the processes logged."""


class Daemon:
    """One namenode or datanode, and its process while it runs."""

    def __init__(self, name: str, words: tuple[object, ...], log: Path) -> None:
        self.name = name
        self.log = log
        self._words = tuple(map(str, words))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. It is not ready when this returns."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("DOLMEN_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dolmen", *self._words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept,
            )

    def kill(self) -> None:
        """End it as a crash does. Nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it stand still: its connections stay, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def stop(self) -> None:
        """Have it end cleanly, and wait until it has."""
        assert self._process is not None, f"{self.name} does not run"
        self._process.terminate()
        self._process.wait(WITHIN_S)
        self._process = None


class BenchCluster:
    """Use it as `async with`: it is complete and out of safe mode then, and has a client."""

    def __init__(self, root: Path, datanodes: int, settings: Mapping[str, str]) -> None:
        self.root = root
        self._settings = tuple(word for name in settings for word in (f"--{name}", settings[name]))
        self._ports = free_ports("127.0.0.1", Random())
        port = next(self._ports)
        self.address = f"127.0.0.1:{port}"
        words = ("namenode", "--dir", root / "namenode", "--port", port, *self._settings)
        self.namenode = Daemon("namenode", words, root / "namenode.log")
        self.datanodes: list[Daemon] = []
        self._wanted = datanodes
        self._closing = AsyncExitStack()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client in this process."""
        assert self._client is not None, "the cluster is not started"
        return self._client

    def new_client(self, *, short_circuit: bool = True) -> Client:
        """Return one more client, which its user closes."""
        options = ClientOptions(namenode=self.address, short_circuit=short_circuit)
        return Client(real_machine(), options)

    async def __aenter__(self) -> "BenchCluster":
        self.root.mkdir()
        self._closing.callback(self._kill_all)
        try:
            self.namenode.start()
            secret = self.root / "namenode" / "cluster.secret"
            await self.until(lambda: _at_once(secret.exists()), "the namenode's secret")
            for _ in range(self._wanted):
                self.add_datanode()
            self._client = await self._closing.enter_async_context(self.new_client())
            await self.until_report(lambda now: not now.safe_mode, "the end of safe mode")
            await self.until_datanodes(self._wanted)
        except BaseException:
            await self._closing.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    def add_datanode(self) -> Daemon:
        """Start one more datanode, an empty one; it is not ready when this returns."""
        name = f"datanode-{len(self.datanodes)}"
        words = (
            *("datanode", "--namenode", self.address, "--dir", self.root / name),
            *("--port", next(self._ports), "--host-label", name),
            *("--secret-file", self.root / "namenode" / "cluster.secret", *self._settings),
        )
        datanode = Daemon(name, words, self.root / f"{name}.log")
        datanode.start()
        self.datanodes.append(datanode)
        return datanode

    def meter(self, clients: Sequence[int] = ()) -> Meter:
        """Measure from now on; the client is this process, or those that are named."""
        running = [datanode.pid for datanode in self.datanodes if datanode.runs]
        return Meter(
            {
                "client": clients or [os.getpid()],
                "namenode": [self.namenode.pid],
                "datanodes": running,
            }
        )

    def replicas(self) -> list[Path]:
        """Return the data files of all blocks, on all datanodes."""
        return sorted(self.root.glob("datanode-*/volumes/*/finalized/**/*.block"))

    async def until_datanodes(self, count: int) -> None:
        """Return when so many datanodes live."""
        await self.until_report(lambda now: now.live_datanodes >= count, f"{count} datanodes")

    async def until_report(
        self, holds: Callable[[ClusterReport], bool], awaited: str
    ) -> ClusterReport:
        """Ask for the report until `holds`, and return it."""
        last: list[ClusterReport] = []

        async def look() -> bool:
            try:
                last[:] = [await self.client.report()]
            except NamenodeUnreachable:  # it is still loading
                return False
            return holds(last[0])

        await self.until(look, awaited)
        return last[0]

    async def until(self, holds: Callable[[], Awaitable[bool]], awaited: str) -> None:
        """Return when `holds`; NotInTime if it does not come true or a daemon has ended."""
        deadline_s = time.monotonic() + WITHIN_S
        while not await holds():
            if time.monotonic() > deadline_s or not self.namenode.runs:
                raise NotInTime(f"{awaited} did not come: {self._story()}")
            await asyncio.sleep(POLL_S)

    def _story(self) -> str:
        daemons = [self.namenode, *self.datanodes]
        return "\n".join(f"--- {daemon.name}\n{daemon.log.read_text()}" for daemon in daemons)

    def _kill_all(self) -> None:
        for daemon in (self.namenode, *self.datanodes):
            daemon.kill()


async def _at_once(value: bool) -> bool:
    return value
