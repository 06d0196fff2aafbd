"""How long does the command line take to say what it can do?

The limit is an interpreter that starts and ends: what is above it are our imports.
"""

import subprocess
import sys
from collections.abc import AsyncIterator

from benchmarks.figures import SECONDS, Line, Reading, compare
from benchmarks.harness import Benchmark, Workshop
from benchmarks.machine import Room
from benchmarks.sizes import MIB, Sizes
from benchmarks.usage import timed

STARTS = 5
"""One start is too short to be measured alone."""

ABOVE_PYTHON_S = 0.1


async def run(workshop: Workshop) -> AsyncIterator[Line]:
    """See the module."""

    async def dolmen() -> Reading:
        return _starts("-m", "dolmen", "--help")

    async def python() -> Reading:
        return _starts("-c", "")

    ours, bare = await workshop.interleave(dolmen, python)
    name, limit = "dolmen --help", ("python -c ''", bare)
    line = compare(name, SECONDS, ours, limit, f"our aim is {ABOVE_PYTHON_S:g} s above the limit")
    yield line.aiming_at(figure=line.limit.middle + ABOVE_PYTHON_S)


def _starts(*words: str) -> Reading:
    command = [sys.executable, *words]

    def start() -> None:
        for _ in range(STARTS):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return Reading(timed(start) / STARTS)


def _room(_: Sizes) -> Room:
    return Room(MIB, 256 * MIB)


BENCHMARK = Benchmark(
    "startup", "how long the command line takes to say what it can do", run, _room
)
