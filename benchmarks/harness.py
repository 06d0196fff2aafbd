"""Runs benchmarks: each in a fresh directory, its sides in turn, if there is room for them.

What a virtual machine does to figures, and what is done about it here. (1) Memory that is freed
goes back to the host, and the next file that needs it is written three to eight times slower: the
page cache is filled once before anything is timed, every side is run once unmeasured, and nothing
is deleted before the end of a benchmark. (2) ext4 makes files slowly right after many were deleted:
likewise, and small files come first. (3) `drop_caches` does (1): a file is made cold by itself, by
`posix_fadvise`. (4) Others use the machine: sides alternate, medians are taken, and the spread is
shown.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import BenchCluster
from benchmarks.figures import Line, Reading
from benchmarks.machine import Room, TooLittleRoom, check_room, fill_page_cache
from benchmarks.sizes import Sizes

FILLED_FILES = 20
"""As many files' worth of page cache are filled before: what five rounds of writing touch."""

Side = Callable[[], Awaitable[Reading]]
"""One way to do the work; it does it once, and says how fast that was."""


@dataclass(frozen=True)
class Workshop:
    """Where a benchmark works, and how much it does."""

    directory: Path
    sizes: Sizes

    def cluster(self, datanodes: int = 3, **settings: str) -> BenchCluster:
        """Return a cluster of real processes, to be used as `async with`."""
        root = self.directory / "cluster"
        return BenchCluster(root, datanodes, {**self._settings, **settings})

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "block-size": f"{self.sizes.block_bytes}B",
            "heartbeat-interval": f"{self.sizes.stale_after_ms // 3}ms",
            "stale-after": f"{self.sizes.stale_after_ms}ms",
            "dead-after": f"{self.sizes.dead_after_ms}ms",
            "reserved-space": "0B",
        }

    def folder(self, name: str) -> Path:
        """Make a fresh directory for the files of a limit."""
        made = self.directory / name
        made.mkdir()
        return made

    async def interleave(self, *sides: Side, warm_up: bool = True) -> list[list[Reading]]:
        """Run the sides in turn, and return the readings of each, those of a round in one place."""
        rounds = self.sizes.rounds
        readings: list[list[Reading]] = [[] for _ in sides]
        for number in range(-1 if warm_up else 0, rounds):
            for side, taken in zip(sides, readings, strict=True):
                reading = await side()
                if number >= 0:
                    taken.append(reading)
        return readings


@dataclass(frozen=True)
class Benchmark:
    """One question about Dolmen."""

    name: str
    question: str
    run: Callable[[Workshop], AsyncIterator[Line]]
    room: Callable[[Sizes], Room]
    fills_page_cache: bool = False
    """Whether it moves so many bytes that the page cache must have been filled before."""
    only_named: bool = False
    """Whether it takes so long that it runs only when it is named."""


class Run:
    """Some benchmarks, one after the other, in a directory of their own."""

    def __init__(self, directory: Path, sizes: Sizes, show: Callable[[str], None]) -> None:
        self._directory = directory
        self._sizes = sizes
        self._show = show
        self._is_filled = False

    async def lines(self, benchmark: Benchmark) -> AsyncIterator[Line]:
        """Yield a benchmark's lines as they come; TooLittleRoom before any of its work."""
        async with self._workshop(benchmark) as workshop:
            async for line in benchmark.run(workshop):
                yield line

    @asynccontextmanager
    async def _workshop(self, benchmark: Benchmark) -> AsyncIterator[Workshop]:
        try:
            check_room(self._directory, benchmark.room(self._sizes))
        except TooLittleRoom as error:
            raise TooLittleRoom(f"{benchmark.name}: {error}") from None
        if benchmark.fills_page_cache and not self._is_filled:
            self._is_filled = True
            self._show("filling the page cache once, so that memory is the machine's before timing")
            wanted_bytes = FILLED_FILES * self._sizes.file_bytes
            await asyncio.to_thread(fill_page_cache, self._directory, wanted_bytes)
        folder = self._directory / benchmark.name
        folder.mkdir()
        try:
            yield Workshop(folder, self._sizes)
        finally:
            shutil.rmtree(folder)
