"""Datanodes that leave, rest and serve again, on a namenode whose datanodes only talk."""

import asyncio
from typing import Any

import pytest

from dolmen.protocol import client_messages as messages
from dolmen.protocol.datanode_messages import Health, InvalidateReplica
from dolmen.protocol.errors import InvalidRequest, SafeMode
from dolmen.protocol.operator_messages import (
    ChangeSafeMode,
    CheckpointWritten,
    DatanodeReport,
    DatanodeReported,
    SafeModeAction,
    SafeModeState,
    SetAdminState,
    WriteCheckpoint,
)
from tests.unit.namenode.scripted_cluster import (
    ScriptedClient,
    ScriptedDatanode,
    World,
    healthy,
    holders,
    run,
    until,
    until_report,
)


async def set_state(client: ScriptedClient, name: str, state: str, until_ms: int = 0) -> str:
    reply = await client.call(SetAdminState(name, state, until_ms))
    assert isinstance(reply, DatanodeReported)
    return reply.datanode.admin_state


async def until_state(client: ScriptedClient, datanode: ScriptedDatanode, state: str) -> None:
    def reached(report: Any) -> bool:
        return of(report, datanode).admin_state == state

    await until_report(client, reached)


def of(report: Any, datanode: ScriptedDatanode) -> DatanodeReport:
    found: DatanodeReport = next(d for d in report.datanodes if d.id == datanode.datanode_id)
    return found


def invalidated(datanodes: list[ScriptedDatanode]) -> list[object]:
    return [c for d in datanodes for c in d.commands if isinstance(c, InvalidateReplica)]


def test_a_decommissioned_datanode_is_not_needed_and_can_be_taken_away() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_ids = [await client.write(f"/f{number}", datanodes) for number in range(8)]
        leaving = holders(datanodes, block_ids[0])[0]
        assert await set_state(client, leaving.address, "DECOMMISSIONING") == "DECOMMISSIONING"
        await until_state(client, leaving, "DECOMMISSIONED")
        staying = [datanode for datanode in datanodes if datanode is not leaving]
        assert all(len(holders(staying, block_id)) == 3 for block_id in block_ids)
        assert block_ids[0] in leaving.replicas, "its replicas stay on its disks"
        leaving.kill()
        await asyncio.sleep(3)
        report = await client.report()
        assert healthy(report)
        assert report.dead_datanodes == 0, "nobody is warned of one that has left"
        assert of(report, leaving).state == "DEAD"

    run(scenario)


def test_the_state_outlasts_a_restart_of_the_namenode() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await set_state(client, datanodes[0].datanode_id, "MAINTENANCE")
        await set_state(client, datanodes[1].datanode_id, "DECOMMISSIONING")
        await until_state(client, datanodes[1], "DECOMMISSIONED")
        await world.kill_namenode()
        await world.start_namenode()
        await client.connect()
        report = await client.report()
        states = [of(report, datanode).admin_state for datanode in datanodes]
        assert states == ["MAINTENANCE", "DECOMMISSIONED", "IN_SERVICE"]

    run(scenario)


def test_a_block_being_written_to_it_keeps_a_datanode_from_leaving() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        created = await client.call(messages.CreateFile("/open", replication=3))
        block = await client.call(messages.AllocateBlock(created.inode_id, 0))
        leaving = next(d for d in datanodes if d.datanode_id == block.targets[0].datanode_id)
        await set_state(client, leaving.address, "DECOMMISSIONING")
        report = await until_report(client, lambda now: of(now, leaving).draining_open_blocks == 1)
        assert of(report, leaving).draining_blocks == 0
        await asyncio.sleep(5)
        assert of(await client.report(), leaving).admin_state == "DECOMMISSIONING"
        await client.call(messages.AbandonFile(created.inode_id))
        await until_state(client, leaving, "DECOMMISSIONED")

    run(scenario)


