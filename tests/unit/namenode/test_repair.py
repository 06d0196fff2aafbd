"""A namenode keeps its blocks replicated, whatever its datanodes do, in virtual time."""

import asyncio

import pytest

from dolmen.protocol import client_messages as messages
from dolmen.protocol.datanode_messages import (
    ChangeKind,
    CheckReplica,
    InvalidateReplica,
    ReplicaReport,
    TransferReplica,
)
from dolmen.protocol.errors import (
    SafeMode,
)
from dolmen.protocol.identifiers import make_block_id
from tests.unit.namenode.scripted_cluster import (
    DIGEST,
    FINALIZED,
    LENGTH_BYTES,
    ScriptedClient,
    ScriptedDatanode,
    World,
    healthy,
    holders,
    run,
    until,
    until_report,
)


def test_a_file_is_written_and_the_report_says_that_all_is_well() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes)
        report = await client.report()
        assert healthy(report)
        assert (report.live_datanodes, report.files, report.blocks) == (3, 1, 1)
        assert [datanode.blocks for datanode in report.datanodes] == [1, 1, 1]
        assert all(datanode.state == "LIVE" for datanode in report.datanodes)

    run(scenario)


def test_a_dead_datanode_gets_its_blocks_copied_elsewhere_and_the_excess_goes_when_it_returns() -> (
    None
):
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/a", datanodes)
        lost = holders(datanodes, block_id)[0]
        spare = next(d for d in datanodes if block_id not in d.replicas)
        lost.kill()
        report = await until_report(client, lambda report: report.stale_datanodes == 1)
        assert healthy(report), "a STALE datanode's replicas count"
        assert spare.commands == []
        await until_report(client, lambda report: report.under_replicated_blocks == 1)
        await until_report(client, lambda report: report.dead_datanodes == 1 and healthy(report))
        assert block_id in spare.replicas
        await lost.start()
        await until_report(client, lambda report: report.live_datanodes == 4 and healthy(report))
        assert len(holders(datanodes, block_id)) == 3

    run(scenario)


def test_a_datanode_that_comes_back_in_time_costs_nothing() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        block_id = await client.write("/a", datanodes)
        lost = holders(datanodes, block_id)[0]
        lost.kill()
        await asyncio.sleep(0.8)
        await lost.start()
        await asyncio.sleep(5)
        assert healthy(await client.report())
        assert [d.commands for d in datanodes] == [[], [], [], []]

    run(scenario)


def test_the_third_replica_of_a_file_just_published_is_waited_for() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        created = await client.call(messages.CreateFile("/a"))
        block = await client.call(messages.AllocateBlock(created.inode_id, 0))
        by_id = {d.datanode_id: d for d in datanodes}
        first, second, third = (by_id[target.datanode_id] for target in block.targets)
        for datanode in (first, second):
            await datanode.store(block.block_id, block.stamp)
        last = messages.CommittedBlock(block.block_id, block.stamp, LENGTH_BYTES, DIGEST)
        await client.call(messages.PublishFile(created.inode_id, "/a", last, bytes(16)))
        assert (await client.report()).under_replicated_blocks == 1
        await asyncio.sleep(0.3)
        await third.store(block.block_id, block.stamp)
        assert healthy(await client.report())
        await asyncio.sleep(2)
        assert all(d.commands == [] for d in datanodes)

    run(scenario)


def test_a_corrupt_replica_is_healed_in_place_when_no_other_datanode_can_take_it() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        bad = datanodes[1]
        stamp = bad.replicas[block_id].stamp
        await client.call(messages.ReportCorruptReplica(block_id, stamp, bad.datanode_id))
        await until(lambda: CheckReplica(block_id, stamp) in bad.commands)
        await bad.drop(block_id, ChangeKind.CORRUPT)
        assert (await client.report()).corrupt_replicas == 1
        await until_report(client, healthy)
        assert block_id in bad.replicas
        assert any(isinstance(command, TransferReplica) for command in bad.commands)

    run(scenario)


