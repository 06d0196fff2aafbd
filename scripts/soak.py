"""Runs the simulator with fresh seeds on several cores for a time, and keeps the plans that fail.

    make soak MINUTES=60

Each run is a process of its own, so that what one leaves behind is nobody else's. A run that has
begun when time is over is brought to its end; Ctrl-C ends all at once, and the figures of those
that had ended are printed all the same. After each run the figures so far are in `figures.txt`
beside the plans: whatever ends a soak, they stay.
"""

import argparse
import asyncio
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import SystemRandom

#: What the exit codes of `dolmen simulate` mean; a traceback ends with 1 as well.
ENDS = {1: "came to no verdict", 7: "broke a promise"}
SEEDS = 1 << 32

#: What `dolmen simulate` says of a run that held.
FAULTS = re.compile(r"^faults: (\d+), of which (\d+) hit work in flight$", re.MULTILINE)
OPERATIONS = re.compile(r"^operations acknowledged: (\d+)", re.MULTILINE)
TIME = re.compile(r"^virtual time: ([\d.]+) h ", re.MULTILINE)
TOLL = re.compile(r"^what they did: (.+)$", re.MULTILINE)

#: Ten times what an hour of a cluster's life takes, and enough to make a failing plan smaller. What
#: has not ended by then hangs, and that is a finding.
RUN_WITHIN_S = 900.0

#: A run that needs more than this fails: nothing in it may grow for as long as it lasts.
MEMORY_MIB = 400


@dataclass
class Figures:
    """What came of all runs together."""

    seeds: int = 0
    hours: float = 0.0
    faults: int = 0
    in_flight: int = 0
    operations: int = 0
    toll: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, output: str) -> None:
        """Add a run that held, by what it printed."""
        faults, operations, hours = (p.search(output) for p in (FAULTS, OPERATIONS, TIME))
        if not (faults and operations and hours):
            raise ValueError(f"dolmen simulate printed something else: {output!r}")
        self.seeds += 1
        self.faults += int(faults[1])
        self.in_flight += int(faults[2])
        self.operations += int(operations[1])
        self.hours += float(hours[1])
        for named in toll[1].split(", ") if (toll := TOLL.search(output)) else ():
            kind, _, times = named.rpartition(": ")
            self.toll[kind] += int(times)

    def so_far(self) -> str:
        """Return the two figures that count, for a line."""
        return f"{self.in_flight} faults in flight, {self.operations} operations"

    def lines(self) -> Iterator[str]:
        """Yield all figures."""
        yield f"seeds: {self.seeds + len(self.failures)}, of which {len(self.failures)} failed"
        yield f"virtual hours: {self.hours:.2f}"
        yield f"faults: {self.faults}, of which {self.in_flight} hit work in flight"
        yield from (f"{kind}: {times}" for kind, times in sorted(self.toll.items()))
        yield f"operations acknowledged: {self.operations}"
        yield f"largest run: {largest_mib()} MiB"
        yield from (f"FAILED {failure}" for failure in self.failures)


def largest_mib() -> int:
    """Return how much memory the largest run that has ended took."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def limit_memory() -> None:
    """Let a run that grows without end meet its end, and not the machine's."""
    limit = MEMORY_MIB << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


class Soak:
    """Runs until time is over or somebody interrupts it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._seeds = count(
            SystemRandom().randrange(SEEDS) if options.seed is None else options.seed
        )
        self._until = time.monotonic() + 60 * options.minutes
        self.figures = Figures()

    async def run(self) -> None:
        """Keep each core busy; end every process that was started, however this ends."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.cores):
                group.create_task(self._keep_running())

    async def _keep_running(self) -> None:
        while True:
            await self._run(next(self._seeds) % SEEDS)
            if time.monotonic() >= self._until:
                return

    async def _run(self, seed: int) -> None:
        words = ["--seed", str(seed), "--hours", str(self._options.hours)]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dolmen", "simulate", *words, "--keep", self._options.keep),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to handle
            preexec_fn=limit_memory,
        )
        try:
            async with asyncio.timeout(RUN_WITHIN_S):
                output = (await process.communicate())[0].decode(errors="replace")
        except TimeoutError:
            output = f"did not end within {RUN_WITHIN_S:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self._note(seed, process.returncode or 0, output)

    def _note(self, seed: int, code: int, output: str) -> None:
        if code == 0:
            self.figures.add(output)
            print(f"seed {seed} held; so far {self.figures.so_far()}", flush=True)
        else:
            self._note_failure(seed, code, output)
        kept = Path(self._options.keep)
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "figures.txt").write_text("\n".join((*self.figures.lines(), "")))

    def _note_failure(self, seed: int, code: int, output: str) -> None:
        story = Path(self._options.keep) / f"seed-{seed}.txt"
        story.parent.mkdir(parents=True, exist_ok=True)
        story.write_text(output)
        kind = ENDS.get(code, f"ended with {code}")
        self.figures.failures.append(f"seed {seed} {kind}: {story}")
        print(f"seed {seed} {kind}: {story}", flush=True)


def main() -> None:
    """Soak, and print the figures; exit code 1 if a run failed, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--hours", type=float, default=1, help="virtual time of each run")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, help="the first one [default: a fresh one]")
    parser.add_argument("--keep", default="soak", help="where failing plans go")
    soak = Soak(parser.parse_args())
    interrupted = False
    try:
        asyncio.run(soak.run())
    except asyncio.CancelledError:
        interrupted = True
    print("\n".join(soak.figures.lines()))
    sys.exit(1 if soak.figures.failures else 130 if interrupted else 0)


if __name__ == "__main__":
    main()
