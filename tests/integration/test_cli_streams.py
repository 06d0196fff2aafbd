"""Commands whose standard streams are closed, full or gone, and that are told to end."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dolmen.local_cluster import LocalCluster
from tests.integration.command_line import COMMAND_WITHIN_S, Shell

PRINTING = (["--help"], ["--version"], ["ls", "--help"], ["ls", "/"], ["cat", "/x"], ["df"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=1) as cluster:
        Shell({"DOLMEN_URL": cluster.url}).output("put", "-", "/x", given=bytes(100_000))
        yield cluster


@pytest.fixture
def shell(cluster: LocalCluster) -> Shell:
    return Shell({"DOLMEN_URL": cluster.url})


def redirected(shell: Shell, redirection: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *shell.words(*words)],
        capture_output=True,
        env=shell.environment,
        timeout=COMMAND_WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("words", PRINTING)
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">&-", b"Bad file descriptor"), (">/dev/full", b"No space left on device")],
)
def test_output_that_goes_nowhere_is_one_line_and_an_exit_code(
    shell: Shell, words: list[str], redirection: str, reason: bytes
) -> None:
    done = redirected(shell, redirection, *words)
    assert done.stderr == b"dolmen: standard output: " + reason + b"\n"
    assert done.returncode == 1


@pytest.mark.parametrize("words", PRINTING)
def test_a_reader_who_has_gone_ends_the_command_without_a_word(
    shell: Shell, words: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            shell.words(*words),
            stdout=writing,
            stderr=subprocess.PIPE,
            env=shell.environment,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_prints_nothing_does_not_need_its_streams(shell: Shell) -> None:
    done = redirected(shell, "<&- >&- 2>&-", "mkdir", "/made")
    assert done.returncode == 0
    assert redirected(shell, "<&- >&- 2>&-", "test", "-d", "/made").returncode == 0
    assert redirected(shell, "<&- >&- 2>&-", "ls", "/gone").returncode == 3


def test_a_closed_input_is_told_and_not_put(shell: Shell) -> None:
    done = redirected(shell, "<&-", "put", "-", "/input")
    assert done.stderr == b"dolmen: standard input: Bad file descriptor\n"
    assert done.returncode == 1
    assert shell("test", "-e", "/input").returncode == 1


def test_a_local_file_that_has_no_room_is_named(shell: Shell) -> None:
    done = shell("get", "/x", "/dev/full")
    assert done.stderr == b"dolmen: /dev/full: No space left on device\n"
    assert done.returncode == 1


def test_a_name_in_an_error_steers_no_terminal(shell: Shell) -> None:
    done = shell("ls", "/\x1b]0;gotcha\x07")
    assert done.returncode == 3
    assert done.stderr.startswith(b"dolmen: /\\x1b]0;gotcha\\x07: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_clears_away_what_it_has_begun(
    shell: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = shell.start("put", pipe, "/begun")
    try:
        with pipe.open("wb"):  # it reads now, and waits
            process.send_signal(number)
            output = process.communicate(timeout=COMMAND_WITHIN_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number, output
    assert shell("test", "-e", "/begun").returncode == 1
