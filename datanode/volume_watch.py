"""Looks after the volumes of a running datanode: each is tried now and then, and at once when
something on it failed; one that failed is given up, and tried for until it is back.

A volume that fails takes its replicas with it and nothing else. What comes back to its directory,
the same disk or an empty one, is read like at a start and then used. Either way the set of volumes
has changed, and the datanode registers anew, so that the namenode learns of it. Each volume is
looked after by a task of its own: a disk that hangs holds up no other.
"""

import asyncio
import logging
from functools import partial

from datanode.block_store import BlockStore
from datanode.core.volume_states import VolumeEvent, VolumeState
from datanode.home import Home
from datanode.identity import Membership
from datanode.reporting import Reporter
from datanode.scanning import VolumeScan
from datanode.version_file import DirectoryUnusable, OtherDatanode
from datanode.volume import Volume
from datanode.volume_probe import probe
from dolmen.protocol.errors import StartRefused
from dolmen.runtime.machine import Machine
from dolmen.runtime.settings import Settings

GOOD_PROBES = 3
"""So many in a row before a volume that could not be written is used again: not at the first
glimmer of a disk that comes and goes."""

LEAST_PAUSE_S = 1.0
"""Between two probes of a volume on which one operation after the other fails: each syncs a file.
"""

MEASURE_S = 0.5
"""How long a heartbeat waits for its figures: a disk that hangs must not make the node look dead.
"""

LOG = logging.getLogger("datanode")


class VolumeWatch:
    """The volumes in use, by directory, and what watches over them."""

    def __init__(
        self,
        machine: Machine,
        settings: Settings,
        member: Membership,
        store: BlockStore,
        reporter: Reporter,
    ) -> None:
        self._machine = machine
        self._settings = settings
        self._member = member
        self._store = store
        self._reporter = reporter
        self._volumes: dict[Home, Volume] = {}
        self._measuring: dict[Volume, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def open_all(self) -> None:
        """Read the volumes that there are; one that cannot be read is failed."""
        for home in self._member.used:
            try:
                await self._open(home)
            except OSError as error:
                problem = f"volume {home.root} cannot be read: {error}"
                LOG.error("%s; the datanode goes on without it", problem)
                home.fail(problem)

    @property
    def failed(self) -> tuple[str, ...]:
        """Each volume that is not used, and why."""
        return tuple(
            home.problem if home.directory in home.problem else f"{home.directory}: {home.problem}"
            for home in self._member.homes
            if home.problem
        )

    async def measure(self) -> None:
        """Measure the volumes; one that is slow at it counts as it was, one that fails is looked
        at."""
        for volume in self._store.volumes:
            if volume not in self._measuring:
                task = asyncio.create_task(_measure(volume))
                self._measuring[volume] = task
                task.add_done_callback(partial(self._measured, volume))
        if self._measuring:
            await asyncio.wait(set(self._measuring.values()), timeout=MEASURE_S)

    def _measured(self, volume: Volume, _task: asyncio.Task[None]) -> None:
        del self._measuring[volume]

    async def wait_changed(self) -> None:
        """Return when a volume was lost or won since the last time."""
        await self._changed.wait()

    def told(self) -> None:
        """The namenode is about to learn which volumes there are."""
        self._changed.clear()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for home in self._member.homes:
                group.create_task(self._watch(home))

    # ------------------------------------------------------------ one directory

    async def _watch(self, home: Home) -> None:
        interval_s = self._settings.volume_check_interval_ms / 1000
        good_probes = 0
        while True:
            volume = self._volumes.get(home)
            if volume is None:
                await asyncio.sleep(interval_s)
                await self._try_again(home)
                continue
            await _wait(volume.wants_check, interval_s)
            volume.wants_check.clear()
            found = await probe(volume)
            good_probes = good_probes + 1 if found and not found[1] else 0
            if found is not None:
                await self._heed(home, volume, *found, good_probes)
            if volume.unread and volume.state is not VolumeState.FAILED:
                await self._look_again(volume)
            await asyncio.sleep(min(interval_s, LEAST_PAUSE_S))

    async def _heed(
        self, home: Home, volume: Volume, event: VolumeEvent, reason: str, good_probes: int
    ) -> None:
        if event is VolumeEvent.WRITTEN_AGAIN and good_probes < GOOD_PROBES:
            return
        volume.happened(event, reason)
        if volume.state is VolumeState.FAILED:
            del self._volumes[home]
            home.fail(reason)
            self._changed.set()
            lost = await self._store.lose(volume)
            LOG.error("volume %s is given up with its %d replicas", volume.root, lost)

    async def _look_again(self, volume: Volume) -> None:
        scan = VolumeScan(self._store, volume, self._machine.wall_clock_ms())
        await scan.look_again()
        for change in scan.damaged:
            self._reporter.changed(change)

    async def _try_again(self, home: Home) -> None:
        """Use what is in the directory now, if it can be.

        StartRefused if it is another datanode's, and nothing of ours is left: started before its
        disk was mounted, a datanode took the directory underneath for a new one.
        """
        known_problem = home.problem
        try:
            await self._member.take_back(home)
            await self._open(home)
        except (DirectoryUnusable, StartRefused, OSError) as error:
            problem = str(error)
            if problem != known_problem:
                LOG.warning("volume %s stays out of use: %s", home.root, problem)
            home.fail(problem)
            if isinstance(error, OtherDatanode) and not self._volumes:
                raise StartRefused(
                    f"no volume of datanode {self._member.datanode_id} is left, and {problem}:"
                    " start this datanode again, to be that one"
                ) from error
        else:
            LOG.info("volume %s is used again", home.root)
            self._changed.set()

    async def _open(self, home: Home) -> None:
        """Read a volume and use it; OSError if it cannot be read."""
        identity = home.identity
        assert identity is not None, "it has an identity by now"
        volume = Volume(
            home.disk,
            home.root,
            identity.cluster_id,
            identity.storage_id,
            self._settings.reserved_space_bytes,
        )
        self._store.know(volume)
        scan = VolumeScan(self._store, volume, self._machine.wall_clock_ms())
        try:
            await volume.measure()
            await scan.run()
        except OSError:
            await self._store.lose(volume)
            raise
        self._store.use(volume)
        volume.check_soon()  # whether it can be written
        self._volumes[home] = volume
        for change in scan.damaged:
            self._reporter.changed(change)


async def _measure(volume: Volume) -> None:
    try:
        await volume.measure()
    except OSError as error:
        volume.hear(error)


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await event.wait()
    except TimeoutError:
        pass
