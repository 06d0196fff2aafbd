"""`dolmen up`, `down` and `status`, with real processes."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dolmen.cli.cluster_file import read_cluster
from dolmen.cli.free_ports import free_ports
from tests.integration.command_line import Shell


class Local:
    """A directory for a cluster, with its own port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = next(free_ports("127.0.0.1", Random()))
        self.url = f"dolmen://127.0.0.1:{self.port}"
        self.shell = Shell({"DOLMEN_URL": self.url})

    def up(self, *words: object) -> "subprocess.CompletedProcess[bytes]":
        return self.shell("up", "--dir", self.directory, *words)

    def first_up(self, *words: object) -> "subprocess.CompletedProcess[bytes]":
        done = self.up("--port", self.port, *words)
        assert done.returncode == 0, done.stderr.decode()
        return done

    def down(self) -> None:
        done = self.shell("down", "--dir", self.directory)
        assert done.returncode == 0, done.stderr.decode()

    def status(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.shell.output("status", "--json", "--dir", self.directory)
        )
        return found

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.shell.output("report", "--json"))
        return found


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    local = Local(tmp_path / "cluster")
    yield local
    if read_cluster(local.directory) is not None:
        local.down()


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.05)


def test_up_prints_the_url_alone_and_everything_is_ready(local: Local) -> None:
    done = local.first_up("--block-size", "64KiB")
    assert done.stdout.decode() == f"{local.url}\n"
    report = local.report()
    assert (report["live_datanodes"], report["safe_mode"]) == (3, False)
    names = sorted(path.name for path in local.directory.iterdir())
    expected = ["cluster.toml", "datanode-0", "datanode-1", "datanode-2", "logs", "namenode"]
    assert names == expected
    local.shell.output("put", "-", "/x", given=b"x" * 100_000)
    assert (local.directory / "datanode-0" / "volumes" / "0" / "finalized").is_dir()
    document = json.loads(local.shell.output("stat", "--json", "/x"))
    assert document["block_size_bytes"] == 64 * 1024


def test_status_tells_what_runs_and_down_stops_it_and_up_brings_it_back(local: Local) -> None:
    local.first_up("--datanodes", 2, "--replication", 2)
    local.shell.output("put", "-", "/x", given=b"still here")
    before = local.status()
    assert [(row["role"], row["index"], row["running"]) for row in before] == [
        ("namenode", 0, True),
        ("datanode", 0, True),
        ("datanode", 1, True),
    ]
    assert list(before[0]) == ["role", "index", "pid", "address", "running"]
    local.down()
    assert [row["running"] for row in local.status()] == [False, False, False]
    local.down()
    assert local.up().stdout.decode() == f"{local.url}\n"
    after = local.status()
    assert [row["address"] for row in after] == [row["address"] for row in before]
    assert {row["pid"] for row in after}.isdisjoint(row["pid"] for row in before)
    assert local.shell.output("cat", "/x") == "still here"


def test_a_killed_datanode_is_told_and_comes_back_alone(local: Local) -> None:
    local.first_up("--datanodes", 2)
    before = local.status()
    os.kill(before[1]["pid"], signal.SIGKILL)
    wait_until(lambda: not local.status()[1]["running"])
    assert local.up().returncode == 0
    after = local.status()
    assert [row["running"] for row in after] == [True, True, True]
    same = [old["pid"] == new["pid"] for old, new in zip(before, after, strict=True)]
    assert same == [True, False, True]


def test_more_datanodes_are_added_and_fewer_are_refused(local: Local) -> None:
    local.first_up("--datanodes", 1)
    assert local.up("--datanodes", 2).returncode == 0
    assert local.report()["live_datanodes"] == 2
    refused = local.up("--datanodes", 1)
    assert (refused.returncode, refused.stdout) == (4, b"")
    assert local.up().returncode == 0
    assert len(local.status()) == 3


def test_settings_are_kept_and_replaced_when_given_again(local: Local) -> None:
    local.first_up("--datanodes", 1, "--block-size", "1MiB", "--replication", 1)
    local.down()
    assert local.up("--replication", 2).returncode == 0
    local.shell.output("put", "-", "/x", given=b"x")
    document = json.loads(local.shell.output("stat", "--json", "/x"))
    assert (document["block_size_bytes"], document["replication"]) == (1 << 20, 2)
    assert local.up("--dead-after", "soon").returncode == 2