def test_new_blocks_go_elsewhere_and_readers_come_last() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/f", datanodes)
        await set_state(client, datanodes[0].address, "DECOMMISSIONING")
        created = await client.call(messages.CreateFile("/g", replication=3))
        block = await client.call(messages.AllocateBlock(created.inode_id, 0))
        chosen = {target.datanode_id for target in block.targets}
        assert chosen == {datanode.datanode_id for datanode in datanodes[1:]}
        opened = await client.call(messages.OpenFile("/f"))
        assert opened.blocks[0].replicas[-1].datanode_id == datanodes[0].datanode_id

    run(scenario)


def test_with_too_few_others_a_datanode_leaves_when_all_of_them_have_the_block() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/f", datanodes)
        await set_state(client, datanodes[0].address, "DECOMMISSIONING")
        await until_state(client, datanodes[0], "DECOMMISSIONED")
        report = await client.report()
        assert report.under_replicated_blocks == 1
        assert report.missing_blocks == 0

    run(scenario)


def test_a_recommissioned_datanode_counts_again_and_excess_goes() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/f", datanodes)
        leaving = holders(datanodes, block_id)[0]
        await set_state(client, leaving.address, "DECOMMISSIONING")
        await until_state(client, leaving, "DECOMMISSIONED")
        assert len(holders(datanodes, block_id)) == 4
        assert not invalidated(datanodes), "nobody deletes because of one that leaves"
        assert await set_state(client, leaving.address, "IN_SERVICE") == "IN_SERVICE"
        await until(lambda: len(holders(datanodes, block_id)) == 3)
        assert healthy(await until_report(client, healthy))

    run(scenario)


def test_a_datanode_that_dies_while_it_leaves_goes_on_when_it_is_back() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/f", datanodes, replication=1)
        only = holders(datanodes, block_id)[0]
        others = [datanode for datanode in datanodes if datanode is not only]
        for datanode in others:
            datanode.obedient = False
        await set_state(client, only.address, "DECOMMISSIONING")
        only.kill()
        report = await until_report(client, lambda now: of(now, only).state == "DEAD")
        await asyncio.sleep(3)
        report = await client.report()
        assert of(report, only).admin_state == "DECOMMISSIONING"
        assert report.missing_blocks == 1
        for datanode in others:
            datanode.obedient = True
        await only.start()
        await asyncio.sleep(30)  # copies that nobody made are planned again
        await until_state(client, only, "DECOMMISSIONED")
        assert len(holders(others, block_id)) == 1

    run(scenario)


def test_a_dead_datanode_has_left_when_its_blocks_are_elsewhere() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/f", datanodes)
        dead = holders(datanodes, block_id)[0]
        dead.kill()
        await until_report(client, lambda now: of(now, dead).state == "DEAD")
        await set_state(client, dead.address, "DECOMMISSIONING")
        await until_state(client, dead, "DECOMMISSIONED")
        assert healthy(await client.report())

    run(scenario)


def test_nothing_is_copied_because_of_a_datanode_that_rests() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/f", datanodes)
        resting = holders(datanodes, block_id)[0]
        await set_state(client, resting.address, "MAINTENANCE")
        await until_report(client, lambda now: not of(now, resting).draining_blocks)
        resting.kill()
        await until_report(client, lambda now: of(now, resting).state == "DEAD")
        await asyncio.sleep(5)
        assert len(holders(datanodes, block_id)) == 3, "none was made meanwhile"
        assert healthy(await client.report())
        await set_state(client, resting.address, "IN_SERVICE")
        await until(lambda: len(holders(datanodes, block_id)) == 4)

    run(scenario)


def test_before_it_rests_every_block_is_durable_elsewhere() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/f", datanodes, replication=1)
        resting = holders(datanodes, block_id)[0]
        await set_state(client, resting.address, "MAINTENANCE")
        await until_report(client, lambda now: not of(now, resting).draining_blocks)
        assert len(holders(datanodes, block_id)) == 2

    run(scenario)


def test_maintenance_ends_by_itself() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/f", datanodes)
        resting = holders(datanodes, block_id)[0]
        now_ms = world.host.machine().wall_clock_ms()
        await set_state(client, resting.address, "MAINTENANCE", now_ms + 20_000)
        resting.kill()
        await asyncio.sleep(10)
        assert len(holders(datanodes, block_id)) == 3
        await until_state(client, resting, "IN_SERVICE")
        await until(lambda: len(holders(datanodes, block_id)) == 4)

    run(scenario)


