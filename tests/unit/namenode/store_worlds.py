"""Machines to keep a store on, and what tests of it do again and again."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar, cast

from dolmen.protocol.client_messages import EntryKind, FileInfo
from dolmen.protocol.control_messages import Reply
from dolmen.protocol.errors import PathExists
from dolmen.protocol.identifiers import ROOT_INODE_ID
from dolmen.runtime.lmdb_key_value import LmdbStore
from dolmen.runtime.machine import Machine
from dolmen.runtime.thread_disk import ThreadDisk
from dolmen.runtime.transport import Transport
from dolmen.simulation.sim_disk import SimDisk
from dolmen.simulation.sim_key_value import SimKeyValueStore
from dolmen.simulation.sim_storage import SimStorage
from dolmen.simulation.virtual_time import run
from namenode.core.apply import apply_group
from namenode.core.edits import DirectoryMade
from namenode.core.lookup import load_meta
from namenode.core.outcome import Effect, Outcome
from namenode.core.tables import ENTRIES, View, split_entry_key
from namenode.journal import Journal
from namenode.store import Store, StoreOptions, open_store

T = TypeVar("T")
NO_TRANSPORT = cast(Transport, None)


class SimHost:
    """A simulated machine that loses processes and power."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.storage = SimStorage()
        self.storage.make_directory("/data")
        self.storage.sync_directory("/")
        self.tables = SimKeyValueStore()
        self.directory = "/data/namenode"
        self._boots = 0
        self._disks: list[SimDisk] = []

    def machine(self) -> Machine:
        return Machine(
            transport=NO_TRANSPORT,
            open_disk=self._open_disk,
            tables=self.tables,
            wall_clock_ms=lambda: int(asyncio.get_running_loop().time() * 1000) + 1,
            random=self.random,
            background=_at_once,
            boot_id=f"boot {self._boots}",
            host_name="simulated",
        )

    def kill(self) -> None:
        """The process dies: what runs on its disks stops."""
        for disk in self._disks:
            disk.kill()
        self.storage.locks.clear()

    def lose_power(self) -> None:
        self.kill()
        self.storage.crash(self.random)
        self.tables.lose_power()
        self._boots += 1

    def _open_disk(self) -> SimDisk:
        disk = SimDisk(self.storage, "namenode")
        self._disks.append(disk)
        return disk


async def _at_once(work: Callable[[], T]) -> T:
    return work()


def real_host(boot_id: str = "boot") -> Machine:
    """Return a machine with real disks and tables."""
    return Machine(
        transport=NO_TRANSPORT,
        open_disk=ThreadDisk,
        tables=LmdbStore(),
        wall_clock_ms=lambda: 1,
        random=Random(0),
        background=cast(Any, asyncio.to_thread),
        boot_id=boot_id,
        host_name="real",
    )


def done(name: str) -> Reply:
    return FileInfo(f"/{name}", 0, EntryKind.DIRECTORY, 0, 0, "", "", 0, 0)


def make_directory(name: str) -> Callable[[View, int], Outcome]:
    """Decide to make a directory below the root."""

    def decide(view: View, now_ms: int) -> Outcome:
        inode_id = load_meta(view).next_inode_id
        edit = DirectoryMade(inode_id, ROOT_INODE_ID, name, 0o755, "ann", "users", now_ms)
        return Outcome(done(name), (edit,))

    return decide


def names_in(view: View) -> list[str]:
    return [split_entry_key(key)[1] for key, _ in view.scan(ENTRIES)]


def stored_names(store: Store) -> list[str]:
    with store.tables.snapshot() as view:
        return names_in(view)


class Writing:
    """A journal at work: `async with Writing(store) as journal`."""

    def __init__(self, store: Store) -> None:
        self.effects: list[Effect] = []
        self.journal = Journal(store, apply_group, lambda: 1, self.effects.extend)

    async def __aenter__(self) -> Journal:
        self._running = asyncio.create_task(self.journal.run())
        return self.journal

    async def __aexit__(self, *_: object) -> None:
        self.journal.close()
        await self._running


async def make_directories(store: Store, *names: str) -> None:
    async with Writing(store) as journal:
        for name in names:
            await journal.submit(make_directory(name))


async def open_on(host: SimHost, secret_file: str | None = None) -> Store:
    return await open_store(host.machine(), StoreOptions(host.directory, secret_file))


Check = Callable[[SimHost, Store], Coroutine[Any, Any, None]]


def with_store(check: Check) -> None:
    async def whole() -> None:
        host = SimHost()
        store = await open_on(host)
        await check(host, store)
        store.kill()

    run(whole())


def make_new(name: str) -> Callable[[View, int], Outcome]:
    """Decide to make a directory, unless it is there."""

    def decide(view: View, now_ms: int) -> Outcome:
        if name in names_in(view):
            raise PathExists(f"{name} exists", f"/{name}")
        return make_directory(name)(view, now_ms)

    return decide


def in_virtual_time(check: Callable[[SimHost], Coroutine[Any, Any, None]]) -> None:
    """Run a check on a simulated machine."""
    run(check(SimHost()))
