"""Which process is ours, and how it is stopped; with small processes of the test's own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dolmen.cli.processes import Process, identify, kill_process, read_boot_id, stop_processes

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER


@pytest.fixture
def start() -> Iterator["Starter"]:
    starter = Starter()
    yield starter
    starter.end()


class Starter:
    """Starts Python processes and sees to their end."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[bytes]] = []

    def __call__(self, program: str) -> Process:
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        self.children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return identify(child.pid)

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.communicate()


def test_a_process_runs_until_it_is_stopped(start: Starter) -> None:
    process = start(SLEEPER)
    assert process.running
    assert stop_processes([process], 10.0) == []
    assert not process.running


def test_a_killed_process_runs_no_more_when_that_is_told(start: Starter) -> None:
    processes = [start(SLEEPER) for _ in range(5)]  # what is only sent a signal may run a while
    for process in processes:
        kill_process(process)
        assert not process.running
        kill_process(process)  # it is gone already


def test_a_zombie_does_not_run(start: Starter) -> None:
    process = start("print('up', flush=True)")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not process.running


def test_a_pid_that_belongs_to_another_program_does_not_run_and_is_not_stopped(
    start: Starter,
) -> None:
    process = start(SLEEPER)
    earlier = replace(process, started_ticks=process.started_ticks - 1)
    other_boot = replace(process, boot_id="another boot")
    assert not earlier.running
    assert not other_boot.running
    stop_processes([earlier, other_boot], 0.1)
    assert process.running


def test_what_ignores_sigterm_is_killed(start: Starter) -> None:
    process = start(STUBBORN)
    assert stop_processes([process], 0.2) == [process]
    assert not process.running


def test_stopping_what_has_ended_does_nothing() -> None:
    assert stop_processes([Process(2**22 - 1, 1, read_boot_id())], 0.1) == []
