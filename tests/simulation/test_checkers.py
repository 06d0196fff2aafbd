"""Each checker finds what it is there to find, in a cluster that is made to break its promise."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from datanode.core.layout import Place
from dolmen.client.client import Client
from dolmen.protocol.errors import BlockMissing
from dolmen.simulation import virtual_time
from dolmen.simulation.checkers import (
    VOLUME,
    Healing,
    Invariants,
    Lasting,
    Namespace,
    Replay,
    Replicas,
    Stored,
)
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import Write
from dolmen.simulation.plan import Plan
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from dolmen.simulation.trace import Trace
from dolmen.simulation.workloads import Workload

PLAN = Plan(seed=1, clients=1)
LENGTH_BYTES = 300_000
PATH = "/own-0/a"


class World:
    """A cluster with one file of two blocks, acknowledged and known to its history."""

    def __init__(self) -> None:
        self.trace = Trace(asyncio.get_running_loop().time)
        self.cluster = SimCluster(PLAN, self.trace)
        self.workload = Workload(PLAN, self.trace)

    async def write(self, client: Client) -> None:
        version, contents = self.workload.versions.draw(LENGTH_BYTES)
        await client.write_file(PATH, contents)
        self.workload.owned[0].history.succeeded(Write("a", version.number))

    async def check(self, client: Client) -> None:
        await Healing(self.cluster).wait(client)
        report = await Namespace(self.workload).check(client)
        replicas = Replicas(self.cluster)
        replicas.check(self.workload)
        replicas.check_counts(report)
        Invariants(self.cluster).check_at_rest()

    def data_files(self) -> list[tuple[SimStorage, str]]:
        """Every data file of every replica."""
        return [
            (lives.machine.storage, path)
            for lives in self.cluster.datanodes
            for path in files_below(lives.machine.storage, f"{VOLUME}/{Place.FINALIZED.value}")
            if path.endswith(".block")
        ]


def files_below(storage: SimStorage, path: str) -> list[str]:
    found: list[str] = []
    try:
        names = sorted(storage.directory(path).entries)
    except FileNotFoundError:
        return []
    for name in names:
        below = f"{path}/{name}"
        node = storage.find(below)
        found += files_below(storage, below) if isinstance(node, SimDirectory) else [below]
    return found


Scenario = Callable[[World, Client], Coroutine[Any, Any, None]]


def with_file(scenario: Scenario) -> None:
    async def main() -> None:
        world = World()
        await world.cluster.start()
        async with world.cluster.inspector() as client:
            await world.write(client)
            await scenario(world, client)
        await world.cluster.stop()
        assert world.cluster.found == []

    virtual_time.run(main())


def test_a_cluster_that_keeps_its_promises_passes() -> None:
    async def scenario(world: World, client: Client) -> None:
        await world.check(client)
        assert len(world.data_files()) == 6
        cluster_id = client.cluster.cluster_id
        await world.cluster.stop()
        await Replay(world.cluster).check(cluster_id)

    with_file(scenario)


def test_a_file_whose_replicas_have_all_rotted_is_an_error_and_never_other_bytes() -> None:
    async def scenario(world: World, client: Client) -> None:
        for storage, path in world.data_files():
            storage.rot(path, 1000)
        with pytest.raises(BlockMissing, match="checksum"):
            await client.read_file(PATH)
        with pytest.raises(CheckFailed, match="acknowledged and cannot be read"):
            await Namespace(world.workload).check(client)

    with_file(scenario)


def test_one_rotten_replica_is_read_around_and_healed() -> None:
    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        storage.rot(path, 1000)
        for _ in range(20):
            assert await world.workload.read(client, PATH) is not None
        await world.check(client)

    with_file(scenario)


def test_bytes_that_nobody_wrote_are_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await client.write_file(PATH, b"forged")
        with pytest.raises(CheckFailed, match="nobody wrote"):
            await world.workload.read(client, PATH)
        with pytest.raises(CheckFailed, match="cannot be as it is seen"):
            await Namespace(world.workload).check(client)

    with_file(scenario)


def test_a_file_that_is_gone_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await client.delete(PATH)
        with pytest.raises(CheckFailed, match="cannot be as it is seen"):
            await Namespace(world.workload).check(client)

    with_file(scenario)


def test_a_replica_that_is_silently_wrong_or_gone_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        storage.rot(path, 0)
        with pytest.raises(CheckFailed, match="not what was written"):
            Replicas(world.cluster).check(world.workload)
        storage.remove(path)
        replicas = Replicas(world.cluster)
        with pytest.raises(CheckFailed, match="is on 2"):
            replicas.check(world.workload)
        with pytest.raises(CheckFailed, match="its report"):
            replicas.check_counts(await client.report())

    with_file(scenario)


def test_a_cluster_that_does_not_heal_in_time_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await world.cluster.datanodes[0].kill()
        with pytest.raises(CheckFailed, match="not healed after"):
            await Healing(world.cluster).wait(client)
        await world.cluster.datanodes[0].start()
        await world.check(client)

    with_file(scenario)


def test_a_replica_that_nobody_needs_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        left = Replicas(world.cluster).left_over({})
        assert left
        assert Replicas(world.cluster).left_over(Stored(world.cluster).blocks) == []

    with_file(scenario)


def test_tables_that_the_log_does_not_lead_to_are_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        cluster_id = client.cluster.cluster_id
        await world.cluster.stop()
        tables = world.cluster.open_namenode_tables()
        writer = tables.begin()
        writer.put("entries", b"12345678strange", b"")
        writer.commit()
        tables.close()
        with pytest.raises(CheckFailed, match=r"\['entries'\] differ"):
            await Replay(world.cluster).check(cluster_id)

    with_file(scenario)


def test_a_replica_that_a_loss_of_power_took_although_it_was_finalized_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        lives = next(d for d in world.cluster.datanodes if d.machine.storage is storage)
        lasting = Lasting(lives)
        await lives.kill(power_loss=True)
        lasting.check()
        storage.remove(path)
        with pytest.raises(CheckFailed, match=r"lost .* with the power"):
            lasting.check()

    with_file(scenario)


def test_a_process_that_ends_by_itself_is_a_finding() -> None:
    async def main() -> None:
        world = World()
        await world.cluster.start()
        process = world.cluster.datanodes[0].process
        assert process is not None
        await process.stop()
        await world.cluster.finding.wait()
        assert world.cluster.found == [("datanode-0 ended by itself", None)]
        await world.cluster.stop()

    virtual_time.run(main())
