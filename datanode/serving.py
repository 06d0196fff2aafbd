"""The parts of a datanode that has its identity, put together over its volumes."""

from dataclasses import dataclass

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.care import Care, take_care
from datanode.commands import CommandRunner
from datanode.copying import ReplicaCopier
from datanode.core.throttle import Throttle
from datanode.exchanges import BlockService, Handlers
from datanode.hashing import FileHasher
from datanode.identity import Membership, check_some_left
from datanode.pulling import ReplicaPuller
from datanode.reading import ReplicaReader
from datanode.reporting import Reporter
from datanode.segments import HOP_DEADLINE_CONNECTS, SegmentReceiver
from datanode.short_circuit import ShortCircuit
from datanode.volume_watch import VolumeWatch
from datanode.whole import WholeWriter
from datanode.writing import ReplicaWriter
from dolmen.protocol.datanode_messages import Health, StorageStatus
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings

HASHING_SHARE = 0.5
"""Of the repair rate: as with scrubbing, repair and readers come first."""


@dataclass(frozen=True)
class Serving:
    """What serves blocks, and what the namenode is told of them."""

    store: BlockStore
    reporter: Reporter
    commands: CommandRunner
    service: BlockService
    care: Care
    watch: VolumeWatch
    short_circuit: ShortCircuit
    hasher: FileHasher

    @property
    def load(self) -> int:
        """The number of exchanges under way."""
        return self.service.load

    def health(self) -> Health:
        """Return how the disks fare."""
        return self.care.health(self.watch.failed)

    async def storages(self) -> tuple[StorageStatus, ...]:
        """Measure the volumes and return what the namenode is told of them."""
        await self.watch.measure()
        return tuple(volume.status() for volume in self.store.volumes)


async def open_serving(
    machine: Machine, settings: Settings, member: Membership, service: BlockService, now_s: float
) -> Serving:
    """Read the volumes and begin to serve; StartRefused if none can be read."""
    reporter = Reporter(machine.random)
    store = BlockStore([], machine.wall_clock_ms, reporter.changed, machine.random)
    watch = VolumeWatch(machine, settings, member, store, reporter)
    await watch.open_all()
    check_some_left(member.homes)
    tokens = TokenCheck(member.keys, member.datanode_id, machine.wall_clock_ms)
    writer = ReplicaWriter(store)
    base_s = settings.connect_timeout_ms / 1000 * HOP_DEADLINE_CONNECTS
    puller = ReplicaPuller(machine.transport, base_s, reporter.bad_source)
    copier = ReplicaCopier(puller, store, writer)
    throttle = Throttle(settings.repair_rate_bytes, now_s)
    short_circuit = ShortCircuit(store, tokens, machine.wall_clock_ms)
    care = take_care(store, reporter, machine, settings)
    commands = CommandRunner(
        store, lambda order: copier.copy(order, throttle), tokens, care.checks, reporter
    )
    service.begin(
        Handlers(
            tokens,
            writer,
            SegmentReceiver(machine.transport, tokens, WholeWriter(store, writer), base_s),
            ReplicaReader(store, tokens, care.checks.suspect),
            copier,
        )
    )
    hashing_throttle = Throttle(max(1, int(settings.repair_rate_bytes * HASHING_SHARE)), now_s)
    if settings.short_circuit:
        await short_circuit.listen(machine.file_passing, member.datanode_id)
    hasher = FileHasher(puller, hashing_throttle)
    return Serving(store, reporter, commands, service, care, watch, short_circuit, hasher)
