"""What processes use: processor time and memory, from /proc."""

import os
import resource
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


class Others:
    """How busy the machine was with what is not ours, since this was made.

    Ours are this process and its children, once they have ended and were waited for. The rest are
    other people's processes, and the kernel's own threads (which also write what is ours).
    """

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._others_s = _others_s()

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started_s

    def share(self) -> float:
        """Return their share of all cores' time: 0 alone, 1 when nothing was left for us."""
        cores = os.cpu_count() or 1
        return max(0.0, _others_s() - self._others_s) / (self.elapsed_s * cores)


def _others_s() -> float:
    """Return the processor time since boot that was not ours; stolen by the host counts too."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, first.split()[1:])
    used_s = (user + nice + system + irq + softirq + steal) / TICKS_PER_S
    ours = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return used_s - sum(usage.ru_utime + usage.ru_stime for usage in ours)


def own_meter(*others: int) -> Meter:
    """Measure this process, and others that work for a limit with it."""
    return Meter({"limit": [os.getpid(), *others]})


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds `work` takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
