"""One call about many paths, in a whole cluster, while names change and the namenode dies."""

import asyncio
from random import Random

from dolmen.client import Client
from dolmen.protocol.identifiers import INFOS_LIMIT
from dolmen.simulation import virtual_time
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.plan import Plan
from dolmen.simulation.trace import Trace

PATHS = [f"/d/{number}" for number in range(3 * INFOS_LIMIT)]
ROUNDS = 20


async def move_about(client: Client, path: str, random: Random) -> None:
    """Take a name from a file and give it back."""
    await client.rename(path, f"{path}-away")
    await asyncio.sleep(random.random())
    await client.rename(f"{path}-away", path)


def test_each_path_is_answered_for_itself_whatever_happens_meanwhile() -> None:
    async def main() -> None:
        random = Random(7)
        cluster = SimCluster(Plan(seed=1, datanodes=1), Trace(asyncio.get_running_loop().time))
        await cluster.start()
        async with cluster.inspector() as client:
            for path in PATHS:
                await client.write_file(path, path.encode())
            ids = [info and info.inode_id for info in await client.infos(PATHS)]
            assert None not in ids
            for index in range(ROUNDS):
                moved = random.randrange(len(PATHS))
                moves = asyncio.create_task(move_about(client, PATHS[moved], random))
                await asyncio.sleep(random.random())
                if index % 5 == 4:
                    await cluster.namenode.kill(power_loss=index % 2 > 0)
                    await cluster.namenode.start()
                found = [info and info.inode_id for info in await client.infos(PATHS)]
                assert found[moved] in (None, ids[moved])
                assert [*found[:moved], *found[moved + 1 :]] == [*ids[:moved], *ids[moved + 1 :]]
                await moves
        cluster.check_invariants()
        await cluster.stop()
        assert cluster.found == []

    virtual_time.run(main())
