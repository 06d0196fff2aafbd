"""The machine that a real process runs on: aiohttp, threads over `os`, LMDB, the system's clock."""

import asyncio
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from dolmen.runtime.blocking_connection import connect_blocking
from dolmen.runtime.file_passing import ALONE, FilePassing
from dolmen.runtime.http_transport import HttpTransport
from dolmen.runtime.lmdb_key_value import LmdbStore
from dolmen.runtime.machine import Machine
from dolmen.runtime.thread_disk import ThreadDisk
from dolmen.runtime.unix_file_passing import UnixFilePassing

T = TypeVar("T")

BOOT_ID_PATH = "/proc/sys/kernel/random/boot_id"


def real_machine(own_hosts: Iterable[str] = ()) -> Machine:
    """Return the ports of this process.

    `own_hosts` are names under which others address us, besides that of the listening socket (such
    as the host of `--advertise`): requests for any other name are refused.
    """
    return Machine(
        transport=HttpTransport(own_hosts),
        open_disk=ThreadDisk,
        tables=LmdbStore(),
        wall_clock_ms=_wall_clock_ms,
        random=random.Random(random.SystemRandom().getrandbits(128)),
        background=_in_thread,
        boot_id=_boot_id(),
        host_name=socket.gethostname(),
        file_passing=_file_passing(),
        connect_blocking=connect_blocking,
    )


def _file_passing() -> FilePassing:
    """Only Linux has names for sockets that are not files."""
    return UnixFilePassing() if sys.platform == "linux" else ALONE


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _in_thread(work: Callable[[], T]) -> Awaitable[T]:
    return asyncio.to_thread(work)


def _boot_id() -> str:
    with open(BOOT_ID_PATH, encoding="ascii") as file:
        return file.read().strip()
