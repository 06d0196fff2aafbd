"""The Transport port on the simulated network: one for each simulated process.

`abort`, or `SimNetwork.crash`, ends a process's part in the network; a process that starts again
gets a new transport. A service that raises what it should not is noted in `SimNetwork.failures`.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from dolmen.protocol.block_messages import HEAD_LIMIT_BYTES
from dolmen.protocol.errors import InvalidRequest, PeerLost, StartRefused
from dolmen.protocol.identifiers import format_address, parse_address
from dolmen.runtime.metrics import Status
from dolmen.runtime.transport import Answered, Body, Service
from dolmen.simulation.sim_control import ControlServing, SimConnection
from dolmen.simulation.sim_exchange import Asking, Request, Serving
from dolmen.simulation.sim_network import End, SimNetwork

SERVED_STALL_S = 30.0
"""Progress deadline of exchanges that are served, as in the real transport."""


class OpenControl:
    """→ this connection carries calls."""


class SimListener:
    """A service that listens on one simulated port."""

    def __init__(self, network: SimNetwork, service: Service, address: str, stall_s: float) -> None:
        self.address = address
        self._network = network
        self._service = service
        self._stall_s = stall_s
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._stopped = self._aborted = False
        network.listeners[address] = self._accept

    async def close(self) -> None:
        self._stop()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def abort(self) -> None:
        self._aborted = True
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        if self._network.listeners.get(self.address) == self._accept:
            del self._network.listeners[self.address]
        for task in self._tasks:
            task.cancel()

    def _accept(self, end: End) -> None:
        end.on_message = lambda message: self._begin(end, message)

    def _begin(self, end: End, message: object) -> None:
        """The first message says what the connection is for; it may come too late."""
        if self._stopped:
            end.close()
            return
        if isinstance(message, OpenControl):
            session = self._service.open_session(end.peer.process)
            self._start(ControlServing(end, session).serve())
        else:
            assert isinstance(message, Request)
            serving = Serving(end, message, self._stall_s)
            self._start(serving.serve(self._service))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) and not self._aborted:
            self._network.failures.append(error)


class SimTransport:
    """How a simulated process talks. `process` is also the name of its host."""

    def __init__(
        self, network: SimNetwork, process: str, *, served_stall_s: float = SERVED_STALL_S
    ) -> None:
        self._network = network
        self._process = process
        self._served_stall_s = served_stall_s
        self._listeners: list[SimListener] = []
        self._connections: dict[SimConnection, None] = {}
        self._aborted = False

    async def listen(
        self, service: Service, host: str, port: int, status: Status | None = None
    ) -> SimListener:
        if host != self._process:
            raise StartRefused(f"{host} is not an address of this machine")
        port = port or self._network.free_port(host)
        address = format_address(host, port)
        if address in self._network.listeners:
            raise StartRefused(f"port {port} on {host} is in use by another process")
        listener = SimListener(self._network, service, address, self._served_stall_s)
        self._listeners.append(listener)
        return listener

    async def connect(self, address: str, timeout_s: float) -> SimConnection:
        end = await self._open(address, timeout_s)
        end.send(OpenControl(), 0)
        connection = SimConnection(end, address)
        self._connections = {each: None for each in self._connections if not each.closed}
        self._connections[connection] = None
        return connection

    @asynccontextmanager
    async def exchange(
        self, address: str, head: bytes, body: Body | None = None, *, stall_s: float = 30.0
    ) -> AsyncIterator[Answered]:
        if len(head) > HEAD_LIMIT_BYTES:
            raise InvalidRequest(f"a head of {len(head)} bytes is over {HEAD_LIMIT_BYTES}")
        asking = Asking(await self._open(address, stall_s), address, stall_s)
        try:
            yield await asking.ask(bytes(head), body)
        finally:
            await asking.close()

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
        self._connections.clear()

    def abort(self) -> None:
        self._aborted = True
        for listener in self._listeners:
            listener.abort()
        self._network.crash(self._process)

    async def _open(self, address: str, timeout_s: float) -> End:
        if self._aborted:
            raise PeerLost("this process no longer uses the network")
        host, port = parse_address(address)
        try:
            async with asyncio.timeout(timeout_s):
                end = await self._network.connect(self._process, format_address(host, port))
        except TimeoutError:
            raise PeerLost(f"{address} did not answer within {timeout_s:g} s") from None
        if end is None:
            raise PeerLost(f"cannot connect to {address}: Connection refused")
        return end
