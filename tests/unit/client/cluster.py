"""A cluster for the client's tests, on one simulated network."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.client.segment_window import SegmentWindow
from dolmen.client.writer import Writer
from dolmen.protocol.tokens import Access, BlockToken, Target
from dolmen.runtime.machine import Machine
from dolmen.simulation.sim_key_value import SimKeyValueStore
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_transport import SimTransport
from dolmen.simulation.virtual_time import run
from tests.unit.client.scripted_datanode import KEYS, ScriptedDatanode
from tests.unit.client.scripted_namenode import ScriptedNamenode, StoredBlock


class World:
    """A namenode, datanodes and a client on one simulated network."""

    def __init__(self, datanodes: int = 4, seed: int = 0) -> None:
        self.network = SimNetwork(Random(seed))
        self.namenode = ScriptedNamenode(self)
        self.datanodes: dict[str, ScriptedDatanode] = {}
        for name in (f"d{number}" for number in range(datanodes)):
            self.datanodes[name] = ScriptedDatanode(self.network, self.datanodes, name)

    async def start(self) -> "World":
        await self.namenode.start()
        for datanode in self.datanodes.values():
            await datanode.start()
        return self

    def machine(self, name: str) -> Machine:
        return Machine(
            transport=SimTransport(self.network, name),
            open_disk=_no_disk,
            tables=SimKeyValueStore(),
            wall_clock_ms=lambda: 0,
            random=Random(7),
            background=_at_once,
            boot_id="boot",
            host_name=name,
        )

    def client(self, name: str = "client", **options: Any) -> Client:
        chosen: dict[str, Any] = {
            "namenode": "namenode:9870",
            "user": "tester",
            "segment_bytes": 64 * 1024,
            "read_piece_bytes": 128 * 1024,
        }
        return Client(self.machine(name), ClientOptions(**chosen | options))

    def choose(self, excluded: set[str], wanted: int) -> list[str]:
        live = [name for name in self.datanodes if self.is_alive(name) and name not in excluded]
        return live[:wanted]

    def is_alive(self, name: str) -> bool:
        return self.datanodes[name].alive

    def targets(self, names: list[str]) -> tuple[Target, ...]:
        return tuple(Target(name, self.datanodes[name].address) for name in names)

    def token(
        self, block_id: int, stamp: int, access: Access, targets: tuple[Target, ...]
    ) -> bytes:
        return KEYS.sign(BlockToken(block_id, stamp, access, "tester", 10**15, 1 << 40, targets))

    def good_replicas(self, block: StoredBlock) -> list[str]:
        committed = block.committed
        assert committed is not None
        found = []
        for name, datanode in self.datanodes.items():
            replica = datanode.replicas.get(block.block_id)
            if replica and replica.finalized and replica.stamp == block.stamp and datanode.alive:
                found.append(name)
        return found

    def content(self, path: str) -> bytes:
        """The bytes of a published file, checked to be the same on every good replica."""
        whole = b""
        for block in self.namenode.files[self.namenode.paths[path]].blocks:
            names = self.good_replicas(block)
            contents = {bytes(self.datanodes[name].replicas[block.block_id].data) for name in names}
            assert len(contents) == 1, f"replicas of {block} differ or are missing"
            whole += contents.pop()
        return whole


def window_of(writer: Writer) -> SegmentWindow:
    """The segments that a writer has in memory, once its file has blocks."""
    assert writer._file._cutting is not None
    return writer._file._cutting.window


def _no_disk() -> Any:
    raise AssertionError("the client touches no disk here")


async def _at_once(work: Callable[[], Any]) -> Any:
    return work()


def on_world(test: Callable[[World, Client], Awaitable[None]], **options: Any) -> None:
    """Run a test with a world of four datanodes and a client, in virtual time."""

    async def main() -> None:
        world = await World().start()
        client = world.client(**options)
        try:
            await test(world, client)
        finally:
            await client.close()
        assert world.network.failures == []

    run(main())
