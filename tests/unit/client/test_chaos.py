"""Writers while datanodes and the namenode come and go and connections are reset, from seeds."""

import asyncio
from random import Random

import pytest

from dolmen.client.client import Client
from dolmen.protocol.errors import DolmenError
from dolmen.simulation.virtual_time import run
from tests.unit.client.cluster import World

LENGTHS = (0, 100, 70_000, 600_000, 1_500_000)
ALIVE_MIN = 3


async def make_trouble(world: World, random: Random) -> None:
    """Kill and start processes for ever, so that a pipeline can always be made."""
    while True:
        await asyncio.sleep(random.uniform(0.001, 0.2))
        datanode = random.choice(list(world.datanodes.values()))
        alive = sum(each.alive for each in world.datanodes.values())
        if not datanode.alive:
            await datanode.start()
        elif alive > ALIVE_MIN and random.random() < 0.5:
            datanode.kill()
        if random.random() < 0.1:
            world.namenode.kill()
            await asyncio.sleep(random.uniform(0, 0.3))
            await world.namenode.start()


async def write(client: Client, path: str, random: Random) -> bytes | None:
    """Write a file piece by piece; return its bytes, or None if it could not be written."""
    data = random.randbytes(random.choice(LENGTHS))
    try:
        async with await client.open_writer(path) as writer:
            at = 0
            while at < len(data):
                step = random.choice((1000, 64 * 1024, 200_000))
                await writer.write(data[at : at + step])
                at += step
                await asyncio.sleep(random.uniform(0, 0.02))
    except DolmenError:
        return None
    return data


@pytest.mark.parametrize("seed", range(8))
def test_what_a_close_returned_for_is_there_whatever_happened_meanwhile(seed: int) -> None:
    async def main() -> None:
        random = Random(seed)
        world = await World(datanodes=5, seed=seed).start()
        world.network.conditions.reset_chance = random.choice((0, 0.002, 0.01, 0.03))
        client = world.client()
        trouble = asyncio.create_task(make_trouble(world, random))
        written = await asyncio.gather(*(write(client, f"/{n}", random) for n in range(4)))
        trouble.cancel()
        await asyncio.wait([trouble])
        world.namenode.kill()
        await world.namenode.start()
        for datanode in world.datanodes.values():
            if not datanode.alive:
                await datanode.start()
        world.network.conditions.reset_chance = 0
        assert sum(data is not None for data in written) >= 3
        for number, data in enumerate(written):
            if data is not None:
                assert await client.read_file(f"/{number}") == data
        await client.close()
        assert world.network.failures == []

    run(main())
