"""Whether the namenode has room for one more edit: asked before anything is decided (rule 2).

What is applied to the tables must be appended to the log and committed, and a full disk in between
ends the process. So changes are refused below a reserve that is larger than what can be written
between two measurements.
"""

import asyncio
from collections.abc import Callable

from dolmen.protocol.errors import NoSpace
from dolmen.runtime.disk import Disk
from dolmen.runtime.key_value import KeyValue

RESERVE_BYTES = 256 * 1024 * 1024
"""Far more than is written in MEASURE_S, also by others on the same file system."""

RESERVE_SHARE = 0.05
"""On a small file system the reserve is this share of it."""

TABLES_FRACTION_LIMIT = 0.9

MEASURE_S = 1.0
MEASURE_BYTES = 16 * 1024 * 1024


def reserve_bytes(capacity_bytes: int) -> int:
    """Return what must stay free on a file system of this size."""
    return min(RESERVE_BYTES, int(capacity_bytes * RESERVE_SHARE))


class FreeSpace:
    """Measures, at most once a second and every few megabytes."""

    def __init__(
        self, disk: Disk, directory: str, tables: KeyValue, appended_bytes: Callable[[], int]
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._tables = tables
        self._appended_bytes = appended_bytes
        self._measured_s = float("-inf")
        self._measured_bytes = 0
        self._problem: str | None = None

    async def measure(self) -> None:
        """Look again if the last time is too long ago."""
        now_s = asyncio.get_running_loop().time()
        grown_bytes = self._appended_bytes() - self._measured_bytes
        if now_s - self._measured_s < MEASURE_S and grown_bytes < MEASURE_BYTES:
            return
        self._measured_s, self._measured_bytes = now_s, self._appended_bytes()
        self._problem = await self._find_problem()

    def check(self) -> None:
        """NoSpace if nothing may be changed."""
        if self._problem is not None:
            raise NoSpace(self._problem)

    async def _find_problem(self) -> str | None:
        capacity, free = await self._disk.space(self._directory)
        reserve = reserve_bytes(capacity)
        if free < reserve:
            return (
                f"the namenode's disk is full: {free} bytes are free in {self._directory},"
                f" {reserve} are kept in reserve; nothing is changed until there is more"
            )
        if self._tables.used_fraction() > TABLES_FRACTION_LIMIT:
            return "the namenode's tables are full; nothing is changed until something is deleted"
        return None
