"""Runs of mutants, each in a process of its own, and what they found."""

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import Mutant, apply, copy_packages

PROGRAM = """
import logging, sys
from msgspec.structs import replace
from dolmen.simulation.faults import Rot
from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.run import SimulationFailed, simulate
from dolmen.simulation.work_plan import Work

def draw(seed, seconds, rot_every_ms, work):
    plan = make_plan(seed, seconds)
    times = range(rot_every_ms, seconds * 250, rot_every_ms) if rot_every_ms else ()
    rots = [Rot(at_ms=at_ms, nth=number) for number, at_ms in enumerate(times)]
    faults = sorted([*plan.faults, *rots], key=lambda fault: fault.at_ms)
    return replace(plan, faults=tuple(faults), work=Work(kinds=tuple(work.split(","))))

logging.getLogger().addHandler(logging.NullHandler())
if len(sys.argv) > 1:
    plan = draw(*map(int, sys.argv[1:4]), sys.argv[4])
else:
    plan = Plan.decode(sys.stdin.read())
try:
    simulate(plan)
except SimulationFailed as failed:
    print(plan.encode())
    print(str(failed).splitlines()[0])
    sys.exit(7)
"""
FOUND, TEST_FAILED = 7, 1
LIMIT_S = 240
"""Ends what a mutant has made endless."""

SHOWN = 160


@dataclass(frozen=True)
class Verdict:
    """What became of one run; `finding` is empty if nothing was found."""

    finding: str
    plan: str = ""
    """Of the run that found it, as JSON."""
    trouble: str = ""
    """Why there is no verdict: the run itself broke."""


class Copy:
    """A mutant, ready to run; None is the software as it is. Use as a context."""

    def __init__(self, mutant: Mutant | None) -> None:
        self._mutant = mutant
        self._opened = ExitStack()

    def __enter__(self) -> "Copy":
        with ExitStack() as stack:  # nothing is left if the mutant does not apply
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutant-"))
            self._directory = Path(made)
            copy_packages(self._directory, tests=bool(self._mutant and self._mutant.test))
            if self._mutant is not None:
                apply(self._mutant, self._directory)
            self._opened = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def simulate(self, seed: int, circumstances: Mutant) -> Verdict:
        """Run the plan of a seed, in the circumstances that one mutant asks for."""
        asked = circumstances
        options = (str(seed), str(asked.seconds), str(asked.rot_every_ms), asked.work)
        return self._run(FOUND, "-c", PROGRAM, *options)

    def replay(self, plan: str) -> Verdict:
        """Run a plan that was kept."""
        return self._run(FOUND, "-c", PROGRAM, given=plan)

    def run_test(self, test: str) -> Verdict:
        """Run a test, which finds the mutant by failing."""
        return self._run(TEST_FAILED, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test)

    def _run(self, found: int, *arguments: str, given: str = "") -> Verdict:
        environment = os.environ | {"PYTHONPATH": str(self._directory), "CI": "true"}
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=self._directory,
                env=environment,
                input=given,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verdict("", trouble=f"it did not end within {LIMIT_S} s")
        if done.returncode == 0:
            return Verdict("")
        if done.returncode != found:
            what = f"it ended with exit code {done.returncode}, not 0 or {found}"
            return Verdict("", trouble=f"{what}:\n{done.stderr[-2000:]}")
        *_, before, last = ["", *done.stdout.strip().splitlines()]
        return Verdict(last[:SHOWN], before)
