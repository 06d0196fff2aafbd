"""`make soak`: fresh seeds until time is over, and figures whatever ended it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command_line import COMMAND_WITHIN_S

SCRIPT = Path(__file__).parents[2] / "scripts" / "soak.py"


def soak(keep: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--cores", "1", "--keep", str(keep), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def running_below(directory: Path) -> list[bytes]:
    """The command lines of processes that were told of this directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory).encode() in words:
            found.append(words)
    return found


def test_a_soak_runs_a_seed_at_least_and_adds_up(tmp_path: Path) -> None:
    run = soak(tmp_path / "kept", "--minutes", "0", "--hours", "0.02", "--seed", "4")
    output, errors = run.communicate(timeout=COMMAND_WITHIN_S)
    assert (run.returncode, errors) == (0, ""), output
    first, seeds, hours, faults, *toll, operations, largest = output.splitlines()
    assert first.startswith("seed 4 held; so far ")
    assert all(int(line.rpartition(": ")[2]) > 0 for line in toll)
    assert seeds == "seeds: 1, of which 0 failed"
    assert hours.startswith("virtual hours: 0.0")
    assert faults.endswith("hit work in flight")
    assert int(operations.rpartition(" ")[2]) > 0
    assert largest.endswith(" MiB")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["figures.txt"]
    assert operations in (tmp_path / "kept" / "figures.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_soak_tells_its_figures_and_ends_its_runs(
    tmp_path: Path, number: int
) -> None:
    run = soak(tmp_path / "kept", "--minutes", "60", "--hours", "0.02", "--seed", "4")
    try:
        assert run.stdout is not None
        assert run.stdout.readline().startswith("seed 4 held")
        os.kill(run.pid, number)
        output, errors = run.communicate(timeout=COMMAND_WITHIN_S)
    finally:
        run.kill()
        run.communicate()
    assert (run.returncode, errors) == (130, ""), output
    assert "of which 0 failed" in output
    assert running_below(tmp_path) == []
