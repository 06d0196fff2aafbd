"""The parts of a datanode that has its identity, put together over its volumes."""

import logging
from dataclasses import dataclass

from datanode.access import TokenCheck
from datanode.block_store import BlockStore
from datanode.commands import CommandRunner
from datanode.copying import ReplicaCopier
from datanode.core.throttle import Throttle
from datanode.exchanges import BlockService, Handlers
from datanode.identity import Home, Membership
from datanode.reading import ReplicaReader
from datanode.reporting import Reporter
from datanode.scanning import VolumeScan
from datanode.segments import HOP_DEADLINE_CONNECTS, SegmentReceiver
from datanode.volume import Volume
from datanode.writing import ReplicaWriter
from dolmen.protocol.datanode_messages import StorageStatus
from dolmen.protocol.errors import StartRefused
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings

LOG = logging.getLogger("datanode")


@dataclass(frozen=True)
class Serving:
    """What serves blocks, and what the namenode is told of them."""

    store: BlockStore
    reporter: Reporter
    commands: CommandRunner
    service: BlockService

    @property
    def load(self) -> int:
        """The number of exchanges under way."""
        return self.service.load

    async def storages(self) -> tuple[StorageStatus, ...]:
        """Measure the volumes; one that cannot be measured is suspect."""
        for volume in self.store.volumes:
            try:
                await volume.measure()
            except OSError as error:
                LOG.error("volume %s is suspect: %s", volume.root, error)
                volume.suspect = True
        return tuple(volume.status() for volume in self.store.volumes)


async def open_serving(
    machine: Machine, settings: Settings, member: Membership, service: BlockService, now_s: float
) -> Serving:
    """Read the volumes and begin to serve; StartRefused if a volume cannot be read."""
    reporter = Reporter(machine.random)
    volumes = [_volume(home, settings) for home in member.homes]
    store = BlockStore(volumes, machine.wall_clock_ms, reporter.changed)
    for volume in volumes:
        scan = VolumeScan(store, volume, machine.wall_clock_ms())
        try:
            await volume.measure()
            await scan.run()
        except OSError as error:
            raise StartRefused(f"volume {volume.root} cannot be read: {error}") from error
        for change in scan.damaged:
            reporter.changed(change)
    tokens = TokenCheck(member.keys, member.datanode_id, machine.wall_clock_ms)
    writer = ReplicaWriter(store)
    base_s = settings.connect_timeout_ms / 1000 * HOP_DEADLINE_CONNECTS
    copier = ReplicaCopier(machine.transport, store, writer, base_s)
    throttle = Throttle(settings.repair_rate_bytes, now_s)
    commands = CommandRunner(store, copier, tokens, reporter, throttle)
    service.begin(
        Handlers(
            tokens,
            writer,
            SegmentReceiver(machine.transport, tokens, writer, base_s),
            ReplicaReader(store, tokens, commands.suspect),
            copier,
        )
    )
    return Serving(store, reporter, commands, service)


def _volume(home: Home, settings: Settings) -> Volume:
    identity = home.identity
    if identity is None:
        raise AssertionError(f"{home.directory} has no identity yet")
    return Volume(
        home.disk,
        home.root,
        identity.cluster_id,
        identity.storage_id,
        settings.reserved_space_bytes,
    )