def test_a_replica_that_is_not_what_was_committed_is_replaced_on_three_datanodes() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        stamp = datanodes[0].replicas[block_id].stamp
        await datanodes[0].take(ReplicaReport(block_id, stamp, 7, FINALIZED, b"x" * 16))
        report = await client.report()
        assert (report.under_replicated_blocks, report.corrupt_replicas) == (1, 1)
        await until_report(client, healthy)
        assert datanodes[0].replicas[block_id].length_bytes == LENGTH_BYTES

    run(scenario)


def test_blocks_of_a_deleted_file_go_after_their_time_also_from_a_datanode_that_was_away() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        away = datanodes[0]
        away.kill()
        await client.call(messages.Delete("/a"))
        assert healthy(await client.report())
        await until(lambda: len(holders(datanodes, block_id)) == 1)
        await away.start()
        await until(lambda: not holders(datanodes, block_id))

    run(scenario)


def test_an_order_that_is_not_confirmed_is_repeated() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        for datanode in datanodes:
            datanode.obedient = False
        block_id = await client.write("/a", datanodes)
        await client.call(messages.Delete("/a"))
        await asyncio.sleep(5)
        orders = [c for c in datanodes[0].commands if isinstance(c, InvalidateReplica)]
        assert len(orders) >= 2
        assert {order.block_id for order in orders} == {block_id}

    run(scenario)


def test_more_replicas_than_datanodes_are_shown_as_under_replicated() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(1)
        block_id = await client.write("/a", datanodes)
        await asyncio.sleep(2)
        assert (await client.report()).under_replicated_blocks == 1
        more = ScriptedDatanode(world, 7)
        await more.start()
        await until(lambda: block_id in more.replicas)
        assert (await client.report()).under_replicated_blocks == 1

    run(scenario)


def test_lowering_the_replication_removes_the_excess() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        await client.call(messages.SetAttributes("/a", replication=2))
        await until(lambda: len(holders(datanodes, block_id)) == 2)
        await until_report(client, healthy)
        await client.call(messages.SetAttributes("/a", replication=3))
        await until(lambda: len(holders(datanodes, block_id)) == 3)
        await until_report(client, healthy)

    run(scenario)


def test_safe_mode_lasts_until_the_blocks_are_reported_after_a_restart() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes)
        await world.kill_namenode()
        for datanode in datanodes:
            datanode.kill()
        await world.start_namenode()
        await client.connect()
        report = await client.report()
        assert (report.safe_mode, report.missing_blocks) == (True, 1)
        assert report.stale_datanodes == 3
        with pytest.raises(SafeMode, match="0 of 1 blocks"):
            await client.call(messages.MakeDirectory("/d"))
        await datanodes[0].start()
        await client.call(messages.MakeDirectory("/d"))
        await datanodes[1].start()
        await datanodes[2].start()
        await until_report(client, healthy)
        assert all(d.commands == [] for d in datanodes), "nothing was copied for nothing"

    run(scenario)


def test_after_a_restart_what_nobody_has_is_missing_and_holds_up_nobody() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes)
        await world.kill_namenode()
        for datanode in datanodes:
            datanode.kill()
            datanode.replicas.clear()
        await world.start_namenode()
        await client.connect()
        for datanode in datanodes:
            await datanode.start()
        report = await until_report(client, lambda report: not report.safe_mode)
        report = await until_report(client, lambda report: report.missing_blocks == 1)
        assert report.under_replicated_blocks == 0
        await client.call(messages.MakeDirectory("/d"))

    run(scenario)


def test_a_block_from_the_future_stops_every_change_and_every_deletion() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        future_id = make_block_id(block_id >> 48, 1000)
        await datanodes[0].take(ReplicaReport(future_id, 1, 1, FINALIZED, DIGEST))
        assert (await client.report()).safe_mode
        with pytest.raises(SafeMode, match="rolled back"):
            await client.call(messages.Delete("/a"))
        assert datanodes[0].commands == []

    run(scenario)