@pytest.mark.parametrize(
    ("name", "state", "until_ms", "told"),
    [
        ("nobody", "DECOMMISSIONING", 0, "there are: datanode0:9864"),
        ("", "DECOMMISSIONING", 0, "is no datanode's id"),
        ("0" * 31, "DECOMMISSIONING", 0, "may be any of these"),
        ("datanode0:9864", "DECOMMISSIONED", 0, "is set to IN_SERVICE"),
        ("datanode0:9864", "asleep", 0, "not to 'asleep'"),
        ("datanode0:9864", "MAINTENANCE", 1, "in the future"),
        ("datanode0:9864", "MAINTENANCE", 1 << 60, "in the future"),
        ("datanode0:9864", "IN_SERVICE", 1, "only maintenance has an end"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, state: str, until_ms: int, told: str) -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        await world.add_datanodes(2)
        with pytest.raises(InvalidRequest, match=told):
            await set_state(client, name, state, until_ms)

    run(scenario)


def test_who_leaves_cannot_rest() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/f", datanodes, replication=1)
        address = datanodes[0].address
        await set_state(client, address, "DECOMMISSIONING")
        with pytest.raises(InvalidRequest, match=r"recommission it first|stopped at once"):
            await set_state(client, address, "MAINTENANCE")
        await until_state(client, datanodes[0], "DECOMMISSIONED")
        assert await set_state(client, address, "DECOMMISSIONING") == "DECOMMISSIONED"

    run(scenario)


def test_safe_mode_by_hand_refuses_changes_until_it_is_left() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/f", datanodes)
        state = await client.call(ChangeSafeMode(SafeModeAction.ENTER))
        assert isinstance(state, SafeModeState)
        assert state.on
        assert "entered by hand by ann" in state.reason
        with pytest.raises(SafeMode, match="by hand"):
            await client.call(messages.MakeDirectory("/d"))
        assert (await client.call(messages.GetInfo("/f"))).length_bytes
        assert "by hand" in (await client.report()).safe_mode_reason
        assert await set_state(client, datanodes[0].address, "MAINTENANCE") == "MAINTENANCE"
        await asyncio.sleep(5)
        assert (await client.call(ChangeSafeMode())).on
        assert not (await client.call(ChangeSafeMode(SafeModeAction.LEAVE))).on
        await client.call(messages.MakeDirectory("/d"))

    run(scenario)


def test_who_leaves_safe_mode_gives_up_a_lost_future_and_nothing_of_it_is_deleted() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        known = await client.write("/f", datanodes)
        lost = known + (50 << 4)
        await datanodes[0].store(lost, 60)
        assert (await client.report()).safe_mode
        state = await client.call(ChangeSafeMode(SafeModeAction.LEAVE))
        assert not state.on
        assert "given up" in state.reason
        assert await client.write("/g", datanodes) > lost
        await datanodes[0].report_in_full()
        await asyncio.sleep(5)
        assert lost in datanodes[0].replicas
        assert not invalidated(datanodes)
        assert healthy(await client.report())

    run(scenario)


def test_a_checkpoint_is_written_when_somebody_asks() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        await client.call(messages.MakeDirectory("/d"))
        first = await client.call(WriteCheckpoint())
        assert isinstance(first, CheckpointWritten)
        assert first == await client.call(WriteCheckpoint()), "nothing has changed since"
        await client.call(messages.MakeDirectory("/e"))
        asked = await asyncio.gather(*(client.call(WriteCheckpoint()) for _ in range(3)))
        assert all(written.txid > first.txid for written in asked)

    run(scenario)


def test_what_a_datanode_says_of_its_disks_is_in_the_report() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(1)
        datanodes[0].health = health = Health(("/d/1: it is read-only",), 2, 3000, 77)
        await asyncio.sleep(1)
        told = of(await client.report(), datanodes[0])
        assert told.failed_volumes == health.failed_volumes
        assert (told.quarantined_replicas, told.quarantined_bytes) == (2, 3000)
        assert told.oldest_unverified_ms == 77
        assert told.free_bytes == 1 << 40

    run(scenario)
