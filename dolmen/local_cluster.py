"""A whole cluster in this process, for tests and notebooks: one namenode and some datanodes.

    with LocalCluster(datanodes=3, block_size="4MiB") as cluster:
        frame.to_parquet(f"{cluster.url}/flights.parquet")
        cluster.kill_datanode(0)

They are the real servers on real sockets and disks, on an event loop in a thread of their own, so
that synchronous code, and a notebook whose own loop is running, can use them. Each datanode has its
own host label: they behave as separate machines. Ports stay the same over restarts.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from datanode.node import Datanode
from datanode.options import DatanodeOptions
from dolmen.cli.free_ports import free_ports
from dolmen.client import Client, ClientOptions
from dolmen.protocol.errors import TryAgain, Unreachable
from dolmen.protocol.operator_messages import ClusterReport
from dolmen.runtime.real_machine import real_machine
from dolmen.runtime.setting import SettingsError
from dolmen.runtime.settings import BY_NAME, Settings
from namenode.node import Namenode, NamenodeOptions

if TYPE_CHECKING:
    from fsspec_plugin import DolmenFileSystem

Result = TypeVar("Result")

HOST = "127.0.0.1"

#: Datanodes in one process share its one event loop: more of them only wait for each other.
DATANODES_MAX = 100

#: All in one process on an idle machine is ready in a fraction of a second; a loaded one gets this.
READY_WITHIN_S = 30.0

#: Longer than a clean stop takes on a slow disk.
STEP_WITHIN_S = 60.0

POLL_S = 0.005


class LocalCluster:
    """Use it as a context manager. `root` keeps the data; without it, it goes at the end. The
    datanodes are in `racks` in turn: `/rack-0`, `/rack-1`, …

    Settings are given by name, as text or as a number in milliseconds or bytes: `dead_after="3s"`.
    """

    def __init__(
        self,
        datanodes: int = 3,
        *,
        block_size: str | int | None = None,
        root: str | Path | None = None,
        racks: int = 1,
        **settings: str | float | None,
    ) -> None:
        if not 1 <= datanodes <= DATANODES_MAX:
            raise ValueError(f"a local cluster has 1 to {DATANODES_MAX} datanodes, not {datanodes}")
        if not 1 <= racks <= datanodes:
            raise ValueError(f"{datanodes} datanodes are in 1 to {datanodes} racks, not in {racks}")
        named = {"block_size": block_size, **settings}
        self._settings = _settings(
            {name: value for name, value in named.items() if value is not None}
        )
        self._count = datanodes
        self._racks = racks
        self._root = None if root is None else Path(root).absolute()
        self._temporary: TemporaryDirectory[str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._namenode: Namenode | None = None
        self._datanodes: list[Datanode | None] = [None] * datanodes
        self._client: Client | None = None
        self._ports: list[int] = []  #: the namenode's, then the datanodes'

    def __enter__(self) -> "LocalCluster":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it is ready. Whatever fails leaves nothing behind."""
        if self._thread is not None:
            raise RuntimeError("this cluster runs already")
        if self._root is None:
            self._temporary = TemporaryDirectory(prefix="dolmen-")
            self._root = Path(self._temporary.name)
        self._ports = self._ports or _take_ports(1 + self._count)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="dolmen-local-cluster", daemon=True
        )
        self._thread.start()
        try:
            self._do(self._start_all())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything cleanly, and remove the data unless `root` was given. Idempotent."""
        if self._thread is None or self._loop is None:
            return
        try:
            self._do(self._stop_all())
        finally:
            self._end_thread(self._loop, self._thread)
            self._thread = self._loop = None
            if self._temporary is not None:
                self._temporary.cleanup()
                self._temporary = self._root = None

    @property
    def url(self) -> str:
        """`dolmen://127.0.0.1:port`, the same over restarts of the namenode."""
        return f"dolmen://{self._address}"

    @property
    def root(self) -> Path:
        """Where everything is kept, laid out as `dolmen up` does."""
        if self._root is None:
            raise RuntimeError("the cluster does not run: use it as a context manager")
        return self._root

    def filesystem(self) -> "DolmenFileSystem":
        """The cluster as an fsspec filesystem."""
        from fsspec_plugin import DolmenFileSystem

        return DolmenFileSystem(host=HOST, port=self._port)

    def report(self) -> ClusterReport:
        """The cluster as `dolmen report` shows it."""
        return self._do(self._require_client().report())

    def kill_datanode(self, index: int) -> None:
        """End a datanode as `kill -9` does: its connections are reset and nothing is flushed."""
        self._call(self._kill_datanode, self._check(index))

    def restart_datanode(self, index: int) -> None:
        """Start a datanode again, with its data and its port; one that runs is stopped first."""
        self._do(self._restart_datanode(self._check(index)))

    def kill_namenode(self) -> None:
        """End the namenode as `kill -9` does."""
        self._call(self._kill_namenode)

    def restart_namenode(self) -> None:
        """Start the namenode again, with its data and its port; one that runs is stopped first."""
        self._do(self._restart_namenode())

    # ------------------------------------------------------------ on the cluster's own loop

    async def _start_all(self) -> None:
        await self._start_namenode()
        async with asyncio.TaskGroup() as group:
            for index in range(self._count):
                group.create_task(self._start_datanode(index))
        options = ClientOptions.of(self._settings, self._address)
        self._client = Client(real_machine(), options)
        await self._await_ready(self._client)

    async def _await_ready(self, client: Client) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                report = await client.report()
            except (Unreachable, TryAgain):
                report = None
            if report and report.live_datanodes >= self._count and not report.safe_mode:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster was not ready within {READY_WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)

    async def _stop_all(self) -> None:
        """Clients first, then those who write, then the one who must know of it."""
        stopping: list[Callable[[], Coroutine[Any, Any, None]]] = []
        if self._client is not None:
            await self._client.close()
            self._client = None
        stopping = [node.stop for node in self._datanodes if node is not None]
        self._datanodes = [None] * self._count
        namenode, self._namenode = self._namenode, None
        results = await asyncio.gather(*(stop() for stop in stopping), return_exceptions=True)
        if namenode is not None:
            await namenode.stop()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _start_namenode(self) -> None:
        options = NamenodeOptions(
            directory=str(self.root / "namenode"),
            host=HOST,
            port=self._port,
            settings=self._settings,
        )
        self._namenode = Namenode(real_machine(), options)
        await self._namenode.start()

    async def _start_datanode(self, index: int) -> None:
        name = f"datanode-{index}"
        options = DatanodeOptions(
            directories=(str(self.root / name),),
            namenode=self._address,
            host=HOST,
            port=self._ports[1 + index],
            host_label=name,
            rack=f"/rack-{index % self._racks}",
            secret_file=str(self.root / "namenode" / "cluster.secret"),
            settings=self._settings,
        )
        node = self._datanodes[index] = Datanode(real_machine(), options)
        await node.start()

    def _kill_datanode(self, index: int) -> None:
        node, self._datanodes[index] = self._datanodes[index], None
        if node is not None:
            node.kill()

    def _kill_namenode(self) -> None:
        node, self._namenode = self._namenode, None
        if node is not None:
            node.kill()

    async def _restart_datanode(self, index: int) -> None:
        node, self._datanodes[index] = self._datanodes[index], None
        if node is not None:
            await node.stop()
        await self._start_datanode(index)

    async def _restart_namenode(self) -> None:
        node, self._namenode = self._namenode, None
        if node is not None:
            await node.stop()
        await self._start_namenode()

    # ------------------------------------------------------------ between the threads

    @property
    def _port(self) -> int:
        if not self._ports:
            raise RuntimeError("the cluster does not run: use it as a context manager")
        return self._ports[0]

    @property
    def _address(self) -> str:
        return f"{HOST}:{self._port}"

    def _check(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(f"there is no datanode {index}: they are 0 to {self._count - 1}")
        return index

    def _require_client(self) -> Client:
        if self._client is None:
            raise RuntimeError("the cluster does not run: use it as a context manager")
        return self._client

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        if self._loop is None:
            work.close()
            raise RuntimeError("the cluster does not run: use it as a context manager")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(STEP_WITHIN_S)
        except BaseException:
            future.cancel()
            raise

    def _call(self, step: Callable[..., None], *arguments: object) -> None:
        async def take_step() -> None:
            step(*arguments)

        self._do(take_step())

    @staticmethod
    def _end_thread(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        """End what is left on the loop, as `asyncio.run` does, then the loop and its thread."""

        async def end_tasks() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await loop.shutdown_asyncgens()
            await loop.shutdown_default_executor()

        try:
            asyncio.run_coroutine_threadsafe(end_tasks(), loop).result(STEP_WITHIN_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def _settings(named: dict[str, str | float]) -> Settings:
    values: dict[str, Any] = {}
    for name, value in named.items():
        if name not in BY_NAME:
            raise SettingsError(f"unknown setting {name!r}; there are: {', '.join(BY_NAME)}")
        setting = BY_NAME[name]
        if isinstance(value, str):
            value = setting.parse(value, f"{name}=")
        values[setting.attribute] = value
    return Settings(**values)


def _take_ports(count: int) -> list[int]:
    ports: Iterator[int] = free_ports(HOST, Random())
    return [next(ports) for _ in range(count)]
