"""`dolmen namenode` and `dolmen datanode` in the foreground, as an operator starts them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from dolmen.cli.free_ports import free_ports
from tests.integration.command_line import Shell

READY = b" ready at "


class Daemons:
    """Starts servers in the foreground of their own processes, and ends what still runs."""

    def __init__(self) -> None:
        self.shell = Shell()
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: object) -> "subprocess.Popen[bytes]":
        """Start one and wait until it says that it is ready."""
        process = self.shell.start(*words)
        self.started.append(process)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if READY in line:
                return process
        raise AssertionError(b"".join(said).decode())

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    daemons = Daemons()
    yield daemons
    daemons.end()


@pytest.fixture
def port() -> int:
    return next(free_ports("127.0.0.1", Random()))


def refused(shell: Shell, *words: object) -> str:
    """The one line of a server that does not start."""
    done = shell(*words)
    assert done.returncode == 4, done.stderr.decode()
    (last,) = done.stderr.decode().splitlines()
    assert last.startswith("dolmen: ")
    assert b"Traceback" not in done.stderr
    return last


def test_a_cluster_of_two_servers_works_and_stops_on_sigterm(
    daemons: Daemons, tmp_path: Path, port: int
) -> None:
    namenode = daemons.start("namenode", "--dir", tmp_path / "n", "--port", port)
    secret = tmp_path / "n" / "cluster.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    datanode = daemons.start(
        *("datanode", "--namenode", f"127.0.0.1:{port}", "--secret-file", secret, "--port", 0),
        *("--dir", tmp_path / "d1", "--dir", tmp_path / "d2", "--rack", "/r1"),
    )
    shell = Shell({"DOLMEN_URL": f"dolmen://127.0.0.1:{port}"})
    shell.output("put", "-", "/x", given=b"content")
    assert shell.output("cat", "/x") == "content"
    assert "/r1" in shell.output("report")
    for process in (datanode, namenode):
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said.decode()


def test_a_second_namenode_on_a_port_or_a_directory_is_refused(
    daemons: Daemons, tmp_path: Path, port: int
) -> None:
    daemons.start("namenode", "--dir", tmp_path / "n", "--port", port)
    assert str(port) in refused(
        daemons.shell, "namenode", "--dir", tmp_path / "other", "--port", port
    )
    assert str(tmp_path / "n") in refused(
        daemons.shell, "namenode", "--dir", tmp_path / "n", "--port", 0
    )


def test_a_wrong_secret_is_refused(daemons: Daemons, tmp_path: Path, port: int) -> None:
    daemons.start("namenode", "--dir", tmp_path / "n", "--port", port)
    wrong = tmp_path / "wrong.secret"
    wrong.write_text(os.urandom(32).hex())
    line = refused(
        *(daemons.shell, "datanode", "--namenode", f"127.0.0.1:{port}", "--port", 0),
        *("--dir", tmp_path / "d", "--secret-file", wrong),
    )
    assert "secret" in line


@pytest.mark.parametrize("role", ["namenode", "datanode"])
def test_a_foreign_directory_is_refused(tmp_path: Path, role: str) -> None:
    (tmp_path / "letter").write_text("dear")
    secret = tmp_path.with_name(f"{tmp_path.name}.secret")
    secret.write_text(os.urandom(32).hex())
    others = ("--namenode", "127.0.0.1:1") if role == "datanode" else ()
    line = refused(
        *(Shell(), role, "--dir", tmp_path, "--port", 0, "--secret-file", secret, *others)
    )
    assert str(tmp_path) in line


def test_an_address_that_others_can_reach_needs_insecure(tmp_path: Path) -> None:
    line = refused(Shell(), "namenode", "--dir", tmp_path / "n", "--host", "0.0.0.0", "--port", 0)
    assert "--insecure" in line
    assert not (tmp_path / "n").exists()


def test_with_insecure_it_listens_for_all(daemons: Daemons, tmp_path: Path) -> None:
    daemons.start(
        *("namenode", "--dir", tmp_path / "n", "--port", 0, "--host", "0.0.0.0", "--insecure")
    )


def test_a_wrong_setting_has_exit_code_2_and_says_where_it_stands(tmp_path: Path) -> None:
    config = tmp_path / "dolmen.toml"
    config.write_text('dead_aftr = "3s"\n')
    done = Shell()("namenode", "--dir", tmp_path / "n", "--config", config)
    assert done.returncode == 2
    assert "dead_after" in done.stderr.decode()
    assert str(config) in done.stderr.decode()
    assert not (tmp_path / "n").exists()


def test_sigint_stops_a_server_that_is_waiting_for_its_namenode(
    daemons: Daemons, tmp_path: Path, port: int
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(os.urandom(32).hex())
    process = daemons.start(
        *("datanode", "--namenode", f"127.0.0.1:{port}", "--port", 0),
        *("--dir", tmp_path / "d", "--secret-file", secret),
    )
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
