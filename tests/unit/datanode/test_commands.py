"""Orders by themselves: when one is void, and what a failed check says of a replica.

A namenode that lost a datanode's connection, or planned a copy, no longer counts the replica as
gone: whatever order is left over from before must not be carried out any more (rule 24).
"""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from datanode.access import TokenCheck
from datanode.checks import Checks
from datanode.commands import CommandRunner
from datanode.copying import ReplicaCopier
from datanode.core.throttle import Throttle
from datanode.pulling import ReplicaPuller
from datanode.reporting import Reporter
from datanode.verification import Verifier
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    ReplicaState,
    TransferReplica,
)
from dolmen.protocol.identifiers import make_block_id
from dolmen.protocol.tokens import ClusterKeys
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_operations import DiskTimes
from dolmen.simulation.sim_transport import SimTransport
from tests.unit.datanode.test_block_store import CrowdedDisk, Scene
from tests.unit.datanode.world import BLOCK, World, content, digest_of

DATA = content(1000)
B1 = make_block_id(1, 1)


def runner_of(scene: Scene) -> CommandRunner:
    transport = SimTransport(SimNetwork(Random(1)), "datanode")
    tokens = TokenCheck(ClusterKeys(b"secret"), "datanode", lambda: 1)
    reporter, throttle = Reporter(Random(1)), Throttle(1 << 30, 0)
    copier = ReplicaCopier(
        ReplicaPuller(transport, 1.0, reporter.bad_source), scene.store, scene.writer
    )
    checks = Checks(Verifier(scene.store), reporter)
    return CommandRunner(
        scene.store, lambda order: copier.copy(order, throttle), tokens, checks, reporter
    )


def a_connection_is_lost(runner: CommandRunner) -> None:
    runner.connection_lost()


def a_copy_is_ordered(runner: CommandRunner) -> None:
    runner.take(TransferReplica(B1, 1, len(DATA), digest_of(DATA), b"no token"))


@pytest.mark.parametrize("happens", [a_connection_is_lost, a_copy_is_ordered])
def test_an_order_to_delete_that_waits_is_void_after(
    happens: Callable[[CommandRunner], None],
) -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        await scene.write(1, DATA)
        await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        runner = runner_of(scene)
        running = asyncio.create_task(runner.run())
        async with scene.store.gates.hold(B1):
            runner.take(InvalidateReplica(B1, 1))
            await asyncio.sleep(1)
            happens(runner)
        await asyncio.sleep(1)
        assert scene.store.find(B1, 1).state is ReplicaState.FINALIZED
        runner.take(InvalidateReplica(B1, 1))
        await asyncio.sleep(1)
        assert scene.store.get(B1) is None, "a new order counts"
        running.cancel()
        await asyncio.wait([running])

    scene.run(scenario())


def test_an_order_that_came_twice_is_carried_out_once() -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        await scene.write(1, DATA)
        await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        runner = runner_of(scene)
        running = asyncio.create_task(runner.run())
        async with scene.store.gates.hold(B1):
            runner.take(InvalidateReplica(B1, 1))
            await asyncio.sleep(1)
            runner.take(InvalidateReplica(B1, 1))
        await asyncio.sleep(1)
        deleted = [change for change in scene.changes if change.kind is ChangeKind.DELETED]
        assert len(deleted) == 1
        running.cancel()
        await asyncio.wait([running])

    scene.run(scenario())


def test_a_check_for_which_no_file_can_be_opened_says_nothing_of_the_replica() -> None:
    scene = Scene(1 << 30)

    async def scenario() -> None:
        await scene.write(1, DATA)
        await scene.writer.finalize(B1, 1, len(DATA), digest_of(DATA))
        runner = runner_of(scene)
        running = asyncio.create_task(runner.run())
        (volume,) = scene.store.volumes
        disk, volume.disk = volume.disk, CrowdedDisk(scene.storages[0], "datanode")
        runner.take(CheckReplica(B1, 1))
        await asyncio.sleep(1)
        volume.disk = disk
        assert scene.store.find(B1, 1).state is ReplicaState.FINALIZED
        assert await Verifier(scene.store).verify(B1, 1) == ""
        running.cancel()
        await asyncio.wait([running])

    scene.run(scenario())


def test_an_order_from_before_a_connection_was_lost_does_not_delete_what_is_reported_after_it() -> (
    None
):
    world = World()

    async def scenario() -> None:
        node = await world.start("a")
        (a,) = world.targets("a")
        await world.write(DATA, a)
        for disk in world.disks["a"]:
            disk.times = DiskTimes(sync_s=3.0)
        finalizing = asyncio.create_task(world.finalize(DATA, a))
        await asyncio.sleep(0.5)
        world.namenode.order(node.datanode_id, InvalidateReplica(BLOCK, 1))
        await asyncio.sleep(0.5)
        world.network.crash("namenode")
        await asyncio.sleep(0.5)
        listening = await world.listen()
        await finalizing
        await asyncio.sleep(5)
        assert len(world.namenode.registrations) == 2
        assert await world.read(a, (0, len(DATA))) == DATA
        assert ChangeKind.DELETED not in {change.kind for change in world.namenode.changes}
        await listening.close()

    world.run(scenario())
