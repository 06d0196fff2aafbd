"""Processes of a simulated cluster, from start to death, again and again.

A process that ends otherwise than by our hand is a finding, unless its disk is a reason: a namenode
whose log cannot be written ends, and a datanode that finds no volume refuses to start, as both say
they do. Whoever looks after them starts them again, as systemd would.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.protocol.errors import NamenodeUnreachable, StartRefused
from dolmen.runtime.machine import Machine
from dolmen.simulation.plan import NAMENODE
from dolmen.simulation.sim_inode import Keeps
from dolmen.simulation.sim_machine import SimMachine
from dolmen.simulation.trace import Trace
from dolmen.simulation.virtual_time import VirtualTimeLoop

PATIENCE_S = 5.0
"""How long a death waits for its turn; an idle process takes few."""

RESTART_S = 2.0
"""How long a process stays down that ended by itself."""

START_S = 30.0
"""A start that a disk disturbed may fail so long after the disk is well again."""


class Process(Protocol):
    """What runs on a machine: a namenode, a datanode, or a client with its work."""

    async def start(self) -> None: ...
    async def wait(self) -> None: ...
    async def stop(self) -> None: ...
    def kill(self) -> None: ...


Work = Callable[[Client], Awaitable[None]]


class ClientProcess:
    """A client, and what is done with it."""

    def __init__(self, machine: Machine, options: ClientOptions, work: Work) -> None:
        self._machine = machine
        self._options = options
        self._work = work
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with Client(self._machine, self._options) as client:
            while not await _reaches_namenode(client):
                pass  # it says so within 5 s, and whoever started it tries again
            await self._work(client)

    async def wait(self) -> None:
        assert self._running is not None
        await asyncio.wait([self._running])
        if not self._running.cancelled():
            self._running.result()

    async def stop(self) -> None:
        await self.wait()

    def kill(self) -> None:
        self._machine.transport.abort()
        if self._running is not None:
            self._running.cancel()


async def _reaches_namenode(client: Client) -> bool:
    try:
        await client.connect()
    except NamenodeUnreachable:
        return False
    return True


@dataclass(frozen=True)
class Death:
    """How a process is to die: alone, or with its machine."""

    power_loss: bool = False
    keeps: Keeps = Keeps.SOME
    turn: int = 0
    """Before so many further turns of the process."""
    witness: Callable[[], None] = lambda: None
    """Looks at it just before."""


class Findings(Protocol):
    """Takes what must not have happened."""

    def find(self, what: str, error: BaseException | None) -> None: ...


class Lives:
    """A process on its machine, from start to death, again and again."""

    def __init__(
        self,
        machine: SimMachine,
        make: Callable[[Machine], Process],
        findings: Findings,
        trace: Trace,
    ) -> None:
        self.machine = machine
        self.process: Process | None = None
        self.down_since_s = 0.0
        """When it died, or began to stop, last."""
        self._make = make
        self._findings = findings
        self._trace = trace
        self._life: asyncio.Task[None] | None = None
        self._last: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None]
        self._killed = False
        self._stopping = False
        self._excused_until_s = 0.0
        self._restarting: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process has been started and has not died since."""
        return self._life is not None

    @property
    def has_started(self) -> bool:
        """Whether it runs, and its start is over."""
        return self.is_running and self._started.done()

    @property
    def is_up(self) -> bool:
        """Whether it runs, and is not paused."""
        return self.is_running and not self.machine.process.paused

    async def start(self) -> None:
        """Start the process; returns when it has started, or has been killed meanwhile."""
        assert self._life is None, f"{self.machine.name} runs already"
        self._record("starts")
        ports = self.machine.begin_life()
        context = self.machine.process.context
        process = self.process = context.run(self._make, ports)
        started = self._started = asyncio.get_running_loop().create_future()
        self._killed = self._stopping = False
        life = asyncio.get_running_loop().create_task(_live(process, started), context=context)
        self._life = self._last = life
        life.add_done_callback(self._ended)
        await asyncio.wait([life, started], return_when=asyncio.FIRST_COMPLETED)

    async def kill(self, *, power_loss: bool = False) -> None:
        """End the process at once; with a power loss, its machine too."""
        await self.die(Death(power_loss=power_loss))

    async def die(self, death: Death) -> None:
        """End the process, when its turn has come; nothing of it is left afterwards."""
        life, process = self._life, self.machine.process
        if life is None:
            return
        if death.turn and not process.paused:
            struck = asyncio.Event()

            def strike() -> None:
                self._die(death)
                struck.set()

            _loop().strike(process, death.turn, strike)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await struck.wait()
            _loop().spare(process)
        if self._life is life:
            self._die(death)
        await asyncio.wait([life])  # what it was doing is over before its next life

    def _die(self, death: Death) -> None:
        life, process = self._life, self.process
        if life is None or process is None:
            return
        death.witness()
        self._record("loses power" if death.power_loss else "is killed")
        self._killed = True
        self._goes_down()
        process.kill()
        self.machine.end_life()
        if death.power_loss:
            self.machine.lose_power(death.keeps)
        if not self._started.done():
            life.cancel()
        _loop().go_on(self.machine.process)  # so that what is left of it can end

    async def pause(self, for_s: float) -> None:
        """Stop the process as SIGSTOP does, for a while."""
        process = self.machine.process
        if self._life is None or process.paused:
            return
        self._record(f"is paused for {for_s:g} s")
        _loop().pause(process)
        await asyncio.sleep(for_s)
        if process.paused:
            self._record("goes on")
            _loop().go_on(process)

    def let_go(self) -> None:
        """Nothing of it stands still any more, so that all of it can end."""
        _loop().go_on(self.machine.process)
        self.machine.storage.go_on()

    async def stop(self) -> None:
        """End the process cleanly."""
        if self._life is not None and self.process is not None:
            self._stopping = True
            life = self._life
            self._goes_down()
            context = self.machine.process.context
            loop = asyncio.get_running_loop()
            stopping = loop.create_task(_stop(self.process), context=context)
            await asyncio.wait([stopping])
            if (error := stopping.exception()) is not None:
                if not self._excuses(error):
                    raise error
                self.process.kill()
                self.machine.end_life()
            await asyncio.wait([life])
            self._record("has stopped")

    def excuse(self, for_s: float) -> None:
        """Its disk is in trouble for so long: it may end by itself, or refuse to start."""
        until_s = asyncio.get_running_loop().time() + for_s + START_S
        self._excused_until_s = max(self._excused_until_s, until_s)

    def _excuses(self, error: BaseException | None) -> bool:
        """Whether this is how it ends when its disk is in trouble, and it is."""
        expected = OSError | StartRefused if self.machine.name == NAMENODE else StartRefused
        now_s = asyncio.get_running_loop().time()
        return isinstance(error, expected) and now_s < self._excused_until_s

    async def _restart(self, life: "asyncio.Task[None]") -> None:
        await asyncio.sleep(RESTART_S)
        if self._life is None and self._last is life:
            await self.start()

    def _ended(self, life: "asyncio.Task[None]") -> None:
        error = None if life.cancelled() else life.exception()
        if self._killed:
            return  # what a dying process raises concerns nobody
        if self._excuses(error):
            self._record(f"ends: {error}")
            if not self._stopping and self.process is not None:
                self._goes_down()
                self.process.kill()
                self.machine.end_life()
                self._restarting = asyncio.get_running_loop().create_task(self._restart(life))
        elif error is not None:
            self._findings.find(f"{self.machine.name} ended", error)
        elif not self._stopping and not isinstance(self.process, ClientProcess):
            self._findings.find(f"{self.machine.name} ended by itself", None)

    def _goes_down(self) -> None:
        self._life = None
        self.down_since_s = asyncio.get_running_loop().time()

    def _record(self, event: str) -> None:
        self._trace.record(self.machine.name, event)


async def _live(process: Process, started: "asyncio.Future[None]") -> None:
    await process.start()
    started.set_result(None)
    await process.wait()


async def _stop(process: Process) -> None:
    await process.stop()


def _loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop
