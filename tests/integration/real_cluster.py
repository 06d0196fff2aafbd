"""A cluster of real processes, each of which can be killed, stopped and started on its own.

They are started as an operator starts them, in the foreground of their own processes, with what
they say in files; times are short, so that a death is noticed and repaired within seconds.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import TracebackType

from dolmen.cli.free_ports import free_ports
from dolmen.client import Client, ClientOptions
from dolmen.protocol.errors import NamenodeUnreachable
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.real_machine import real_machine
from tests.integration.command_line import Shell

#: Times such that a death is noticed and repaired within seconds on a busy machine.
SETTINGS: Mapping[str, str] = {
    "inline-limit": "0B",  # the tests look for the replicas of short files
    "block-size": "1MiB",
    "segment-size": "256KiB",
    "reserved-space": "0B",
    "heartbeat-interval": "100ms",
    "stale-after": "600ms",
    "dead-after": "1s",
    "delete-after": "200ms",
    "block-token-life": "2s",
    "safe-mode-quiet": "1s",
    "retry-for": "60s",
}

#: Longer than anything here takes on a busy machine; it ends what hangs.
WITHIN_S = 60.0
POLL_S = 0.05

#: What a client bears that is to hear of a refusal: longer than a busy namenode needs to answer.
IMPATIENT_S = 3.0

#: Of each log, in the message of a failure.
LINES_TOLD = 40


class Server:
    """One namenode or datanode: what it is started with, and its process while it runs."""

    def __init__(self, name: str, address: str, words: tuple[object, ...], log: Path) -> None:
        self.name = name
        self.address = address
        self.words = words
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._end = "it was not started"

    def start(self, *more: object) -> None:
        """Start it, with further options. It is not ready when this returns."""
        assert self._process is None, f"{self.name} runs"
        shell = Shell()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                shell.words(*self.words, *more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=shell.environment,
            )

    def kill(self) -> None:
        """End it as a crash does; it is gone when this returns. Nothing if it does not run."""
        if self._process is not None:
            self._end = self.state
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Ask it to end, cleanly, and wait until it has."""
        assert self._process is not None, f"{self.name} does not run"
        self._process.terminate()
        assert self._process.wait(WITHIN_S) == 0, self.story()
        self._end = "it was stopped"
        self._process = None

    def pause(self) -> None:
        """Let it fall silent, with its sockets open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def process_id(self) -> int:
        """Of the process while it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started, and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def state(self) -> str:
        """Whether it runs, or ran when the test killed it, or how it ended by itself."""
        if self._process is None:
            return self._end
        code = self._process.poll()
        return "it ran to the end" if code is None else f"IT ENDED BY ITSELF with {code}"

    def story(self) -> str:
        """How it is and what it said last, for the message of a test that fails."""
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join((f"--- {self.name}: {self.state}", *said[-LINES_TOLD:]))

    def refusal(self) -> str:
        """The one line with which it, started already, refuses to run."""
        assert self._process is not None
        assert self._process.wait(WITHIN_S) == 4, self.story()
        self._end = "it refused to run"
        self._process = None
        last = self.log.read_text().splitlines()[-1]
        assert last.startswith("dolmen: "), self.story()
        assert "Traceback" not in self.log.read_text(), self.story()
        return last


