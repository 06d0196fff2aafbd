"""What the verbs do beyond succeeding: as coreutils do it, where there is such a command."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from dolmen.cli import main
from dolmen.local_cluster import LocalCluster
from tests.integration.command_line import Shell

Verb = Callable[..., Result]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        datanodes=3, block_size="64KiB", inline_limit="0B", delete_after="200ms"
    ) as cluster:
        yield cluster


@pytest.fixture
def shell(cluster: LocalCluster) -> Shell:
    return Shell({"DOLMEN_URL": cluster.url})


@pytest.fixture
def dolmen(cluster: LocalCluster) -> Verb:
    """The command in this process; what it writes past Python's own output is not seen."""

    def call(*words: object) -> Result:
        environment = {"DOLMEN_URL": cluster.url}
        return CliRunner().invoke(main, [str(word) for word in words], env=environment)

    return call


Raw = Callable[..., tuple[int, bytes, str]]


@pytest.fixture
def raw(dolmen: Verb, capfdbinary: pytest.CaptureFixture[bytes]) -> Raw:
    """Exit code, bytes written past Python's own output, and what was said."""

    def call(*words: object) -> tuple[int, bytes, str]:
        capfdbinary.readouterr()
        done = dolmen(*words)
        return done.exit_code, capfdbinary.readouterr().out, done.stderr

    return call


@pytest.fixture
def space(dolmen: Verb) -> str:
    """A directory of the test's own."""
    path = f"/{time.monotonic_ns()}"
    assert dolmen("mkdir", path).exit_code == 0
    return path


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def store(dolmen: Verb, tmp_path: Path, path: str, content: bytes) -> None:
    local = tmp_path / "to-store"
    local.write_bytes(content)
    lines(dolmen("put", "-f", local, path))


# ---------------------------------------------------------------- head, tail, text


def test_several_ends_have_the_headings_of_coreutils(
    dolmen: Verb, shell: Shell, space: str, tmp_path: Path
) -> None:
    contents = {"a": b"1\n2\n3\n", "b": b"", "c": b"no newline", "d": os.urandom(200_000)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    lines(dolmen("put", *(tmp_path / name for name in contents), space))
    for words in (
        ["head", "-2"], ["tail", "-n", "2"], ["tail", "-q", "-c", "+3"],
    ):  # fmt: skip
        ours = shell(*words, *(f"{space}/{name}" for name in contents))
        theirs = subprocess.run([*words, *contents], cwd=tmp_path, capture_output=True, check=True)
        assert ours.returncode == 0, ours.stderr
        assert ours.stdout.replace(f"{space}/".encode(), b"") == theirs.stdout


def test_the_end_of_a_file_of_many_blocks_is_found_from_behind(
    dolmen: Verb, raw: Raw, space: str, tmp_path: Path
) -> None:
    content = b"".join(b"%d\n" % number for number in range(200_000))
    store(dolmen, tmp_path, f"{space}/x", content)
    assert raw("tail", "-n", 30_000, f"{space}/x") == (0, content[-210_000:], "")
    assert raw("tail", "-n", "+199999", f"{space}/x") == (0, b"199998\n199999\n", "")
    assert raw("tail", "-2", f"{space}/x") == (0, b"199998\n199999\n", "")
    assert raw("head", "-n", 3, f"{space}/x") == (0, b"0\n1\n2\n", "")


def test_lines_and_bytes_exclude_each_other(dolmen: Verb) -> None:
    assert dolmen("head", "-n", 1, "-c", 1, "/x").exit_code == 2
    assert dolmen("tail", "-n", "many", "/x").exit_code == 2


def test_text_is_plain_whatever_it_was_compressed_with(
    dolmen: Verb, raw: Raw, space: str, tmp_path: Path
) -> None:
    content = b"".join(b"line %d\n" % number for number in range(20_000))
    stored = {
        "gz": gzip.compress(content[:5000]) + gzip.compress(content[5000:]),
        "bz2": bz2.compress(content),
        "xz": lzma.compress(content),
        "plain": content,
        "empty": b"",
    }
    for name, data in stored.items():
        store(dolmen, tmp_path, f"{space}/{name}", data)
        assert raw("text", f"{space}/{name}") == (0, content if data else b"", "")
    store(dolmen, tmp_path, f"{space}/cut.gz", stored["gz"][:-20])
    code, _, said = raw("text", f"{space}/cut.gz")
    assert (code, "cut.gz: the gzip data end early" in said) == (7, True)
    store(dolmen, tmp_path, f"{space}/x.zst", bytes.fromhex("28b52ffd0458"))
    code, written, said = raw("text", f"{space}/x.zst")
    assert (code, written, "zstdcat" in said) == (4, b"", True)


# ---------------------------------------------------------------- find, tree, test, locate


@pytest.fixture
def grown(dolmen: Verb, space: str, tmp_path: Path) -> str:
    for name, content in {"a.csv": b"1", "d/b.csv": b"22", "d/e/c.txt": b"", "z": b"4"}.items():
        local = tmp_path / "grown" / name
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
    lines(dolmen("put", "-r", f"{tmp_path}/grown/", space))
    return space


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], ["", "/a.csv", "/d", "/d/b.csv", "/d/e", "/d/e/c.txt", "/z"]),
        (["--name", "*.csv"], ["/a.csv", "/d/b.csv"]),
        (["-name", "*.csv", "-maxdepth", "1"], ["/a.csv"]),
        (["-type", "d"], ["", "/d", "/d/e"]),
        (["--type", "f", "--mindepth", "2"], ["/d/b.csv", "/d/e/c.txt"]),
        (["--maxdepth", "0"], [""]),
        (["--size", "0"], ["/d/e/c.txt"]),
        (["--size", "+1c"], ["/d/b.csv"]),
    ],
)
def test_find_lists_what_find_lists(
    dolmen: Verb, grown: str, words: list[str], found: list[str]
) -> None:
    assert lines(dolmen("find", grown, *words)) == [grown + path for path in found]


