"""`dolmen drill` on real processes: what it breaks heals, what must not be broken it refuses, and
however it ends no process is left stopped."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dolmen.cli.free_ports import free_ports
from tests.integration.command_line import Shell
from tests.integration.real_cluster import SETTINGS, content

NODES = 4
DATA = content(1, 3_000_000)

#: Longer than anything here takes on a busy machine; it ends what hangs.
WITHIN_S = 60.0


class Local:
    """A cluster of `dolmen up` whose deaths are noticed within a second."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        port = next(free_ports("127.0.0.1", Random()))
        self.shell = Shell({"DOLMEN_URL": f"dolmen://127.0.0.1:{port}"})
        words = [word for name, text in SETTINGS.items() for word in (f"--{name}", text)]
        self.up("--port", port, "--datanodes", NODES, *words)
        self.shell.output("put", "-", "/x", given=DATA)

    def up(self, *words: object) -> None:
        self.shell.output("up", "--dir", self.directory, *words)

    def drill(self, *words: object) -> "subprocess.CompletedProcess[bytes]":
        return self.shell("drill", *words, "--dir", self.directory, "--yes")

    def refusal(self, *words: object, code: int = 4) -> str:
        """The one line with which a drill is refused."""
        done = self.drill(*words)
        assert (done.returncode, done.stdout) == (code, b""), done.stderr
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith("dolmen: ")
        return line

    def status(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.shell.output("status", "--json", "--dir", self.directory)
        )
        return found

    def pid(self, index: int) -> int:
        found = self.status()[1 + index]
        assert (found["role"], found["index"]) == ("datanode", index)
        pid: int = found["pid"]
        return pid

    def replicas(self) -> dict[Path, bytes]:
        files = self.directory.glob("datanode-*/volumes/0/finalized/**/*.block")
        return {file: file.read_bytes() for file in files}

    def is_good(self) -> bool:
        """Whether the file reads back, and every replica of it verifies."""
        read = self.shell("cat", "/x").stdout == DATA
        return read and self.shell("fsck", "--verify", "/x").returncode == 0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    directory = tmp_path_factory.mktemp("drill") / "cluster"
    try:
        yield Local(directory)
    finally:
        assert Shell()("down", "--dir", directory).returncode == 0


def is_stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat[stat.rindex(")") + 2] == "T"


def wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_stopped(pid):
        assert time.monotonic() < deadline, f"process {pid} was not stopped"
        threading.Event().wait(0.02)


def test_damaged_replicas_are_found_and_replaced_and_the_file_stays_whole(local: Local) -> None:
    done = local.drill("corrupt", "/x", "--replicas", 2)
    told = done.stdout.decode()
    assert done.returncode == 0, (told, done.stderr)
    assert told.count("64 bytes flipped") == 2
    assert "damaged" in told
    assert told.splitlines()[-1] == "healed: every block has all its replicas"
    damaged = list(local.directory.glob("datanode-*/volumes/0/quarantine/**/*.block"))
    assert len(damaged) == 2
    assert local.is_good()


def test_a_drill_without_a_path_draws_a_file(local: Local) -> None:
    done = local.drill("corrupt")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert b"/x: all 9 replicas were read and are good" in done.stdout


def test_the_last_good_replica_is_never_damaged(local: Local) -> None:
    before = local.replicas()
    assert "last good replica" in local.refusal("corrupt", "/x", "--replicas", 3)
    assert local.replicas() == before


def test_a_file_with_a_damaged_replica_already_is_refused(local: Local) -> None:
    file = next(iter(local.replicas()))
    before = file.read_bytes()
    file.write_bytes(b"\0" * len(before))
    assert "not every replica of /x is known to be good" in local.refusal("corrupt", "/x")
    wait_until_good(local)


def wait_until_good(local: Local) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not local.is_good():
        assert time.monotonic() < deadline


def test_a_killed_datanode_is_replaced_by_the_others_and_starts_again(local: Local) -> None:
    before = local.pid(1)
    done = local.drill("kill", "--datanode", 1)
    told = done.stdout.decode()
    assert done.returncode == 0, (told, done.stderr)
    assert "kill -9 of datanode 1" in told
    assert "datanode 1 is DEAD" in told
    assert local.pid(1) != before
    assert all(row["running"] for row in local.status())
    assert local.is_good()


def test_one_that_is_left_dead_heals_too_and_the_next_drill_wants_it_back(local: Local) -> None:
    done = local.drill("kill", "--datanode", 2, "--leave-dead")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert not local.status()[3]["running"]
    assert "datanode 2 does not run" in local.refusal("kill")
    local.up()
    assert local.is_good()


def test_what_is_not_healed_in_time_is_told_and_the_datanode_runs_again(local: Local) -> None:
    done = local.drill("kill", "--datanode", 0, "--within", "1ms")
    assert done.returncode == 1, done.stdout
    assert "not healed within 0.001 s" in done.stderr.decode()
    assert all(row["running"] for row in local.status())
    local.up()


def test_a_paused_datanode_goes_on_and_all_is_healed(local: Local) -> None:
    before = local.pid(3)
    done = local.drill("pause", "--datanode", 3, "--for", "2s")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "datanode 3 goes on" in done.stdout.decode()
    assert local.pid(3) == before
    assert not is_stopped(before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_drill_leaves_nothing_stopped(local: Local, number: int) -> None:
    pid = local.pid(0)
    words = ("drill", "pause", "--datanode", 0, "--for", "1h", "--dir", local.directory, "--yes")
    drill = local.shell.start(*words)
    try:
        wait_until_stopped(pid)
        assert "another drill is under way" in local.refusal("pause", "--datanode", 1)
        os.kill(drill.pid, number)
        drill.communicate(timeout=WITHIN_S)
    finally:
        drill.kill()
        drill.communicate()
    assert drill.returncode == 128 + number
    assert not is_stopped(pid)
    local.up()


def test_the_only_datanode_with_a_block_is_neither_killed_nor_paused(local: Local) -> None:
    local.shell.output("put", "-", "/once", given=b"once" * 5000)
    local.shell.output("setrep", "-w", 1, "/once")
    found = json.loads(local.shell.output("locate", "--json", "/once"))
    (replica,) = found["replicas"]
    rows = local.status()[1:]
    index = next(row["index"] for row in rows if row["address"] == replica["address"])
    pid = local.pid(index)
    for fault in ("kill", "pause"):
        assert "last good replica" in local.refusal(fault, "--datanode", index)
    assert "last good replica" in local.refusal("corrupt", "/once")
    assert local.pid(index) == pid
    local.shell.output("rm", "/once")


def test_what_cannot_be_is_told_in_one_line(local: Local, tmp_path: Path) -> None:
    assert "they are 0 to 3" in local.refusal("kill", "--datanode", 9)
    assert "/no" in local.refusal("corrupt", "/no", code=3)
    assert "is not the cluster in" in local.refusal("corrupt", "dolmen://127.0.0.1:1/x")
    done = local.shell("drill", "pause", "--dir", tmp_path, "--yes")
    assert done.returncode == 3
    assert f"{tmp_path} holds no cluster" in done.stderr.decode()
    assert local.drill("pause", "--for", "0s").returncode == 2


def test_nothing_is_done_unless_it_is_meant(local: Local) -> None:
    before = local.replicas()
    done = local.shell("drill", "corrupt", "--dir", local.directory, given=b"n\n")
    assert (done.returncode, done.stdout) == (4, b"")
    assert "nothing was done" in done.stderr.decode()
    assert local.replicas() == before
    assert local.shell("drill", "kill", "--dir", local.directory).returncode == 4