class RealCluster:
    """A namenode and datanodes in a directory. Use it as a context manager: it ends all."""

    def __init__(self, root: Path, datanodes: int = 3, **settings: str) -> None:
        named = {**SETTINGS, **{name.replace("_", "-"): text for name, text in settings.items()}}
        self.settings = tuple(word for name in named for word in (f"--{name}", named[name]))
        self.root = root
        self.ended = False
        root.mkdir(exist_ok=True)
        self._ports = free_ports("127.0.0.1", Random())
        port = next(self._ports)
        self.address = f"127.0.0.1:{port}"
        words = ("namenode", "--dir", root / "namenode", "--port", port, *self.settings)
        self.namenode = Server("namenode", self.address, words, root / "namenode.log")
        self.datanodes = [self.make_datanode(index) for index in range(datanodes)]
        self.shell = Shell({"DOLMEN_URL": f"dolmen://{self.address}", "DOLMEN_RETRY_FOR": "60s"})

    def make_datanode(self, index: int, *words: object) -> Server:
        """Return a datanode that is not started, and not one of `datanodes` yet."""
        port = next(self._ports)
        name = f"datanode-{index}"
        named = (
            *("datanode", "--namenode", self.address, "--dir", self.root / name, "--port", port),
            *("--host-label", name, "--secret-file", self.secret, *self.settings, *words),
        )
        return Server(name, f"127.0.0.1:{port}", named, self.root / f"{name}.log")

    @property
    def secret(self) -> Path:
        return self.root / "namenode" / "cluster.secret"

    @property
    def servers(self) -> list[Server]:
        return [self.namenode, *self.datanodes]

    def start(self) -> None:
        """Start what does not run. It is not ready when this returns."""
        if not self.namenode.runs:
            self.namenode.start()
        deadline = time.monotonic() + WITHIN_S
        while not self.secret.exists():
            assert self.namenode.runs, self.story()
            assert time.monotonic() < deadline, self.story()
            time.sleep(POLL_S)
        for datanode in self.datanodes:
            if not datanode.runs:
                datanode.start()

    def story(self) -> str:
        return "\n".join(server.story() for server in self.servers)

    def __enter__(self) -> "RealCluster":
        used.append(self)
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self.servers:
            server.kill()
        self.ended = True

    # ------------------------------------------------------------ clients

    @asynccontextmanager
    async def client(self, retry_for_s: float = WITHIN_S) -> AsyncIterator[Client]:
        options = ClientOptions(
            namenode=self.address, retry_for_ms=int(retry_for_s * 1000), segment_bytes=256 << 10
        )
        async with Client(real_machine(), options) as client:
            yield client

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[Client]:
        """A client of the cluster, when it is complete and out of safe mode."""
        async with self.client() as client:
            await self.until(client, lambda now: self.is_complete(now) and not now.safe_mode)
            yield client

    def is_complete(self, report: ClusterReport) -> bool:
        return report.live_datanodes == len(self.datanodes)

    async def until(
        self, client: Client, holds: Callable[[ClusterReport], bool], within_s: float = WITHIN_S
    ) -> ClusterReport:
        """Wait until the report says so, and return it."""
        last: list[ClusterReport] = []

        async def look() -> bool:
            try:
                last[:] = [await client.report()]
            except NamenodeUnreachable:  # on a busy machine it needs a while to load
                assert self.namenode.runs, self.namenode.story()
                return False
            return holds(last[0])

        await eventually(look, lambda: f"the last report is {last}", within_s)
        return last[0]

    async def until_healed(self, client: Client) -> ClusterReport:
        """Wait until every block has what it wants, no less and no more."""
        return await self.until(client, lambda now: self.is_complete(now) and is_whole(now))

    # ------------------------------------------------------------ disks

    def files_on_disk(self, index: int, place: str = "finalized") -> list[Path]:
        """The data files of the blocks in one of a datanode's trees."""
        tree = self.root / f"datanode-{index}" / "volumes" / "0" / place
        return sorted(tree.rglob("*.block"))

    def all_files_on_disk(self) -> list[Path]:
        """The data files of all datanodes, wherever they stand."""
        return [
            path
            for index in range(len(self.datanodes))
            for place in ("finalized", "being_written", "quarantine")
            for path in self.files_on_disk(index, place)
        ]

    async def until_disks_hold(self, replicas: int) -> None:
        """Wait until there are as many data files as replicas wanted, and no other."""
        await eventually(
            lambda: _at_once(len(self.all_files_on_disk()) == replicas),
            lambda: f"{replicas} files wanted, there are {self.all_files_on_disk()}",
        )


#: Those of the test that runs, also when they have ended; of whole modules until those end.
used: list[RealCluster] = []


def is_whole(report: ClusterReport) -> bool:
    """Whether every block has as many replicas as it wants, well spread."""
    return not (
        report.safe_mode
        or report.under_replicated_blocks
        or report.over_replicated_blocks
        or report.missing_blocks
        or report.pending_transfers
    )


async def eventually(
    holds: Callable[[], Awaitable[bool]],
    story: Callable[[], str] = lambda: "it did not come true",
    within_s: float = WITHIN_S,
) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {story()}"
        await asyncio.sleep(POLL_S)


async def _at_once(value: bool) -> bool:
    return value


def content(seed: int, length_bytes: int) -> bytes:
    """Bytes that are others for each seed."""
    return Random(seed).randbytes(length_bytes)


def pieces(data: bytes, length_bytes: int = 100_000) -> Iterator[bytes]:
    """Return `data` in pieces that fit nothing."""
    for at in range(0, len(data), length_bytes):
        yield data[at : at + length_bytes]
