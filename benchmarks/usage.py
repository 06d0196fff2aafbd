"""What processes use: processor time and memory, from /proc."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER_TICKS_FIELD = 11
"""In /proc/PID/stat, counted from behind the name; system ticks follow."""


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and all its threads have used."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 1 :].split()
    return sum(map(int, fields[USER_TICKS_FIELD : USER_TICKS_FIELD + 2])) / TICKS_PER_S


def memory_bytes(pid: int, name: str = "VmRSS") -> int:
    """Return a line of /proc/PID/status; RssAnon is VmRSS without the pages of mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no {name}: it has ended")


class Meter:
    """Elapsed time, and processor time by role, since it was made."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._cpu_s = self._read()
        self._started_s = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s

    def cpu_s_per(self, amount: float) -> dict[str, float]:
        """Return what each role has used since, for each unit of the work that was done."""
        return {role: (used - self._cpu_s[role]) / amount for role, used in self._read().items()}

    def _read(self) -> dict[str, float]:
        return {role: sum(cpu_s(pid) for pid in pids) for role, pids in self._pids.items()}


def own_meter(*others: int) -> Meter:
    """Measure this process, and others that work for a limit with it."""
    return Meter({"limit": [os.getpid(), *others]})


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
