"""Each checker finds what it is there to find, in a cluster that is made to break its promise."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any

import pytest

from datanode.core.layout import Place
from dolmen.client.client import Client
from dolmen.protocol.errors import BlockMissing
from dolmen.simulation import virtual_time
from dolmen.simulation.checkers.acknowledged_bytes import AcknowledgedBytes, Lasting
from dolmen.simulation.checkers.disks import Stored, replicas_on
from dolmen.simulation.checkers.idle_level import IdleLevel
from dolmen.simulation.checkers.last_replica import QUICK_LIFE_S
from dolmen.simulation.checkers.suite import Checkers
from dolmen.simulation.cluster import DIRECTORY, SimCluster
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.growing_client import GrowingClient, Growth
from dolmen.simulation.history import Replicating
from dolmen.simulation.lives import Lives
from dolmen.simulation.namespace_model import DONE, Publish
from dolmen.simulation.plan import Plan
from dolmen.simulation.recorded_client import Draft
from dolmen.simulation.sim_storage import SimDirectory, SimStorage
from dolmen.simulation.trace import Trace
from dolmen.simulation.workloads.mix import Workload

PLAN = Plan(seed=1, clients=1)
LENGTH_BYTES = 300_000
PATH = "/own-0/a"
VOLUME = f"{DIRECTORY}/volumes/0"


class World:
    """A cluster with one file of two blocks, acknowledged and known to its history."""

    def __init__(self) -> None:
        self.trace = Trace(asyncio.get_running_loop().time)
        self.cluster = SimCluster(PLAN, self.trace)
        self.workload = Workload(PLAN, self.trace)
        self.history = self.workload.history
        self.checkers = Checkers(self.cluster, self.workload)

    def recorded(self, client: Client) -> GrowingClient:
        return GrowingClient("tester", client, self.history, Random(1))

    async def write(self, client: Client) -> None:
        assert await self.recorded(client).write(Draft(PATH, LENGTH_BYTES, 3))

    async def check(self, client: Client) -> None:
        await self.checkers.check_at_rest(client)

    def holder_of_both(self) -> tuple[Lives, list[str]]:
        """A datanode that has replicas of both blocks, and their data files."""
        files = self.data_files()
        for lives in self.cluster.datanodes:
            paths = [path for storage, path in files if storage is lives.machine.storage]
            if len(paths) == 2:
                return lives, paths
        raise AssertionError("no datanode has both blocks")

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
        await client.operator.write_checkpoint()
        await world.cluster.stop()
        await world.checkers.check_stopped(cluster_id)

    with_file(scenario)


def test_a_file_whose_replicas_have_all_rotted_is_an_error_and_never_other_bytes() -> None:
    async def scenario(world: World, client: Client) -> None:
        for storage, path in world.data_files():
            storage.rot(path, 1000)
        with pytest.raises(BlockMissing, match="checksum"):
            await client.read_file(PATH)
        entries = [entry async for entry in client.walk_tree("/")]
        with pytest.raises(CheckFailed, match="acknowledged and cannot be read"):
            await AcknowledgedBytes(world.history.versions).check(world.recorded(client), entries)

    with_file(scenario)


def test_one_rotten_replica_is_read_around_and_healed() -> None:
    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        storage.rot(path, 1000)
        for _ in range(20):
            assert await world.recorded(client).read(PATH) is not None
        await world.check(client)

    with_file(scenario)


def test_bytes_that_nobody_wrote_are_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await client.write_file(PATH, b"forged")
        with pytest.raises(CheckFailed, match="nobody wrote"):
            await world.recorded(client).read(PATH)
        with pytest.raises(CheckFailed, match="nobody wrote"):
            await world.check(client)

    with_file(scenario)


def test_wrong_bytes_under_the_right_name_are_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        info = await client.info(PATH)
        number = world.history.true_reads.version_of(info)
        right = world.history.versions.contents(number)
        world.history.true_reads.check(info, 100, right[100:200])
        with pytest.raises(CheckFailed, match="the first wrong one at 150"):
            world.history.true_reads.check(info, 100, right[100:150] + right[:50])

    with_file(scenario)


def test_a_file_that_is_gone_or_came_from_nowhere_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await client.rename(PATH, "/own-0/b")
        with pytest.raises(CheckFailed, match="no order of the operations on /own-0"):
            await world.check(client)

    with_file(scenario)


def test_a_realm_that_is_gone_altogether_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await client.delete("/own-0", recursive=True)
        with pytest.raises(CheckFailed, match="no order"):
            await world.check(client)

    with_file(scenario)


def test_two_acknowledged_exclusive_creates_are_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        one_writer = world.history.one_writer
        one_writer.created("/x", "one", 1.0, 2.0)
        one_writer.removing("/x", 2.0)
        one_writer.created("/x", "two", 1.5, 3.0)
        one_writer.created("/y/z", "one", 1.0, 2.0)
        with pytest.raises(CheckFailed, match="created exclusively for one, and again for two"):
            one_writer.created("/y/z", "two", 1.5, 3.0)
        one_writer.published(7, "/x", "one")
        with pytest.raises(CheckFailed, match="inode 7 was published"):
            one_writer.published(7, "/x", "two")

    with_file(scenario)


def test_an_acknowledged_write_that_is_not_seen_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        world.history.namespace.begin(Publish(PATH, 99, 3)).answered(DONE)
        with pytest.raises(CheckFailed, match="no order"):
            await world.recorded(client).read(PATH)

    with_file(scenario)


def test_a_replica_that_is_silently_wrong_or_gone_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        storage.rot(path, 0)
        with pytest.raises(CheckFailed, match="not what was written"):
            world.checkers.healing.check()
        storage.remove(path)
        with pytest.raises(CheckFailed, match="is on 2, not 3"):
            world.checkers.healing.check()

    with_file(scenario)


def test_an_order_against_one_replica_too_many_is_found() -> None:
    """The datanode itself removes the replica, as on an order for which there is no proof."""

    async def scenario(world: World, client: Client) -> None:
        storage, path = world.data_files()[0]
        storage.remove(path)
        what, error = world.cluster.found.pop()
        assert what == "a checker"
        assert "deletes a good replica of block" in str(error)
        storage, path = world.data_files()[-1]
        storage.rot(path, 5)
        storage.remove(path)
        assert world.cluster.found == [], "a bad replica may go"

    with_file(scenario)


def test_one_of_two_good_replicas_of_a_datanode_may_be_put_aside_and_none_be_deleted() -> None:
    """A volume has come back after its block was copied onto another one."""

    async def scenario(world: World, client: Client) -> None:
        storages = [storage for storage, _ in world.data_files()]
        machines = [lives.machine for lives in world.cluster.datanodes]
        machine = next(each for each in machines if storages.count(each.storage) == 2)
        storage, other = machine.storage, f"{DIRECTORY}-1"
        storage.make_directory(other)
        storage.plug_in(other, storage.directory(DIRECTORY).copy(storage.new_device()))
        machine.volumes.append(other)
        first, second = (path for owner, path in world.data_files() if owner is storage)
        storage.make_directory(f"{VOLUME}/{Place.QUARANTINE.value}")
        aside = f"{VOLUME}/{Place.QUARANTINE.value}/aside"
        storage.rename(first, aside)
        assert world.cluster.found == []
        storage.remove(second)
        _, error = world.cluster.found.pop()
        assert "deletes a good replica" in str(error)
        storage.rename(aside, first)
        storage.rot(first.replace(DIRECTORY, other, 1), 0)
        storage.rename(first, aside)
        _, error = world.cluster.found.pop()
        assert "quarantines a good replica" in str(error), "the other is not good"

    with_file(scenario)


async def stop(lives: Lives) -> None:
    await lives.stop()


async def lose_volumes(lives: Lives) -> None:
    for volume in list(lives.machine.storage.plugged):
        lives.machine.storage.pull_out(volume)


@pytest.mark.parametrize("vanish", [stop, lose_volumes], ids=lambda vanish: vanish.__name__)
def test_a_replica_that_just_vanished_is_proof_and_soon_is_none(
    vanish: Callable[[Lives], Awaitable[None]],
) -> None:
    """An order was under way when its proof went, with a restart or with a volume."""

    async def scenario(world: World, client: Client) -> None:
        await asyncio.sleep(QUICK_LIFE_S + 1)
        world.history.replicating.append(Replicating(PATH, 1))
        remover, (first, second) = world.holder_of_both()
        for lives in world.cluster.datanodes:
            if lives is not remover:
                await vanish(lives)
        remover.machine.storage.remove(first)
        assert world.cluster.found == []
        await asyncio.sleep(QUICK_LIFE_S + 1)
        remover.machine.storage.remove(second)
        _, error = world.cluster.found.pop()
        assert "left on nobody" in str(error)

    with_file(scenario)


def test_a_visible_file_that_is_removed_before_it_is_open_breaks_no_history() -> None:
    async def scenario(world: World, client: Client) -> None:
        other = world.cluster.inspector()
        await other.connect()
        made, removed = world.recorded(client), world.recorded(other)
        for step in range(40):
            start = made.start(Growth("/grown", [1]), 3)
            await asyncio.gather(start, _later(step * 0.0002, removed.delete("/grown")))
        await other.close()

    with_file(scenario)


async def _later(pause_s: float, doing: Awaitable[object]) -> None:
    await asyncio.sleep(pause_s)
    await doing


def test_a_connection_that_stays_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        idle_level = IdleLevel(world.cluster)
        await idle_level.learn()
        await idle_level.check()
        other = world.cluster.inspector()
        await other.connect()
        with pytest.raises(CheckFailed, match="'connections'"):
            await idle_level.check()
        await other.close()

    with_file(scenario)


def test_a_cluster_that_does_not_heal_in_time_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        await world.cluster.datanodes[0].kill()
        with pytest.raises(CheckFailed, match="not healed after"):
            await world.checkers.healing.wait(client)
        await world.cluster.datanodes[0].start()
        await world.check(client)

    with_file(scenario)


def test_a_replica_that_nobody_needs_is_found() -> None:
    async def scenario(world: World, client: Client) -> None:
        replicas = replicas_on(world.cluster)
        assert len(world.checkers.healing.left_over({}, replicas)) == 6
        assert world.checkers.healing.left_over(Stored(world.cluster).blocks, replicas) == []

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
            await world.checkers.check_stopped(cluster_id)

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
