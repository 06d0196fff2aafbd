"""A datanode: what it holds together, from start to stop.

It listens at once and keeps trying to reach its namenode; an empty directory gets its identity when
it first does. Everything that lives long runs in one task, the runner, whose end is the datanode's:
`stop` lets running exchanges and steps on disk finish, `kill` leaves everything as it is, as a dead
process does.
"""

import asyncio
import contextlib
import logging

from datanode.exchanges import BlockService
from datanode.heartbeats import ControlLoop, Profile
from datanode.home import Home
from datanode.identity import Membership, find_secret, open_homes
from datanode.options import DatanodeOptions
from datanode.serving import Serving, open_serving
from datanode.status import DatanodeStatus, Standing
from dolmen.protocol.errors import InvalidRequest, StartRefused
from dolmen.protocol.identifiers import parse_address
from dolmen.runtime.machine import Machine
from dolmen.runtime.transport import Listener

FIRST_ATTEMPT_S = 2.0
"""How long a start waits to be registered or refused, so that it can tell a wrong secret."""

LOG = logging.getLogger("datanode")


class Datanode:
    """One datanode. The machine is its own: stopping or killing it ends the machine's use."""

    def __init__(self, machine: Machine, options: DatanodeOptions) -> None:
        self.address = ""
        self._machine = machine
        self._options = options
        self._homes = [Home(machine.open_disk(), one) for one in options.directories]
        self._service = BlockService()
        self._member: Membership | None = None
        self._listener: Listener | None = None
        self._serving: Serving | None = None
        self._control: ControlLoop | None = None
        self._runner: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self._killed = False

    @property
    def datanode_id(self) -> str:
        """The identity on its disks; drawn by the first start."""
        return self._member.datanode_id if self._member else ""

    async def start(self) -> None:
        """Listen, having read the directories; StartRefused says why it cannot be.

        An unreachable namenode is no reason: a datanode may start before it.
        """
        try:
            member = await self._prepare()
            status = DatanodeStatus(self._service, lambda: self._serving, self._standing)
            self._listener = await self._machine.transport.listen(
                self._service, self._options.host, self._options.port, status
            )
            self.address = self._options.advertise or self._listener.address
        except BaseException:
            await self._end()
            raise
        profile = Profile(
            self.address,
            self._options.host_label or self._machine.host_name,
            self._options.rack,
        )
        control = self._control = ControlLoop(
            self._machine, self._options, member, profile, self._join
        )
        self._runner = asyncio.create_task(self._run(control), name="datanode")
        LOG.info("datanode %s listens on %s", self.datanode_id, self.address)
        await self._first_attempt(control)

    async def wait(self) -> None:
        """Return when the datanode was stopped or killed; raise what else ended it."""
        if self._runner is not None:
            await asyncio.wait([self._runner])
            if not self._runner.cancelled():
                self._runner.result()

    async def stop(self) -> None:
        """End cleanly: running exchanges may finish, files are closed."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
            if not self._runner.cancelled() and (error := self._runner.exception()):
                LOG.info("the datanode had ended: %s", error)

    def check_invariants(self) -> None:
        """Raise AssertionError if what is known of the replicas contradicts itself."""
        if self._serving is not None:
            self._serving.store.check_invariants()

    def settled_replicas(self) -> list[tuple[int, int]]:
        """Return (block id, stamp) of the FINALIZED replicas to which nothing is being done: what
        must outlive a loss of power."""
        return self._serving.store.settled_replicas() if self._serving is not None else []

    def stamp_of(self, block_id: int) -> int | None:
        """Return the generation stamp of a replica as it is held now; None if there is none."""
        replica = self._serving.store.get(block_id) if self._serving is not None else None
        return None if replica is None else replica.stamp

    def uses(self, directory: str) -> bool:
        """Return whether a directory is one of its own, and it has not missed the disk there."""
        return any(home.directory == directory and not home.problem for home in self._homes)

    def kill(self) -> None:
        """End as if the process had died: connections are reset, nothing is flushed."""
        self._killed = True
        if self._listener is not None:
            self._listener.abort()
        self._machine.transport.abort()
        if self._serving is not None:
            self._serving.short_circuit.close()
            self._serving.store.work.cancel()
        for home in self._homes:
            home.release()
        if self._runner is not None:
            self._runner.cancel()

    # ------------------------------------------------------------ inside

    def _standing(self) -> Standing:
        """Return what nobody but this knows of the whole."""
        return Standing(
            self.datanode_id,
            self._member.cluster_id if self._member else "",
            self._options.namenode,
            registered=self._control is not None and self._control.registered,
            works=self._runner is None or not self._runner.done(),
        )

    async def _prepare(self) -> Membership:
        """Take the directories and read them, as far as they have an identity."""
        try:
            parse_address(self._options.namenode)
            if self._options.advertise is not None:
                parse_address(self._options.advertise)
        except InvalidRequest as error:
            raise StartRefused(error.message) from None
        await open_homes(self._homes)
        secret = await find_secret(self._homes, self._options.secret_file)
        self._member = Membership(self._homes, secret, self._machine.random)
        await self._member.keep_secret()
        if self._member.cluster_id:
            await self._open(self._member.cluster_id)
        return self._member

    async def _open(self, cluster_id: str) -> Serving:
        if self._serving is None:
            assert self._member is not None
            await self._member.initialise(cluster_id)
            now_s = asyncio.get_running_loop().time()
            self._serving = await open_serving(
                self._machine, self._options.settings, self._member, self._service, now_s
            )
        return self._serving

    async def _run(self, control: ControlLoop) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(control.run())
                group.create_task(self._work())
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            await self._end()

    async def _work(self) -> None:
        """Carry out commands and look after volumes and replicas, from when there are any."""
        await self._joined.wait()
        assert self._serving is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serving.commands.run())
            group.create_task(self._serving.care.run())
            group.create_task(self._serving.watch.run())

    async def _join(self, cluster_id: str) -> Serving:
        serving = await self._open(cluster_id)
        self._joined.set()
        return serving

    async def _end(self) -> None:
        """Close everything; after a kill only what the operating system would have closed."""
        if self._listener is not None and not self._killed:
            await self._listener.close()
        if self._serving is not None:
            self._serving.short_circuit.close()
            if not self._killed:
                await self._serving.short_circuit.finish()
                await self._serving.store.work.finish()
                await self._serving.care.close()
            with contextlib.suppress(OSError):
                await self._serving.store.close()
        if not self._killed:
            await self._machine.transport.close()
        for home in self._homes:
            home.disk.close()
            home.release()

    async def _first_attempt(self, control: ControlLoop) -> None:
        assert self._runner is not None
        attempted = asyncio.create_task(control.attempted.wait())
        try:
            await asyncio.wait(
                [self._runner, attempted],
                timeout=FIRST_ATTEMPT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            attempted.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attempted
        if self._runner.done():
            self._runner.result()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the failure that made a group of tasks end."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
