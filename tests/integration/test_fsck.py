"""`dolmen fsck` on real processes: verdicts, reasons, exit codes, and damage that it brings up."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from dolmen.client import Client
from tests.integration.command_line import Shell
from tests.integration.real_cluster import WITHIN_S, RealCluster, content, is_whole

KEYS = [
    *("path", "verdict", "files", "directories", "blocks", "replicas", "bytes"),
    *("inline_files", "inline_bytes", "problems"),
]
PROBLEM_KEYS = ["path", "block_id", "kind", "live", "wanted", "reason", "expected_in_s"]
MIB = 1 << 20


def fsck(cluster: RealCluster, *words: object) -> tuple[int, dict[str, Any]]:
    """The exit code and the document of `dolmen fsck --json`."""
    done = cluster.shell("fsck", "--json", *words)
    assert done.stdout, done.stderr.decode()
    document = json.loads(done.stdout)
    assert list(document) == KEYS
    assert all(list(problem) == PROBLEM_KEYS for problem in document["problems"])
    return done.returncode, document


def fsck_until(
    cluster: RealCluster, holds: Callable[[int, dict[str, Any]], bool], *words: object
) -> dict[str, Any]:
    """Ask again until it says so."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        code, document = fsck(cluster, *words)
        if holds(code, document):
            return document
        assert time.monotonic() < deadline, f"exit code {code}: {document}"


async def write(client: Client, path: str, length_bytes: int, replication: int) -> None:
    async with await client.open_writer(path, replication=replication) as writer:
        await writer.write(content(1, length_bytes))


def with_client(cluster: RealCluster, work: Callable[[Client], Awaitable[object]]) -> None:
    async def main() -> None:
        async with cluster.ready() as client:
            await work(client)

    asyncio.run(main())


def wait_until_whole(cluster: RealCluster) -> None:
    async def wait(client: Client) -> None:
        await cluster.until(client, is_whole)

    with_client(cluster, wait)


def test_a_healthy_tree_is_healthy_by_word_and_by_exit_code(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:

        async def fill(client: Client) -> None:
            await client.make_directory("/d")
            await write(client, "/d/a", 2 * MIB + 5, 3)
            await write(client, "/d/empty", 0, 3)

        with_client(cluster, fill)
        wait_until_whole(cluster)
        code, found = fsck(cluster)
        assert (code, found["verdict"], found["problems"]) == (0, "HEALTHY", [])
        assert (found["files"], found["directories"], found["blocks"]) == (2, 2, 3)
        assert (found["replicas"], found["bytes"], found["path"]) == (9, 2 * MIB + 5, "/")
        code, found = fsck(cluster, "--verify", "/d/a")
        assert (code, found["files"], found["directories"]) == (0, 1, 0)
        told = cluster.shell.output("fsck", "--verify", "--why", "/d")
        assert "/d: HEALTHY" in told
        assert "verified: 9 sound, 0 damaged, 0 that nobody could check" in told


def test_what_a_dead_datanode_had_is_under_replicated_until_it_returns(tmp_path: Path) -> None:
    with RealCluster(tmp_path) as cluster:
        with_client(cluster, lambda client: write(client, "/a", MIB + 1, 3))
        wait_until_whole(cluster)
        cluster.datanodes[0].kill()
        found = fsck_until(cluster, lambda code, _: code == 1)
        assert found["verdict"] == "UNDER_REPLICATED"
        assert [(p["path"], p["kind"]) for p in found["problems"]] == [
            ("/a", "UNDER_REPLICATED"),
            ("/a", "UNDER_REPLICATED"),
        ]
        for problem in found["problems"]:
            assert (problem["live"], problem["wanted"]) == (2, 3)
            assert problem["reason"] == "no other datanode: 2 usable, 3 wanted"
            assert problem["expected_in_s"] is None
        told = cluster.shell("fsck", "--why")
        assert told.returncode == 1
        assert b"under-replicated, 2 of 3; no other datanode: 2 usable, 3 wanted" in told.stdout
        plain = cluster.shell("fsck")
        assert b"no other datanode" not in plain.stdout
        cluster.datanodes[0].start()
        fsck_until(cluster, lambda code, found: code == 0 and found["verdict"] == "HEALTHY")


def test_a_file_all_of_whose_holders_are_dead_is_missing(tmp_path: Path) -> None:
    with RealCluster(tmp_path, datanodes=2) as cluster:
        with_client(cluster, lambda client: write(client, "/a", 1000, 1))
        for datanode in cluster.datanodes:
            datanode.kill()
        found = fsck_until(cluster, lambda code, _: code == 7)
        (problem,) = found["problems"]
        assert found["verdict"] == "CORRUPT"
        assert (problem["path"], problem["kind"], problem["live"]) == ("/a", "MISSING", 0)
        assert "comes back with datanode" in problem["reason"]
        code, _ = fsck(cluster, "--verify")
        assert code == 7, "replicas that nobody can check hold nothing up"
        for datanode in cluster.datanodes:
            datanode.start()
        fsck_until(cluster, lambda code, _: code == 0)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_damage_on_disk_is_found_by_verifying_and_healed(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with RealCluster(tmp_path) as cluster:
        with_client(cluster, lambda client: write(client, "/a", MIB, 3))
        wait_until_whole(cluster)
        (path,) = cluster.files_on_disk(1)
        damage(path)
        code, found = fsck(cluster)
        assert (code, found["verdict"]) == (0, "HEALTHY"), "nobody has looked yet"
        code, found = fsck(cluster, "--verify")
        (problem,) = found["problems"]
        assert (code, found["verdict"]) == (7, "CORRUPT")
        assert (problem["path"], problem["kind"], problem["wanted"]) == ("/a", "CORRUPT", 3)
        assert cluster.datanodes[1].address in problem["reason"]
        fsck_until(cluster, lambda code, _: code == 0)
        code, found = fsck(cluster, "--verify")
        assert (code, found["replicas"]) == (0, 3)


def test_the_last_replica_is_served_although_it_is_damaged(tmp_path: Path) -> None:
    with RealCluster(tmp_path, datanodes=1) as cluster:
        with_client(cluster, lambda client: write(client, "/a", MIB, 1))
        (path,) = cluster.files_on_disk(0)
        flip(path)
        code, found = fsck(cluster, "--verify")
        (problem,) = found["problems"]
        assert (code, problem["kind"]) == (7, "MISSING")
        assert problem["reason"].startswith("only damaged replicas are left on ")
        assert cluster.files_on_disk(0) == [path], "nothing is put aside without another replica"

        async def read(client: Client) -> None:
            async with await client.open_reader("/a") as reader:
                assert await reader.read_at(0, 1000) == content(1, MIB)[:1000]

        with_client(cluster, read)


def test_a_missing_path_is_not_found(tmp_path: Path) -> None:
    with RealCluster(tmp_path, datanodes=1) as cluster:
        wait_until_whole(cluster)
        for words in (["/nowhere"], ["--json", "/nowhere"], ["--verify", "/nowhere"]):
            done = cluster.shell("fsck", *words)
            assert (done.returncode, done.stdout) == (3, b"")
            assert done.stderr.startswith(b"dolmen: /nowhere: no such file")


def test_a_cluster_that_cannot_be_reached_is_said_so() -> None:
    shell = Shell({"DOLMEN_URL": "dolmen://127.0.0.1:1"})
    for words in ([], ["--json"], ["--verify", "/a"]):
        done = shell("fsck", *words)
        assert (done.returncode, done.stdout) == (6, b"")
        assert done.stderr.startswith(b"dolmen: ")