def test_the_level_of_the_log_is_for_those_that_are_started_now(local: Local) -> None:
    local.first_up("--datanodes", 1, "--log-level", "warning")
    namenode = local.directory / "logs" / "namenode.log"
    assert " INFO " not in namenode.read_text()
    local.down()
    assert local.up().returncode == 0
    assert " INFO " in namenode.read_text()


def test_settings_of_the_environment_and_the_file_reach_the_servers_and_are_kept(
    local: Local, tmp_path: Path
) -> None:
    config = tmp_path / "dolmen.toml"
    config.write_text('replication = 1\nblock_size = "2MiB"\n')
    exported = {"DOLMEN_CONFIG": str(config), "DOLMEN_BLOCK_SIZE": "1MiB"}
    words = ("up", "--dir", local.directory, "--port", local.port, "--datanodes", 1)
    Shell(exported).output(*words)
    local.down()
    config.unlink()
    assert local.up().returncode == 0
    local.shell.output("put", "-", "/x", given=b"x")
    document = json.loads(local.shell.output("stat", "--json", "/x"))
    assert (document["block_size_bytes"], document["replication"]) == (1 << 20, 1)


def test_up_in_a_pipe_ends_when_it_returns(local: Local) -> None:
    words = local.shell.words("up", "--dir", local.directory, "--port", local.port)
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=local.shell.environment
    ) as process:
        output, _ = process.communicate(timeout=80)  # waits for the end of both pipes
    assert output.decode() == f"{local.url}\n"
    namenode = local.status()[0]["pid"]
    assert os.getsid(namenode) == namenode
    targets = [os.readlink(path) for path in Path(f"/proc/{namenode}/fd").iterdir()]  # noqa: PTH115
    said = str(local.directory / "logs" / "namenode.stderr.log")
    assert os.readlink(f"/proc/{namenode}/fd/1") == said  # noqa: PTH115 - as the kernel has it
    assert not [target for target in targets if target.startswith("pipe:")]


def test_two_ups_at_once_start_everything_once(local: Local) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: local.up("--port", local.port), range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    pids = {row["pid"] for row in local.status()}
    ours = [
        pid
        for pid in map(int, filter(str.isdigit, os.listdir("/proc")))  # noqa: PTH208 - names
        if str(local.directory).encode() in _command_line(pid)
    ]
    assert sorted(ours) == sorted(pids)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_port_in_use_is_told_at_once(local: Local) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", local.port))
        taken.listen(1)
        refused = local.up("--port", local.port)
    assert refused.returncode == 4
    assert f"port {local.port} is in use" in refused.stderr.decode()


def test_a_process_that_ends_at_once_is_told_with_its_reason(local: Local) -> None:
    local.first_up("--datanodes", 1)
    local.down()
    version = local.directory / "datanode-0" / "volumes" / "0" / "VERSION"
    version.write_text("not a version")
    refused = local.up()
    assert refused.returncode == 4
    assert "the datanode 0 has ended" in refused.stderr.decode()
    assert "VERSION" in refused.stderr.decode()
    assert local.status()[0]["running"]


def test_a_foreign_directory_is_refused_and_left_as_it_is(local: Local) -> None:
    local.directory.mkdir()
    (local.directory / "letter").write_text("dear")
    assert local.up().returncode == 4
    assert local.shell("status", "--dir", local.directory).returncode == 3
    assert [path.name for path in local.directory.iterdir()] == ["letter"]
    assert local.shell("down", "--dir", local.directory).returncode == 0


def test_a_file_is_as_foreign_as_a_directory_of_others(local: Local) -> None:
    local.directory.write_text("dear")
    assert local.up().returncode == 4
    assert local.shell("status", "--dir", local.directory).returncode == 3
    assert local.shell("down", "--dir", local.directory).returncode == 0
    assert local.directory.read_text() == "dear"


def test_the_default_directory_is_in_the_users_data(tmp_path: Path) -> None:
    shell = Shell({"XDG_DATA_HOME": str(tmp_path)})
    done = shell("status")
    assert done.returncode == 3
    assert str(tmp_path / "dolmen" / "local") in done.stderr.decode()


def test_another_port_for_a_cluster_that_runs_is_refused(local: Local) -> None:
    local.first_up("--datanodes", 1)
    refused = local.up("--port", next(free_ports("127.0.0.1", Random())))
    assert refused.returncode == 4
    assert "dolmen down" in refused.stderr.decode()