def test_find_knows_what_is_newer(dolmen: Verb, grown: str) -> None:
    lines(dolmen("touch", "-d", "2100-01-01T00:00:00Z", f"{grown}/z"))
    assert lines(dolmen("find", grown, "--newer", f"{grown}/a.csv", "--name", "z")) == [
        f"{grown}/z"
    ]
    assert lines(dolmen("find", grown, "--newer", f"{grown}/z")) == []
    assert dolmen("find", grown, "--newer", f"{grown}/no").exit_code == 3
    assert dolmen("find", grown, "--size", "big").exit_code == 2


def test_tree_draws_as_tree_does(dolmen: Verb, grown: str) -> None:
    assert lines(dolmen("tree", grown)) == [
        grown,
        "├── a.csv",
        "├── d",
        "│   ├── b.csv",
        "│   └── e",
        "│       └── c.txt",
        "└── z",
        "",
        "2 directories, 4 files",
    ]
    assert lines(dolmen("tree", "-d", "-L", 1, grown)) == [grown, "└── d", "", "1 directory"]
    rows = [json.loads(line) for line in lines(dolmen("tree", "--json", "-L", 1, grown))]
    assert [(row["path"][len(grown) :], row["depth"]) for row in rows] == [
        ("", 0), ("/a.csv", 1), ("/d", 1), ("/z", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "path", "code"),
    [
        ("-e", "/d", 0), ("-e", "/no", 1), ("-e", "/z/below", 1), ("-f", "/z", 0), ("-f", "/d", 1),
        ("-d", "/d", 0), ("-d", "/z", 1), ("-s", "/z", 0), ("-s", "/d/e/c.txt", 1),
        ("-z", "/d/e/c.txt", 0), ("-z", "/z", 1), ("-z", "/d", 1),
        ("-ef", "/d", 2), ("-x", "/d", 2),
    ],
)  # fmt: skip
def test_test_answers_with_its_exit_code(
    dolmen: Verb, grown: str, flag: str, path: str, code: int
) -> None:
    done = dolmen("test", flag, grown + path)
    assert (done.exit_code, done.stdout) == (code, "")


