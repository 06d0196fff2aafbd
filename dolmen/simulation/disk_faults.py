"""Faults of disks: slow, full, hung, failing and vanished ones, and bits that rot at rest."""

import asyncio
from random import Random

from datanode.node import Datanode
from dolmen.simulation import faults
from dolmen.simulation.census import Census, GoodReplica, victim
from dolmen.simulation.cluster import SimCluster, volume_directory
from dolmen.simulation.faults import Return, RotKind
from dolmen.simulation.lives import Lives
from dolmen.simulation.plan import NAMENODE
from dolmen.simulation.sim_device import SimDevice
from dolmen.simulation.sim_storage import SimDirectory, SimStorage

GOOD_LEFT = 2
"""Good replicas that rot leaves: one may be on a datanode that is just not there."""

RESTART_WITHIN_S = 120
"""How long the restart of a datanode waits for its turn; it takes away nothing for good."""


MISSED_WITHIN_S = 120
"""How long an older disk waits until the datanode misses the one that it comes in place of: no
operating system exchanges what lies below the open files of a process."""


class DiskFaults:
    """What can happen to the disks of a cluster."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self._images: dict[tuple[str, str], SimDirectory] = {}
        """Of each volume that comes back as it was when it vanished before."""

    # ------------------------------------------------------------ for a while

    async def read_errors(self, fault: faults.ReadErrors) -> bool:
        device = self._device(fault.process, fault.volume)
        self._cluster.lives[fault.process].excuse(fault.for_ms / 1000)
        device.random = Random(f"{self._cluster.plan.seed} {fault.at_ms} {fault.process}")
        device.read_errors += fault.chance
        await asyncio.sleep(fault.for_ms / 1000)
        device.read_errors -= fault.chance
        return True

    async def full_disk(self, fault: faults.FullDisk) -> bool:
        device = self._device(fault.process, fault.volume)
        self._cluster.lives[fault.process].excuse(fault.for_ms / 1000)
        device.full += 1
        await asyncio.sleep(fault.for_ms / 1000)
        device.full -= 1
        return True

    async def slow_disk(self, fault: faults.SlowDisk) -> bool:
        device = self._device(fault.process, fault.volume)
        device.slowness *= fault.times
        await asyncio.sleep(fault.for_ms / 1000)
        device.slowness /= fault.times
        return True

    async def hung_disk(self, fault: faults.HungDisk) -> bool:
        device = self._device(fault.process, fault.volume)
        if device.hangs or victim(self._cluster, fault.process) is None:
            return False
        device.hangs = True
        await asyncio.sleep(fault.for_ms / 1000)
        device.go_on()
        return True

    async def failed_sync(self, fault: faults.FailedSync) -> bool:
        device = self._device(fault.process, fault.volume)
        if fault.process == NAMENODE:  # it ends, and reads its log anew when it is started again
            self._cluster.namenode.excuse(fault.for_ms / 1000)
        device.syncs_to_fail += 1
        await asyncio.sleep(fault.for_ms / 1000)
        if fault.process != NAMENODE:
            await self._restart(fault.process, device)
        device.syncs_to_fail = 0
        return True

    async def _restart(self, process: str, device: SimDevice) -> None:
        for _ in range(RESTART_WITHIN_S):
            if victim(self._cluster, process) is not None:
                break
            await asyncio.sleep(1)
        lives = self._cluster.lives[process]
        device.syncs_to_fail = 0
        if lives.has_started:  # else it reads its volumes anew as it starts
            await lives.stop()
            await lives.start()

    # ------------------------------------------------------------ for good

    async def rot(self, fault: faults.Rot) -> bool:
        victim = self._rots(fault)
        if victim is None:
            return False
        where = f"{victim.datanode}{victim.directory}"
        self._cluster.trace.record(where, f"block {victim.block_id:016x} rots: {fault.kind.value}")
        if fault.kind is RotKind.UNREADABLE:
            victim.data.unreadable = True
        else:
            rotting = victim.data if fault.kind is RotKind.DATA else victim.checksums
            rotting.rot(fault.nth * 7919 % len(rotting.data))
        return True

    def _rots(self, fault: faults.Rot) -> GoodReplica | None:
        census = Census(self._cluster.datanodes)
        left = 0 if fault.even_the_last else GOOD_LEFT
        candidates = [
            replica
            for replica in census.good
            if len(census.holders(replica.block_id)) > left and replica.data.data
        ]
        return candidates[fault.nth % len(candidates)] if candidates else None

    async def lost_volume(self, fault: faults.LostVolume) -> bool:
        lives = self._cluster.lives[fault.process]
        directory = volume_directory(fault.volume)
        storage = lives.machine.storage
        if directory not in storage.plugged:
            return False  # it has vanished already
        if not fault.even_the_last and victim(self._cluster, fault.process) is None:
            return False
        lives.excuse(fault.for_ms / 1000)
        disk = storage.pull_out(directory)
        self._cluster.trace.record(fault.process, f"{directory} vanishes")
        image = self._images.pop((fault.process, directory), None)
        if self._is_wanted_again(fault):
            self._images[fault.process, directory] = disk.copy(storage.new_device())
        await asyncio.sleep(fault.for_ms / 1000)
        if fault.comes_back is Return.OLDER:
            await _until_missed(lives, directory)
        back = self._what_comes_back(storage, fault.comes_back, disk, image)
        storage.plug_in(directory, back)
        self._cluster.trace.record(fault.process, f"{directory} is {fault.comes_back.value} again")
        return True

    def _is_wanted_again(self, fault: faults.LostVolume) -> bool:
        """Return whether a later plan for this volume asks for it as it is now."""
        return any(
            isinstance(later, faults.LostVolume)
            and (later.process, later.volume) == (fault.process, fault.volume)
            and later.at_ms > fault.at_ms
            and later.comes_back is Return.OLDER
            for later in self._cluster.plan.faults
        )

    def _what_comes_back(
        self, storage: SimStorage, how: Return, disk: SimDirectory, image: SimDirectory | None
    ) -> SimDirectory | None:
        if how is Return.ITSELF:
            return disk
        storage.throw_away(disk)
        return image if how is Return.OLDER else None

    def _device(self, process: str, volume: int) -> SimDevice:
        machine = self._cluster.lives[process].machine
        if not machine.volumes:
            return machine.storage.device
        return machine.storage.device_of(volume_directory(volume))


async def _until_missed(lives: Lives, directory: str) -> None:
    for _ in range(MISSED_WITHIN_S):
        process = lives.process
        if not (lives.is_running and isinstance(process, Datanode) and process.uses(directory)):
            return
        await asyncio.sleep(1)
