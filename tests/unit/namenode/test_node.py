"""A namenode process as clients and datanodes see it, in virtual time."""

import asyncio
from dataclasses import replace

import pytest

from dolmen.protocol import client_messages as messages
from dolmen.protocol.control_messages import (
    PROTOCOL_VERSION,
    Greet,
    decode_reply,
    encode_call,
)
from dolmen.protocol.errors import (
    AccessDenied,
    DolmenError,
    InvalidRequest,
    PeerLost,
    StartRefused,
    TooFewDatanodes,
    UnsupportedVersion,
    WrongCluster,
)
from dolmen.simulation.sim_transport import SimTransport
from namenode.node import Namenode, NamenodeOptions
from tests.unit.namenode.scripted_cluster import (
    DIGEST,
    LENGTH_BYTES,
    ScriptedClient,
    ScriptedDatanode,
    World,
    run,
)


def test_fewer_living_datanodes_than_must_hold_a_block_are_too_few() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        for datanode in datanodes[1:]:
            datanode.kill()
        created = await client.call(messages.CreateFile("/a"))
        with pytest.raises(TooFewDatanodes, match="1 of 3"):
            await client.call(messages.AllocateBlock(created.inode_id, 0))

    run(scenario)


def test_a_datanode_of_another_secret_and_a_copy_of_a_connected_one_are_refused() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        (datanode,) = await world.add_datanodes(1)
        stranger = ScriptedDatanode(world, 8)
        stranger._transport = SimTransport(world.network, "stranger")
        with pytest.raises(AccessDenied, match="secret"):
            await stranger.join(b"another secret of these tests...")
        twin = ScriptedDatanode(world, 0)
        twin.process, twin.address = "twin", "twin:9864"
        with pytest.raises(AccessDenied, match="connected already, from datanode0:9864"):
            await twin.start()
        again = ScriptedDatanode(world, 0)
        await again.start()
        with pytest.raises(InvalidRequest, match="replaced"):
            await datanode.report_in_full()

    run(scenario)


@pytest.mark.parametrize(
    ("greet", "error", "text"),
    [
        (Greet(99, "client", "", b""), UnsupportedVersion, "install the same dolmen"),
        (Greet(PROTOCOL_VERSION, "client", "f" * 32, b""), WrongCluster, "its own namenode"),
        (Greet(PROTOCOL_VERSION, "admiral", "", b""), InvalidRequest, "no role"),
        (Greet(PROTOCOL_VERSION, "datanode", "", b"short"), InvalidRequest, "nonce"),
    ],
)
def test_a_greeting_that_does_not_fit_is_refused(
    greet: Greet, error: type[DolmenError], text: str
) -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        connection = await SimTransport(world.network, "other").connect("namenode:9870", 1.0)
        with pytest.raises(error, match=text):
            decode_reply(await connection.call(encode_call(greet), 1.0))

    run(scenario)


def test_a_namenode_refuses_an_address_that_others_reach() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        options = NamenodeOptions(directory="/data/other", host="0.0.0.0")
        with pytest.raises(StartRefused, match="--insecure"):
            await Namenode(world.host.machine(), options).start()

    run(scenario)


def test_a_second_namenode_on_the_same_directory_is_refused() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        options = NamenodeOptions(directory=world.host.directory, port=0)
        with pytest.raises(StartRefused):
            await Namenode(world.host.machine(), options).start()

    run(scenario)


def test_a_failed_append_ends_the_process_and_the_next_one_knows_what_was_answered() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        await client.call(messages.MakeDirectory("/kept"))
        world.host.storage.device.syncs_to_fail = 1
        with pytest.raises(PeerLost):
            await client.call(messages.MakeDirectory("/lost"))
        assert world.namenode is not None
        with pytest.raises(OSError, match="Input/output error"):
            await world.namenode.wait()
        world.host.kill()
        await world.start_namenode()
        await client.connect()
        listing = await client.call(messages.ListDirectory("/"))
        assert "kept" in [entry.path.strip("/") for entry in listing.entries]

    run(scenario)


def test_a_stopped_namenode_ends_without_an_error_and_starts_again() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        assert world.namenode is not None
        waiting = asyncio.create_task(world.namenode.wait())
        await client.call(messages.MakeDirectory("/kept"))
        await world.stop_namenode()
        await waiting
        await world.start_namenode()
        await client.connect()
        assert (await client.call(messages.GetInfo("/kept"))).path == "/kept"

    run(scenario)


def test_a_port_in_use_is_refused_and_leaves_the_directory_free() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        other = replace(world.host.machine(), transport=SimTransport(world.network, "namenode"))
        options = NamenodeOptions(directory="/data/other", host="namenode", insecure=True)
        for _ in range(2):
            with pytest.raises(StartRefused, match="port 9870"):
                await Namenode(other, options).start()

    run(scenario)


def test_a_publish_waits_for_the_datanodes_that_must_have_the_block() -> None:
    async def scenario(world: World, client: ScriptedClient) -> None:
        datanodes = await world.add_datanodes(3)
        created = await client.call(messages.CreateFile("/a"))
        block = await client.call(messages.AllocateBlock(created.inode_id, 0))
        by_id = {d.datanode_id: d for d in datanodes}
        first, second, _ = (by_id[target.datanode_id] for target in block.targets)
        last = messages.CommittedBlock(block.block_id, block.stamp, LENGTH_BYTES, DIGEST)
        publish = messages.PublishFile(created.inode_id, "/a", last, bytes(16))
        with pytest.raises(TooFewDatanodes):
            await client.call(publish)
        publishing = asyncio.create_task(client.call(publish))
        await first.store(block.block_id, block.stamp)
        await asyncio.sleep(1)
        assert not publishing.done()
        await second.store(block.block_id, block.stamp)
        assert (await publishing).path == "/a"

    run(scenario)
