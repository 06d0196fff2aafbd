"""`dolmen append`, `truncate`, `concat`, `recover-lease` and `tail -f` beyond succeeding."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import xxhash
from click.testing import CliRunner, Result

from dolmen.cli import main
from dolmen.local_cluster import LocalCluster
from tests.integration.command_line import COMMAND_WITHIN_S, Shell


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size="64KiB") as cluster:
        yield cluster


@pytest.fixture
def shell(cluster: LocalCluster) -> Shell:
    return Shell({"DOLMEN_URL": cluster.url})


@pytest.fixture
def dolmen(cluster: LocalCluster) -> Callable[..., Result]:
    """The command in this process."""

    def call(*words: object) -> Result:
        environment = {"DOLMEN_URL": cluster.url}
        return CliRunner().invoke(main, [str(word) for word in words], env=environment)

    return call


@pytest.fixture
def space(cluster: LocalCluster) -> str:
    """A directory of the test's own."""
    path = f"/{time.monotonic_ns()}"
    cluster.filesystem().mkdir(path)
    return path


def pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def test_files_and_standard_input_are_appended_together(
    cluster: LocalCluster, shell: Shell, space: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a" * 100_000)
    (tmp_path / "b").write_bytes(b"b\n")
    shell.output("append", "--replication", "2", tmp_path / "a", f"{space}/log")
    shell.output("append", tmp_path / "b", "-", tmp_path / "b", f"{space}/log", given=b"in\n")
    fs = cluster.filesystem()
    assert fs.cat(f"{space}/log") == b"a" * 100_000 + b"b\nin\nb\n"
    assert fs.info(f"{space}/log")["replication"] == 2


def test_what_cannot_be_read_is_told_before_anything_is_made(
    cluster: LocalCluster, dolmen: Callable[..., Result], space: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    for missing, code in (("no", 3), (".", 4)):
        done = dolmen("append", tmp_path / "a", tmp_path / missing, f"{space}/log")
        assert done.exit_code == code
    assert dolmen("append", tmp_path / "a", f"{space}/no/log").exit_code == 3
    assert dolmen("append", tmp_path / "a", space).exit_code == 4
    assert cluster.filesystem().find(space) == []


def test_a_stream_is_seen_while_it_comes_and_stays_when_it_is_interrupted(
    cluster: LocalCluster, shell: Shell, space: str
) -> None:
    fs = cluster.filesystem()
    shell.output("touch", f"{space}/log")
    appending = shell.start("append", "-", f"{space}/log")
    given, _ = pipes(appending)
    with shell.start("tail", "-f", f"{space}/log") as following:
        _, seen = pipes(following)
        for line in (b"one\n", b"two\n"):
            given.write(line)
            given.flush()
            assert seen.readline() == line
        assert fs.cat(f"{space}/log") == b"one\ntwo\n"
        refused = shell("append", "-", f"{space}/log", given=b"other\n")
        assert refused.returncode == 4
        assert b"dolmen recover-lease" in refused.stderr
        appending.send_signal(signal.SIGINT)
        assert appending.wait(COMMAND_WITHIN_S) == 130
        shell.output("append", "-", f"{space}/log", given=b"three\n")
        assert seen.readline() == b"three\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(COMMAND_WITHIN_S) == 130
        assert following.stderr is not None
        assert following.stderr.read() == b""
    appending.communicate()


def test_a_killed_writer_leaves_what_it_flushed_and_its_lease_can_be_taken(
    cluster: LocalCluster, shell: Shell, space: str
) -> None:
    fs = cluster.filesystem()
    fs.touch(f"{space}/log")
    with shell.start("append", "-", f"{space}/log") as appending:
        given, _ = pipes(appending)
        with shell.start("tail", "-f", f"{space}/log") as following:
            _, seen = pipes(following)
            given.write(b"flushed\n")
            given.flush()
            assert seen.readline() == b"flushed\n"
            following.terminate()
        appending.kill()
    with pytest.raises(PermissionError):
        fs.open(f"{space}/log", "ab")
    shell.output("recover-lease", f"{space}/*")
    shell.output("append", "-", f"{space}/log", given=b"more\n")
    assert fs.cat(f"{space}/log") == b"flushed\nmore\n"


def test_following_begins_where_it_is_asked_to_and_ends_with_its_file(
    cluster: LocalCluster, dolmen: Callable[..., Result], shell: Shell, space: str
) -> None:
    cluster.filesystem().pipe(f"{space}/log", b"one\ntwo\nthree\n")
    for words, first in ((["-n", "1"], b"three\n"), (["-c", "+5"], b"two\n"), (["-2"], b"two\n")):
        with shell.start("tail", *words, "-f", f"{space}/log") as following:
            _, seen = pipes(following)
            assert seen.readline() == first
            following.terminate()
            assert following.wait(COMMAND_WITHIN_S) == 128 + signal.SIGTERM
    with shell.start("tail", "-f", "-n", "1", f"{space}/log") as following:
        _, seen = pipes(following)
        assert seen.readline() == b"three\n"
        cluster.filesystem().rm(f"{space}/log")
        out, said = following.communicate(timeout=COMMAND_WITHIN_S)
        assert (following.returncode, out) == (4, b"")
        assert said.startswith(b"dolmen: ")
        assert b"deleted" in said
    cluster.filesystem().pipe({f"{space}/a": b"", f"{space}/b": b""})
    assert dolmen("tail", "-f", f"{space}/*").exit_code == 2


def test_files_are_cut_to_a_length_they_have(
    cluster: LocalCluster, dolmen: Callable[..., Result], space: str
) -> None:
    fs = cluster.filesystem()
    for name in ("a", "b"):
        fs.pipe(f"{space}/{name}", b"x" * 200_000)
    assert dolmen("truncate", "64K", f"{space}/*").exit_code == 0
    assert fs.du(space) == 2 * 65536
    too_long = dolmen("truncate", "65537", f"{space}/a")
    assert too_long.exit_code == 4
    assert "has 65536 bytes" in too_long.stderr
    for wrong in ("-1", "+5", "x"):
        assert dolmen("truncate", "--", wrong, f"{space}/a").exit_code == 2
    assert dolmen("truncate", "0", space).exit_code == 4


def test_files_are_joined_and_gone(
    cluster: LocalCluster, dolmen: Callable[..., Result], space: str
) -> None:
    fs = cluster.filesystem()
    for name in ("a", "p2", "p1"):
        fs.pipe(f"{space}/{name}", name.encode() * 50_000)
    assert dolmen("concat", f"{space}/a", f"{space}/p*").exit_code == 0
    assert fs.cat(f"{space}/a") == b"a" * 50_000 + b"p1" * 50_000 + b"p2" * 50_000
    assert fs.find(space) == [f"{space}/a"]
    for wrong in (f"{space}/a", space, "dolmen://127.0.0.1:1/a"):
        assert dolmen("concat", "--retry-for", "10ms", f"{space}/a", wrong).exit_code in (4, 6)


def test_a_file_that_grew_has_no_checksum_for_a_while_and_an_empty_one_always_has(
    cluster: LocalCluster, dolmen: Callable[..., Result], space: str
) -> None:
    fs = cluster.filesystem()
    for name in ("a", "b"):
        fs.pipe_file(f"{space}/{name}", b"written")
        with fs.open(f"{space}/{name}", "ab") as file:
            file.write(b" and appended")
    fs.truncate(f"{space}/b", 0)
    unknown = dolmen("checksum", f"{space}/a")
    assert unknown.exit_code == 6
    assert "computed again: try later" in unknown.stderr
    assert fs.info(f"{space}/a")["checksum"] is None
    empty = dolmen("checksum", f"{space}/b")
    assert (
        empty.stdout.split()[0]
        == xxhash.xxh3_128_hexdigest(b"")
        == fs.info(f"{space}/b")["checksum"]
    )
