"""What becomes of replicas when files are extended, cut and joined, in virtual time."""

import asyncio

import pytest

from dolmen.protocol import client_messages as messages
from dolmen.protocol.draft_messages import ConcatFiles, ExtendFile, LocateBlock, OpenDraft
from dolmen.protocol.errors import StaleHandle
from dolmen.protocol.operator_messages import Inspection, InspectTree, SetAdminState
from tests.unit.namenode.scripted_cluster import (
    DIGEST,
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


async def inspect(client: ScriptedClient) -> Inspection:
    page = await client.call(InspectTree("/", "", 1000))
    assert isinstance(page, Inspection)
    return page


async def write_block(
    client: ScriptedClient, datanodes: list[ScriptedDatanode], draft_id: int
) -> messages.CommittedBlock:
    by_id = {datanode.datanode_id: datanode for datanode in datanodes}
    block = await client.call(messages.AllocateBlock(draft_id, 0))
    for target in block.targets:
        await by_id[target.datanode_id].store(block.block_id, block.stamp)
    return messages.CommittedBlock(block.block_id, block.stamp, LENGTH_BYTES, DIGEST)


def test_an_appended_block_is_kept_replicated_and_a_replaced_one_goes_after_its_readers() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        old_id = await client.write("/a", datanodes)
        await client.call(messages.OpenFile("/a"))
        draft = await client.call(OpenDraft("/a"))
        last = await write_block(client, datanodes, draft.draft_id)
        page = await inspect(client)
        assert (page.files, page.blocks, page.open_files, page.trash_files) == (1, 1, 1, 0)
        info = await client.call(ExtendFile(draft.draft_id, 0, LENGTH_BYTES, last))
        assert info.length_bytes == LENGTH_BYTES
        page = await inspect(client)
        assert (page.files, page.blocks, page.open_files, page.trash_files) == (1, 1, 1, 0)
        report = await client.report()
        assert (report.files, report.blocks, healthy(report)) == (1, 1, True)
        located = await client.call(LocateBlock(old_id))
        assert len(located.blocks[0].replicas) == 3
        await until(lambda: not holders(datanodes, old_id))
        with pytest.raises(StaleHandle):
            await client.call(LocateBlock(old_id))
        holders(datanodes, last.block_id)[0].kill()
        await until_report(client, lambda report: report.dead_datanodes == 1 and healthy(report))
        assert sum(last.block_id in d.replicas for d in datanodes) == 4, "the dead one's too"

    run(scenario)


def test_what_is_joined_to_a_file_gets_its_replication() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes, replication=3)
        joined_id = await client.write("/b", datanodes, replication=1)
        assert len(holders(datanodes, joined_id)) == 1
        await client.call(ConcatFiles("/a", ("/b",)))
        await until(lambda: len(holders(datanodes, joined_id)) == 3)
        report = await until_report(client, healthy)
        assert (report.files, report.blocks) == (1, 2)

    run(scenario)


def test_a_datanode_does_not_leave_while_a_draft_is_written_to_it() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(4)
        await client.write("/a", datanodes)
        draft = await client.call(OpenDraft("/a"))
        last = await write_block(client, datanodes, draft.draft_id)
        leaving = holders(datanodes, last.block_id)[0]
        await client.call(SetAdminState(leaving.datanode_id, "DECOMMISSIONING"))
        await asyncio.sleep(5)
        states = {d.id: d.admin_state for d in (await client.report()).datanodes}
        assert states[leaving.datanode_id] == "DECOMMISSIONING"
        end = ExtendFile(draft.draft_id, LENGTH_BYTES, LENGTH_BYTES, last, final=True)
        await client.call(end)
        await until_report(
            client, lambda report: "DECOMMISSIONED" in [d.admin_state for d in report.datanodes]
        )
        assert len([d for d in holders(datanodes, last.block_id) if d is not leaving]) == 3

    run(scenario)


def test_files_and_what_they_gave_up_are_the_same_after_a_kill() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        old_id = await client.write("/a", datanodes)
        draft = await client.call(OpenDraft("/a"))
        last = await write_block(client, datanodes, draft.draft_id)
        info = await client.call(ExtendFile(draft.draft_id, 0, 500, last, modified_ms=7))
        await world.kill_namenode()
        for datanode in datanodes:
            datanode.kill()
        namenode = await world.start_namenode()
        await client.connect()
        for datanode in datanodes:
            await datanode.start()
        opened = await client.call(messages.OpenFile("/a"))
        assert (opened.info, opened.blocks[0].block_id) == (info, last.block_id)
        namenode.check_invariants()
        await until(lambda: not holders(datanodes, old_id))
        await client.call(ExtendFile(draft.draft_id, LENGTH_BYTES, LENGTH_BYTES, final=True))
        namenode.check_invariants()

    run(scenario)
