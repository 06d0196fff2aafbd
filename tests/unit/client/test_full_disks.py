"""Writers that meet full disks: they go on elsewhere, or hear that nobody has room, in time."""

import asyncio
from random import Random
from typing import Any

import pytest

from dolmen.client.client import Client
from dolmen.protocol import block_messages as blocks
from dolmen.protocol.errors import DolmenError, NoSpace, PeerLost, TooFewDatanodes
from tests.unit.client.cluster import World, on_world
from tests.unit.client.scripted_datanode import ScriptedDatanode
from tests.unit.client.scripted_namenode import BLOCK_BYTES

DATA = Random(1).randbytes(2 * BLOCK_BYTES + 12345)
RETRY_FOR_S = 4.0


def become_full(datanode: ScriptedDatanode, kind: type = blocks.WriteSegment, at: int = 0) -> None:
    """Let a datanode refuse, for want of room, what is of this kind from the `at`-th on."""

    async def fault(head: Any) -> None:
        if isinstance(head, kind) and datanode.served[kind.__name__] >= at:
            raise NoSpace(f"volume of {datanode.name} is full")

    datanode.fault = fault


@pytest.mark.parametrize("position", ["d0", "d1", "d2"])
@pytest.mark.parametrize("after", [0, 3])
def test_one_full_datanode_costs_nothing(position: str, after: int) -> None:
    async def test(world: World, client: Client) -> None:
        become_full(world.datanodes[position], at=after)
        await client.write_file("/a", DATA)
        assert world.content("/a") == DATA

    on_world(test)


@pytest.mark.parametrize(
    ("kind", "after"),
    [(blocks.WriteSegment, 0), (blocks.WriteSegment, 3), (blocks.FinalizeReplica, 0)],
)
def test_when_nobody_has_room_the_writer_hears_so_within_retry_for(kind: type, after: int) -> None:
    async def test(world: World, client: Client) -> None:
        for datanode in world.datanodes.values():
            become_full(datanode, kind, after)
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(NoSpace, match="is full"):
            await client.write_file("/a", DATA)
        took_s = asyncio.get_running_loop().time() - begun_s
        assert RETRY_FOR_S <= took_s < RETRY_FOR_S + 2

    on_world(test, retry_for_ms=int(RETRY_FOR_S * 1000))


def test_restamping_and_copying_on_full_disks_is_told_as_such() -> None:
    async def test(world: World, client: Client) -> None:
        for datanode in world.datanodes.values():
            become_full(datanode, blocks.RestampReplica)
        become_full(world.datanodes["d0"], at=3)
        with pytest.raises(NoSpace):
            await client.write_file("/a", DATA)

    on_world(test, retry_for_ms=int(RETRY_FOR_S * 1000))


def test_datanodes_that_fail_otherwise_are_not_called_full() -> None:
    async def test(world: World, client: Client) -> None:
        async def lost(head: Any) -> None:
            if isinstance(head, blocks.WriteSegment):
                raise PeerLost("no answer")

        for datanode in world.datanodes.values():
            datanode.fault = lost
        with pytest.raises(DolmenError) as caught:
            await client.write_file("/a", DATA)
        assert isinstance(caught.value, TooFewDatanodes)

    on_world(test, retry_for_ms=int(RETRY_FOR_S * 1000))
