"""Strangers at the ports of real daemons: memory is bounded, nothing ends, honest clients go on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.real_cluster import RealCluster, Server, content
from tests.integration.strangers import ATTACKS, Attack, unknown_requests

RESIDENT_LIMIT_BYTES = 512 * 1024 * 1024
"""A daemon that works has some 60 MiB; the rest is what the listener lets strangers hold."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    root: Path = tmp_path_factory.mktemp("hostile")
    with RealCluster(root, datanodes=2, stale_after="5s", dead_after="10s") as started:
        yield started


def resident_bytes(server: Server) -> int:
    """The most that it ever had in memory."""
    status = Path(f"/proc/{server.process_id}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


async def be_honest(cluster: RealCluster, name: str) -> None:
    """Come as a new client, write, read, and look at what was written."""
    data = content(len(name), 700_000)
    async with cluster.client() as client:
        # A client gives up after 5 s without a first answer: on a busy machine others come before.
        await cluster.until(client, lambda _: True)
        await client.write_file(f"/{name}", data)
        assert await client.read_file(f"/{name}") == data


async def live_through(cluster: RealCluster, attack: Attack) -> None:
    victims = (cluster.namenode, cluster.datanodes[0])
    for victim in victims:
        attacking = asyncio.create_task(asyncio.to_thread(attack, victim.address))
        try:
            await be_honest(cluster, f"{attack.__name__}-meanwhile-{victim.name}")
        finally:
            held = await attacking
        try:
            await be_honest(cluster, f"{attack.__name__}-under-siege-{victim.name}")
        finally:
            for one in held:
                one.close()
    await be_honest(cluster, f"{attack.__name__}-afterwards")
    for victim in victims:
        assert victim.runs, victim.story()
        assert resident_bytes(victim) < RESIDENT_LIMIT_BYTES, victim.name
        said = victim.log.read_text()
        assert said.find("Traceback") < 0, said[said.find("Traceback") - 200 :][:2000]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_honest_clients_go_on_while_strangers_attack(cluster: RealCluster, attack: Attack) -> None:
    async def scenario() -> None:
        async with cluster.ready():
            await live_through(cluster, attack)

    asyncio.run(scenario())


def test_requests_that_make_no_sense_are_refused(cluster: RealCluster) -> None:
    for server in (cluster.namenode, cluster.datanodes[0]):
        for line, status in unknown_requests(server.address):
            assert 400 <= status < 500, (server.name, line, status)
