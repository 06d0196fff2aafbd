"""What the command line says and leaves when the cluster cannot do what was asked."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dolmen.local_cluster import LocalCluster
from tests.integration.command_line import Shell


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=2, block_size="64KiB", inline_limit="0B", replication=1) as cluster:
        yield cluster


@pytest.fixture
def shell(cluster: LocalCluster) -> Shell:
    return Shell({"DOLMEN_URL": cluster.url, "DOLMEN_RETRY_FOR": "1s"})


def test_damaged_data_is_told_and_gets_no_name(
    cluster: LocalCluster, shell: Shell, tmp_path: Path
) -> None:
    shell.output("put", "-", "/x", given=os.urandom(100_000))
    for index in range(2):
        finalized = cluster.root / f"datanode-{index}" / "volumes" / "0" / "finalized"
        for path in finalized.rglob("*"):
            if path.is_file() and path.stat().st_size >= 30_000:
                with path.open("r+b") as stream:
                    stream.seek(1000)
                    stream.write(b"rot")
    done = shell("get", "/x", tmp_path / "x")
    assert done.returncode == 7, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert shell("cat", "/x").returncode == 7


def test_without_datanodes_a_write_fails_in_time_and_publishes_nothing(
    cluster: LocalCluster, shell: Shell
) -> None:
    cluster.kill_datanode(0)
    cluster.kill_datanode(1)
    done = shell("put", "-", "/x", given=b"content")
    assert done.returncode == 6, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert shell.output("ls", "/") == ""


def test_a_restart_of_the_namenode_is_a_pause(cluster: LocalCluster) -> None:
    shell = Shell({"DOLMEN_URL": cluster.url})
    process = shell.start("put", "-", "/x")
    assert process.stdin is not None
    process.stdin.write(bytes(1 << 20))  # more than a pipe holds: the command is writing
    cluster.kill_namenode()
    cluster.restart_namenode()
    process.communicate(bytes(1 << 20), timeout=60)
    assert process.returncode == 0
    assert shell.output("du", "-s", "/x").split()[0] == str(2 << 20)


def test_a_name_that_the_terminal_cannot_show_is_escaped(cluster: LocalCluster) -> None:
    shell = Shell({"DOLMEN_URL": cluster.url, "PYTHONIOENCODING": "latin-1"})
    shell.output("put", "-", "/日", given=b"x")
    assert shell.output("ls", "/") == "/\\u65e5\n"


@pytest.mark.parametrize("words", [["--at", "no:such:address", "ls"], ["ls", "http://h:1/x"]])
def test_what_is_no_address_is_a_wrong_use(words: list[str]) -> None:
    done = Shell()(*words)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_a_name_over_the_limit_is_refused_and_the_limit_is_named(shell: Shell) -> None:
    longest = "/" + 127 * "é" + "x"
    shell.output("put", "-", longest, given=b"x")
    for words in (("put", "-", longest + "x"), ("mkdir", longest + "x"), ("ls", longest + "x")):
        done = shell(*words)
        assert done.returncode == 4
        assert b"255 bytes" in done.stderr


def test_a_local_name_that_is_no_utf_8_does_not_keep_the_others(
    shell: Shell, tmp_path: Path
) -> None:
    (tmp_path / "good").write_text("x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff")).write_text("x")
    done = shell("put", "-r", tmp_path, "/names")
    assert done.returncode == 1
    assert b"bad\\udcff' is not valid UTF-8" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert shell.output("ls", "/names") == "/names/good\n"