def test_locate_tells_where_each_block_is(
    cluster: LocalCluster, dolmen: Verb, space: str, tmp_path: Path
) -> None:
    store(dolmen, tmp_path, f"{space}/x", bytes(150_000))
    rows = [json.loads(line) for line in lines(dolmen("locate", "--json", f"{space}/x"))]
    assert [(row["index"], row["offset_bytes"], row["length_bytes"]) for row in rows] == [
        (0, 0, 65536), (1, 65536, 65536), (2, 131072, 18928),
    ]  # fmt: skip
    report = json.loads(dolmen("report", "--json").stdout)
    addresses = {datanode["address"] for datanode in report["datanodes"]}
    assert all({replica["address"] for replica in row["replicas"]} == addresses for row in rows)
    assert set(rows[0]["replicas"][0]) == {
        "datanode_id",
        "address",
        "host",
        "rack",
        "stale",
        "local",
    }
    shown = lines(dolmen("locate", f"{space}/x"))
    assert shown[0].split() == ["0", "65536", rows[0]["block_id"]]
    assert len(shown) == 12
    store(dolmen, tmp_path, f"{space}/empty", b"")
    assert lines(dolmen("locate", f"{space}/empty")) == []
    assert dolmen("locate", space).exit_code == 4


# ---------------------------------------------------------------- what changes something


def test_touch_makes_empty_files_and_sets_times(dolmen: Verb, space: str) -> None:
    lines(dolmen("touch", f"{space}/x"))
    lines(dolmen("touch", "-d", "2026-01-31T12:00:00Z", f"{space}/x"))
    found = json.loads(dolmen("stat", "--json", f"{space}/x").stdout)
    assert (found["length_bytes"], found["modified"]) == (0, "2026-01-31T12:00:00.000Z")
    lines(dolmen("touch", "-c", f"{space}/y"))
    assert lines(dolmen("ls", space)) == [f"{space}/x"]
    lines(dolmen("touch", "-d", "2025-01-31T12:00:00Z", f"{space}/old"))
    assert "2025-01-31T12:00:00.000Z" in dolmen("stat", "--json", f"{space}/old").stdout
    refused = dolmen("touch", f"{space}/no/x")
    assert (refused.exit_code, "mkdir -p" in refused.stderr) == (3, True)
    assert dolmen("touch", "-d", "yesterday", f"{space}/x").exit_code == 2


def test_touch_keeps_what_is_in_a_file(dolmen: Verb, raw: Raw, grown: str) -> None:
    lines(dolmen("touch", f"{grown}/d/b.csv"))
    assert raw("cat", f"{grown}/d/b.csv")[1] == b"22"


def test_rmdir_deletes_empty_directories_and_nothing_else(dolmen: Verb, grown: str) -> None:
    refused = dolmen("rmdir", f"{grown}/d")
    assert (refused.exit_code, "rm -r" in refused.stderr) == (4, True)
    assert dolmen("rmdir", f"{grown}/z").exit_code == 4
    assert dolmen("rmdir", "/").exit_code == 4
    lines(dolmen("mkdir", "-p", f"{grown}/p/q/r"))
    assert dolmen("rmdir", "-p", f"{grown}/p/q/r").exit_code == 4  # at the directory above them
    assert dolmen("test", "-e", f"{grown}/p").exit_code == 1
    assert dolmen("test", "-e", f"{grown}/d/b.csv").exit_code == 0


@pytest.mark.parametrize("path", ["/", "//", "/.", "/..", "///"])
def test_the_root_is_never_deleted(dolmen: Verb, grown: str, path: str) -> None:
    for words in (["rm", "-r"], ["rm", "-rf"], ["rmdir"]):
        assert dolmen(*words, path).exit_code in (2, 4)
    assert dolmen("test", "-e", grown).exit_code == 0


