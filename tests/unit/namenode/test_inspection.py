"""`fsck` as the namenode answers it: what it finds page by page, and what verifying brings up."""

import asyncio
from typing import Any

import pytest

from dolmen.protocol import client_messages as messages
from dolmen.protocol.control_messages import MESSAGE_LIMIT_BYTES, encode_reply
from dolmen.protocol.datanode_messages import CheckReplica, QuarantineReplica
from dolmen.protocol.errors import InvalidRequest, NoSuchPath
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.operator_messages import (
    Inspection,
    InspectTree,
    ProblemKind,
    Verification,
    VerifyBlocks,
)
from tests.unit.namenode.scripted_cluster import (
    DIGEST,
    LENGTH_BYTES,
    ScriptedClient,
    ScriptedDatanode,
    World,
    healthy,
    run,
    until,
    until_report,
)


async def inspect(client: ScriptedClient, path: str = "/", limit: int = 1000) -> list[Inspection]:
    pages, after, more = [], "", True
    while more:
        page = await client.call(InspectTree(path, after, limit))
        assert isinstance(page, Inspection)
        assert len(encode_reply(page)) < MESSAGE_LIMIT_BYTES
        pages.append(page)
        after, more = page.after, page.more
    return pages


async def verify(client: ScriptedClient, path: str = "/", limit: int = 100) -> list[Verification]:
    pages, after, more = [], "", True
    while more:
        page = await client.call(VerifyBlocks(path, after, limit))
        assert isinstance(page, Verification)
        if not page.pending:
            pages.append(page)
            after, more = page.after, page.more
    return pages


def found(pages: list[Inspection]) -> list[tuple[str, str, int, int]]:
    return [(p.path, p.kind.name, p.live, p.wanted) for page in pages for p in page.problems]


async def write_long(client: ScriptedClient, datanodes: list[ScriptedDatanode], path: str) -> None:
    """Write a file of three blocks."""
    by_id = {datanode.datanode_id: datanode for datanode in datanodes}
    created = await client.call(messages.CreateFile(path, block_size_bytes=65536))
    last = None
    for index in range(3):
        block = await client.call(messages.AllocateBlock(created.inode_id, index, last))
        for target in block.targets:
            await by_id[target.datanode_id].store(block.block_id, block.stamp)
        last = messages.CommittedBlock(block.block_id, block.stamp, LENGTH_BYTES, DIGEST)
    await client.call(messages.PublishFile(created.inode_id, path, last, bytes(16)))


def test_a_healthy_tree_is_counted_and_has_no_problems() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.call(messages.MakeDirectory("/d"))
        for name in ("a", "b"):
            await client.write(f"/d/{name}", datanodes)
        await write_long(client, datanodes, "/long")
        await client.call(messages.CreateFile("/open"))
        (page,) = await inspect(client)
        assert (page.files, page.directories, page.blocks, page.replicas) == (3, 2, 5, 15)
        assert (page.length_bytes, page.open_files) == (5 * LENGTH_BYTES, 1)
        assert page.problems == ()
        (page,) = await inspect(client, "/d/a")
        assert (page.files, page.directories, page.blocks) == (1, 0, 1)

    run(scenario)


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_small_pages_find_the_same(limit: int) -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(2)
        await write_long(client, datanodes, "/long")
        await client.write("/small", datanodes)
        pages = await inspect(client, limit=limit)
        assert sum(page.files for page in pages) == 2
        assert sum(page.blocks for page in pages) == 4
        assert found(pages) == [
            *[("/long", "UNDER_REPLICATED", 2, 3)] * 3,
            ("/small", "UNDER_REPLICATED", 2, 3),
        ]
        reasons = {problem.reason for page in pages for problem in page.problems}
        assert reasons == {"no other datanode: 2 usable, 3 wanted"}

    run(scenario)


def test_deleted_files_are_in_trash_and_no_problem_of_a_path() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(1)
        await client.write("/a", datanodes)
        await client.call(messages.Delete("/a"))
        (page,) = await inspect(client)
        assert (page.files, page.trash_files, page.problems) == (0, 1, ())

    run(scenario)


def test_a_block_without_a_replica_is_missing_and_says_since_when() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(2)
        await client.write("/a", datanodes, replication=1)
        for datanode in datanodes:
            datanode.kill()
        await until_report(client, lambda report: report.missing_blocks == 1)
        (page,) = await inspect(client)
        assert found([page]) == [("/a", "MISSING", 0, 1)]
        assert "comes back with datanode" in page.problems[0].reason

    run(scenario)


def test_what_is_not_there_is_refused() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        await world.add_datanodes(1)
        await client.call(messages.MakeDirectory("/d"))
        requests: list[Any] = [InspectTree("/x"), VerifyBlocks("/x")]
        for request in requests:
            with pytest.raises(NoSuchPath):
                await client.call(request)
        for request in (InspectTree("/", limit=0), VerifyBlocks("/", limit=0)):
            with pytest.raises(InvalidRequest):
                await client.call(request)

    run(scenario)


def test_verification_asks_every_holder_and_damage_is_healed() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        block_id = await client.write("/a", datanodes)
        await write_long(client, datanodes, "/long")
        datanodes[1].bad.add(block_id)
        (page,) = await verify(client)
        assert (page.sound, page.damaged, page.unanswered) == (11, 1, 0)
        (finding,) = page.findings
        assert (finding.path, format_block_id(finding.block_id)) == ("/a", f"{block_id:016x}")
        assert finding.kind is ProblemKind.CORRUPT
        assert finding.reason == "found damaged on datanode1:9864: chunk 3 fails its checksum"
        (inspected,) = await inspect(client)
        assert found([inspected]) == [("/a", "CORRUPT", 2, 3)]
        assert "datanode1:9864" in inspected.problems[0].reason
        await until_report(client, healthy)
        assert any(isinstance(command, QuarantineReplica) for command in datanodes[1].commands)
        assert (await verify(client))[0].damaged == 0

    run(scenario)


def test_a_page_at_a_time_verifies_the_same() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        for name in ("/a", "/b"):
            await client.write(name, datanodes)
        pages = await verify(client, limit=1)
        assert sum(page.sound for page in pages) >= 6
        checks = [c for d in datanodes for c in d.commands if isinstance(c, CheckReplica)]
        assert len(checks) == 6

    run(scenario)


def test_two_who_verify_the_same_share_it() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes)
        other = ScriptedClient(world)
        await other.connect()
        one, two = await asyncio.gather(verify(client), verify(other))
        assert [page.sound for page in (*one, *two)] == [3, 3]

    run(scenario)


def test_a_datanode_that_dies_while_it_checks_leaves_its_replicas_unanswered() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        await client.write("/a", datanodes)
        datanodes[0].obedient = False
        waiting = asyncio.create_task(verify(client))
        await until(lambda: len(datanodes[0].commands) == 1)
        datanodes[0].kill()
        (page,) = await waiting
        assert (page.sound, page.unanswered) == (2, 1)

    run(scenario)
