"""What real daemons tell of themselves at their ports, and what the documentation lists."""

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.real_cluster import RealCluster, Server, content

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with RealCluster(tmp_path_factory.mktemp("status"), datanodes=2) as started:
        asyncio.run(be_used(started))
        yield started


async def be_used(cluster: RealCluster) -> None:
    data = content(1, 1_500_000)
    async with cluster.ready() as client:
        await client.write_file("/file", data)
        assert await client.read_file("/file") == data


def get(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    host, _, port = server.address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def value(text: str, name: str) -> float:
    found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
    assert len(found) == 1, f"{name} in\n{text}"
    return float(found[0])


def names(text: str) -> set[str]:
    return {name for name in re.findall(r"^# TYPE (\S+)", text, re.M) if name.startswith("dolmen_")}


def test_what_is_exposed_is_what_the_documentation_lists(cluster: RealCluster) -> None:
    exposed: set[str] = set()
    for server in (cluster.namenode, cluster.datanodes[0]):
        status, text = get(server, "/metrics")
        assert status == 200
        exposed |= names(text)
    listed = set(re.findall(r"^\| `(dolmen_\w+)` \|", OPERATIONS.read_text(), re.M))
    assert exposed == listed


def test_the_namenode_counts_what_it_did(cluster: RealCluster) -> None:
    _, text = get(cluster.namenode, "/metrics")
    assert value(text, "dolmen_namenode_files") == 1
    assert value(text, "dolmen_namenode_blocks") == 2
    assert value(text, "dolmen_namenode_safe_mode") == 0
    assert value(text, 'dolmen_namenode_datanodes{state="LIVE"}') == 2
    assert value(text, 'dolmen_namenode_connections{role="datanode"}') == 2
    assert value(text, 'dolmen_namenode_calls_seconds_count{call="OpenFile"}') >= 1
    assert value(text, "dolmen_namenode_journal_append_seconds_count") > 0
    assert value(text, "process_resident_memory_bytes") > 0


def test_a_datanode_counts_what_it_did(cluster: RealCluster) -> None:
    received = written = 0.0
    for datanode in cluster.datanodes:
        _, text = get(datanode, "/metrics")
        received += value(text, 'dolmen_datanode_received_bytes_total{kind="WriteSegment"}')
        written += value(text, 'dolmen_datanode_replicas{state="COMPLETE"}')
        assert value(text, "dolmen_datanode_registered") == 1
        assert value(text, 'dolmen_datanode_volumes{state="healthy"}') == 1
        assert value(text, 'dolmen_datanode_exchanges_seconds_count{kind="WriteSegment"}') >= 6
        assert re.search(r"^dolmen_datanode_volume_sync_seconds_count\{.*\} [1-9]", text, re.M)
    assert received == 2 * 1_500_000
    assert written == 4


def test_healthz_says_who_is_asked_and_that_it_is_well(cluster: RealCluster) -> None:
    status, text = get(cluster.namenode, "/healthz")
    said = json.loads(text)
    assert (status, said["status"], said["role"], said["safe_mode"]) == (
        200,
        "ok",
        "namenode",
        None,
    )
    status, text = get(cluster.datanodes[0], "/healthz")
    said = json.loads(text)
    assert (status, said["role"], said["registered"]) == (200, "datanode", True)
    assert said["healthy_volumes"] == 1


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_strangers_are_refused_and_pages_are_only_read(cluster: RealCluster, path: str) -> None:
    for server in (cluster.namenode, cluster.datanodes[0]):
        assert get(server, path, Host="evil.example")[0] == 403
        assert get(server, path, Origin="http://evil.example")[0] == 403
        assert get(server, path, "POST")[0] == 405
        assert get(server, path, "HEAD") == (200, "")