def test_mv_n_keeps_what_is_there(dolmen: Verb, raw: Raw, grown: str) -> None:
    refused = dolmen("mv", "-n", f"{grown}/a.csv", f"{grown}/z")
    assert (refused.exit_code, "without -n" in refused.stderr) == (4, True)
    assert raw("cat", f"{grown}/z")[1] == b"4"
    lines(dolmen("mv", "-f", f"{grown}/a.csv", f"{grown}/z"))
    assert raw("cat", f"{grown}/z")[1] == b"1"


def test_setrep_waits_until_all_blocks_have_their_replicas(dolmen: Verb, grown: str) -> None:
    for number in (1, 2, 3):
        done = dolmen("setrep", "-w", number, grown)
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in lines(dolmen("locate", "--json", f"{grown}/**/*.csv"))]
        assert [len(row["replicas"]) for row in rows] == [number, number]
    assert dolmen("setrep", 0, grown).exit_code == 2
    assert dolmen("setrep", 513, grown).exit_code == 2


def test_ctrl_c_ends_the_waiting_and_not_the_work(dolmen: Verb, shell: Shell, grown: str) -> None:
    process = shell.start("setrep", "-w", 4, f"{grown}/z")
    assert process.stderr is not None
    assert b"only 3 datanodes are live" in process.stderr.readline()
    assert b"0 of 1 blocks have 4 replicas" in process.stderr.readline()
    process.send_signal(2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"not waiting any more" in said
    assert json.loads(dolmen("stat", "--json", f"{grown}/z").stdout)["replication"] == 4


def test_a_file_that_cannot_fit_is_refused_before_it_is_sent(
    dolmen: Verb, space: str, tmp_path: Path
) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(10_000 * 64 * 1024 + 1)
    refused = dolmen("put", huge, f"{space}/huge")
    assert refused.exit_code == 4
    assert "block size of 1MiB or more" in refused.stderr
    assert lines(dolmen("ls", space)) == []


# ---------------------------------------------------------------- figures and completion


def test_df_agrees_with_the_report(cluster: LocalCluster, dolmen: Verb) -> None:
    (line,) = lines(dolmen("df", "--json"))
    found = json.loads(line)
    report = json.loads(dolmen("report", "--json").stdout)
    assert found["url"] == cluster.url
    assert found["size_bytes"] == report["capacity_bytes"]
    assert 0 < found["available_bytes"] <= found["size_bytes"]
    assert 0 <= found["use_percent"] <= 100
    heading, row = lines(dolmen("df", "-h"))
    assert heading.split() == ["size", "used", "available", "use%", "cluster"]
    assert row.endswith(cluster.url)


def test_paths_of_the_cluster_are_completed(
    cluster: LocalCluster, dolmen: Verb, grown: str, tmp_path: Path
) -> None:
    shell = ShellComplete(main, {}, "dolmen", "_DOLMEN_COMPLETE")

    def offered(words: list[str], incomplete: str) -> list[str]:
        return [item.value for item in shell.get_completions(words, incomplete)]

    lines(dolmen("touch", f"{grown}/$(reboot)", f"{grown}/two words"))
    at = ["--at", cluster.url]
    assert offered([*at, "ls"], f"{grown}/") == [f"{grown}/a.csv", f"{grown}/d/", f"{grown}/z"]
    assert offered(["cat"], f"{cluster.url}{grown}/d/b") == [f"{cluster.url}{grown}/d/b.csv"]
    assert offered([*at, "ls"], f"{grown}/no") == []
    assert offered([*at, "put", "relative"], f"{grown}/a")[1:] == [f"{grown}/a.csv"]
    assert offered([*at, "put"], f"{grown}/a") == [f"{grown}/a"]  # a shell completes it itself
