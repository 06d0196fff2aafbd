"""The verbs of the command line on a cluster, as a shell user sees them."""

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import xxhash
from click.testing import CliRunner, Result

from dolmen.cli import main
from dolmen.local_cluster import LocalCluster
from tests.integration.command_line import Shell

BLOCK_BYTES = 64 * 1024


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=3, block_size=BLOCK_BYTES) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def second_cluster() -> Iterator[LocalCluster]:
    with LocalCluster(datanodes=1) as cluster:
        yield cluster


@pytest.fixture
def shell(cluster: LocalCluster) -> Shell:
    return Shell({"DOLMEN_URL": cluster.url})


Verb = Callable[..., Result]


@pytest.fixture
def dolmen(cluster: LocalCluster) -> Verb:
    """The command in this process, which is quicker than a new one."""

    def call(*words: object) -> Result:
        environment = {"DOLMEN_URL": cluster.url}
        return CliRunner().invoke(main, [str(word) for word in words], env=environment)

    return call


@pytest.fixture
def space(dolmen: Verb, request: pytest.FixtureRequest) -> str:
    """A directory of the test's own."""
    path = f"/{request.node.name.split('[')[0][:100]}-{time.monotonic_ns()}"
    assert dolmen("mkdir", path).exit_code == 0
    return path


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def make(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make(tmp_path / "tree" / "1.csv", "1")
    make(tmp_path / "tree" / "deep" / "2.csv", "22")
    (tmp_path / "tree" / "empty").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("length", [0, 1, BLOCK_BYTES, 10 * BLOCK_BYTES + 17])
def test_a_file_comes_back_as_it_went(
    dolmen: Verb, space: str, tmp_path: Path, length: int
) -> None:
    content = os.urandom(length)
    local = make(tmp_path / "out.bin", content)
    lines(dolmen("put", local, f"{space}/x"))
    lines(dolmen("get", f"{space}/x", tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == content
    assert lines(dolmen("checksum", f"{space}/x")) == [
        f"{xxhash.xxh3_128(content).hexdigest()}  {space}/x"
    ]


def test_standard_input_and_output_are_files_too(shell: Shell, space: str) -> None:
    content = os.urandom(3 * BLOCK_BYTES + 1)
    shell.output("put", "-", f"{space}/x", given=content)
    assert shell("cat", f"{space}/x").stdout == content
    assert shell("get", f"{space}/x", "-").stdout == content
    shell.output("put", "-", f"{space}/y", given=b"")
    assert shell("cat", f"{space}/y", f"{space}/x", f"{space}/y").stdout == content


def test_an_existing_file_is_replaced_only_with_f(dolmen: Verb, space: str, tmp_path: Path) -> None:
    old, new = make(tmp_path / "old", "old"), make(tmp_path / "new", "new")
    lines(dolmen("put", old, f"{space}/x"))
    refused = dolmen("put", new, f"{space}/x")
    assert (refused.exit_code, "-f replaces" in refused.stderr) == (4, True)
    lines(dolmen("put", "-f", new, f"{space}/x"))
    refused = dolmen("get", f"{space}/x", old)
    assert (refused.exit_code, "-f replaces" in refused.stderr) == (4, True)
    assert old.read_text() == "old"
    lines(dolmen("get", "-f", f"{space}/x", old))
    assert old.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_a_directory_needs_r_and_goes_where_cp_would_put_it(
    dolmen: Verb, space: str, tree: Path
) -> None:
    refused = dolmen("put", tree, space)
    assert (refused.exit_code, "-r" in refused.stderr) == (4, True)
    lines(dolmen("put", "-r", tree, space))
    lines(dolmen("put", "-r", f"{tree}/", f"{space}/contents"))
    lines(dolmen("put", "-r", tree, f"{space}/renamed"))
    expected = ["/1.csv", "/deep", "/deep/2.csv", "/empty"]
    for name in ("tree", "contents", "renamed"):
        root = f"{space}/{name}"
        assert lines(dolmen("ls", "-R", root)) == [root + path for path in expected]


def test_a_directory_comes_back_whole(dolmen: Verb, space: str, tree: Path, tmp_path: Path) -> None:
    lines(dolmen("put", "-r", tree, space))
    assert dolmen("get", f"{space}/tree", tmp_path / "no").exit_code == 4
    lines(dolmen("get", "-r", f"{space}/tree", tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "2.csv").read_text() == "22"
    assert (tmp_path / "back" / "empty").is_dir()
    lines(dolmen("get", "-r", f"{space}/tree", tmp_path / "back"))
    assert (tmp_path / "back" / "tree" / "1.csv").read_text() == "1"


def test_patterns_are_expanded_by_the_command(
    dolmen: Verb, space: str, tree: Path, tmp_path: Path
) -> None:
    lines(dolmen("put", f"{tree}/*/*.csv", f"{tree}/*.csv", space))
    assert lines(dolmen("ls", f"{space}/*.csv")) == [f"{space}/1.csv", f"{space}/2.csv"]
    lines(dolmen("get", f"{space}/*.csv", tmp_path / "back"))
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["1.csv", "2.csv"]
    assert dolmen("ls", f"{space}/*.parquet").exit_code == 3
    lines(dolmen("rm", f"{space}/*.csv"))
    assert lines(dolmen("ls", space)) == []


def test_some_items_that_fail_do_not_keep_the_others(
    dolmen: Verb, space: str, tree: Path, tmp_path: Path
) -> None:
    done = dolmen("put", tree / "missing", tree / "1.csv", space)
    assert done.exit_code == 1
    assert "missing" in done.stderr
    assert lines(dolmen("ls", space)) == [f"{space}/1.csv"]
    done = dolmen("rm", f"{space}/missing", f"{space}/1.csv")
    assert done.exit_code == 1
    assert lines(dolmen("ls", space)) == []


def test_links_are_followed_and_a_circle_is_told(dolmen: Verb, space: str, tree: Path) -> None:
    (tree / "link.csv").symlink_to(tree / "1.csv")
    (tree / "deep" / "circle").symlink_to(tree)
    done = dolmen("put", "-r", tree, space)
    assert done.exit_code == 1
    assert "circle: is a link to a directory above it" in done.stderr
    assert f"{space}/tree/link.csv" in lines(dolmen("ls", "-R", space))


def test_ls_answers_in_the_form_it_was_asked_in(
    cluster: LocalCluster, dolmen: Verb, space: str, tree: Path
) -> None:
    lines(dolmen("put", "-r", tree, space))
    url = f"{cluster.url}{space}/tree"
    assert lines(dolmen("ls", url)) == [f"{url}/1.csv", f"{url}/deep", f"{url}/empty"]
    assert lines(dolmen("ls", f"{space}/tree/1.csv")) == [f"{space}/tree/1.csv"]
    assert lines(dolmen("ls", "-d", f"{space}/tree")) == [f"{space}/tree"]
    long = lines(dolmen("ls", "-l", f"{space}/tree"))
    assert [line.split()[0] for line in long] == ["-rw-r--r--", "drwxr-xr-x", "drwxr-xr-x"]
    rows = [json.loads(line) for line in lines(dolmen("ls", "--json", f"{space}/tree"))]
    assert [row["type"] for row in rows] == ["file", "directory", "directory"]


def test_du_counts_length_and_space_with_replicas(dolmen: Verb, space: str, tree: Path) -> None:
    lines(dolmen("put", "-r", "--replication", 2, f"{tree}/", space))
    assert [line.split() for line in lines(dolmen("du", space))] == [
        ["1", "2", f"{space}/1.csv"],
        ["2", "4", f"{space}/deep"],
        ["0", "0", f"{space}/empty"],
    ]
    assert lines(dolmen("du", "-s", space))[0].split() == ["3", "6", space]


def test_stat_knows_what_put_was_told(dolmen: Verb, space: str, tmp_path: Path) -> None:
    local = make(tmp_path / "x", bytes(BLOCK_BYTES))
    lines(dolmen("--user", "ada", "put", "--block-size", "128KiB", local, f"{space}/x"))
    document = json.loads(dolmen("stat", "--json", f"{space}/x").stdout)
    assert document["owner"] == "ada"
    assert document["block_size_bytes"] == 128 * 1024
    assert document["replication"] == 3
    assert "replication: 3" in dolmen("stat", f"{space}/x").stdout


def test_mv_renames_and_moves_into_a_directory(dolmen: Verb, space: str, tree: Path) -> None:
    lines(dolmen("put", "-r", f"{tree}/", space))
    lines(dolmen("mv", f"{space}/1.csv", f"{space}/one.csv"))
    lines(dolmen("mv", f"{space}/one.csv", f"{space}/deep"))
    assert lines(dolmen("ls", f"{space}/deep")) == [f"{space}/deep/2.csv", f"{space}/deep/one.csv"]
    assert dolmen("mv", f"{space}/deep/*.csv", f"{space}/nowhere").exit_code == 1
    assert dolmen("mv", f"{space}/deep/2.csv", f"{space}/nowhere/").exit_code == 4
    lines(dolmen("mv", f"{space}/deep/*.csv", f"{space}/empty"))
    lines(dolmen("mv", f"{space}/empty/one.csv", f"{space}/empty/2.csv"))
    assert dolmen("mv", f"{space}/missing", f"{space}/x").exit_code == 3
    assert dolmen("mv", f"{space}/empty", f"{space}/empty/inside").exit_code == 4


def test_cp_copies_within_a_cluster_and_to_another(
    second_cluster: LocalCluster, dolmen: Verb, space: str, tree: Path
) -> None:
    lines(dolmen("put", "-r", f"{tree}/", f"{space}/a"))
    lines(dolmen("cp", "-r", f"{space}/a", f"{space}/b"))
    assert dolmen("cp", f"{space}/a/1.csv", f"{space}/b").exit_code == 4
    lines(dolmen("cp", "-f", f"{space}/a/1.csv", f"{space}/b"))
    assert dolmen("cp", "-r", f"{space}/a", f"{space}/a/inside").exit_code == 4
    there = f"{second_cluster.url}{space}"
    lines(dolmen("cp", "-r", f"{space}/a", there))
    assert lines(dolmen("ls", there)) == [f"{there}/1.csv", f"{there}/deep", f"{there}/empty"]
    sums = {
        lines(dolmen("checksum", f"{root}/deep/2.csv"))[0].split()[0]
        for root in (f"{space}/a", f"{space}/b", there)
    }
    assert len(sums) == 1
    assert dolmen("mv", f"{space}/a", f"{there}/x").exit_code == 4


def test_rm_refuses_the_root_and_directories_without_r(dolmen: Verb, space: str) -> None:
    lines(dolmen("mkdir", "-p", f"{space}/a/b"))
    assert dolmen("rm", space).exit_code == 4
    assert dolmen("rm", "-r", "/").exit_code == 4
    assert dolmen("rm", f"{space}/missing").exit_code == 3
    lines(dolmen("rm", "-f", f"{space}/missing"))
    lines(dolmen("rm", "-r", space))
    assert dolmen("ls", space).exit_code == 3


def test_mkdir_says_how_to_make_parents(dolmen: Verb, space: str) -> None:
    refused = dolmen("mkdir", f"{space}/a/b")
    assert (refused.exit_code, "-p" in refused.stderr) == (3, True)
    lines(dolmen("mkdir", "-p", f"{space}/a/b"))
    lines(dolmen("mkdir", "-p", f"{space}/a/b"))
    assert dolmen("mkdir", f"{space}/a").exit_code == 4


def test_the_report_is_one_document_with_the_names_that_are_promised(
    cluster: LocalCluster, dolmen: Verb
) -> None:
    document = json.loads(dolmen("report", "--json").stdout)
    promised = (
        "url version safe_mode live_datanodes stale_datanodes dead_datanodes files blocks"
        " capacity_bytes used_bytes under_replicated_blocks over_replicated_blocks"
        " mis_replicated_blocks missing_blocks corrupt_replicas pending_transfers datanodes"
        " free_bytes safe_mode_reason"
    ).split()
    assert list(document)[: len(promised)] == promised
    assert set(document["datanodes"][0]) >= set(
        "id address host rack state admin_state capacity_bytes used_bytes blocks"
        " last_heartbeat_s free_bytes".split()
    )
    assert document["url"] == cluster.url
    assert "3 live, 0 stale, 0 dead" in dolmen("report").stdout


def test_a_device_is_written_to_and_never_replaced(
    shell: Shell, space: str, tmp_path: Path
) -> None:
    shell.output("put", "-", f"{space}/x", given=b"through a pipe")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = shell.start("get", f"{space}/x", pipe)
    assert pipe.read_bytes() == b"through a pipe"
    process.communicate()
    assert process.returncode == 0
    assert pipe.is_fifo()


def test_nobody_who_reads_ends_the_command_quietly(shell: Shell, space: str) -> None:
    shell.output("put", "-", f"{space}/x", given=bytes(1 << 20))
    process = shell.start("cat", f"{space}/x")
    assert process.stdout is not None
    assert process.stdout.read(1) == b"\0"
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_put_publishes_nothing(
    dolmen: Verb, shell: Shell, space: str, number: signal.Signals, code: int
) -> None:
    process = shell.start("put", "-", f"{space}/x")
    assert process.stdin is not None
    # More than a pipe holds: when this is written, the command is reading.
    process.stdin.write(bytes(1 << 20))
    process.stdin.flush()
    process.send_signal(number)
    assert process.wait(30) == code
    _, said = process.communicate()
    assert said == b""
    assert lines(dolmen("ls", space)) == []


def test_an_interrupted_get_leaves_nothing(shell: Shell, space: str, tmp_path: Path) -> None:
    shell.output("put", "--block-size", "16MiB", "-", f"{space}/x", given=bytes(64 << 20))
    process = shell.start("get", f"{space}/x", tmp_path / "x")
    wait_until(lambda: any(tmp_path.iterdir()))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert process.returncode == 0 or list(tmp_path.iterdir()) == []


def test_an_address_where_nobody_listens_is_told_soon(shell: Shell) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        before = time.monotonic()
        done = shell("--at", address, "ls", "/")
    assert time.monotonic() - before < 30  # not the minute for one that was there
    assert done.returncode == 6
    said = done.stderr.decode()
    assert f"no namenode answers at {address} (Connection refused)" in said
    assert [said.count(once) for once in (address, "dolmen up", "\n")] == [1, 1, 1]


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.02)


@pytest.mark.parametrize(("quiet", "shown"), [((), True), (("-q",), False)])
def test_a_bar_is_shown_on_a_terminal_unless_quiet(
    shell: Shell, space: str, tmp_path: Path, quiet: tuple[str, ...], shown: bool
) -> None:
    local = make(tmp_path / "x", bytes(BLOCK_BYTES))
    ours, terminal = pty.openpty()
    with subprocess.Popen(
        shell.words("put", *quiet, local, f"{space}/x"),
        stdin=subprocess.DEVNULL,
        stderr=terminal,
        env={**shell.environment, "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        with open(ours, "rb", buffering=0) as screen:  # noqa: PTH123 - a descriptor
            seen = b""
            with suppress(OSError):  # EIO is the end of a terminal that nobody has open
                while piece := screen.read(65536):
                    seen += piece
    assert process.returncode == 0
    assert (b"64.0/64.0 KiB" in seen) == shown
    assert shown or seen == b""
