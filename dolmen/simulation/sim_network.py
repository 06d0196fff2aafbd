"""A network in memory: ordered connections between processes, with delay, cuts, resets and deaths.

A connection is two ends; what one end sends arrives at the other in order, after a delay drawn from
the network's own generator, as a message that shares nothing with its sender. It behaves as TCP
does: between hosts that are cut off from each other messages are held, and arrive when the cut is
healed; after GONE_AFTER_S both ends learn that the connection is lost. The death of a process ends
its connections after what it had sent before.

New faults go into `transmit`, which sees every message, and `Conditions`, which says how often.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dolmen.simulation.trace import Trace

GONE_AFTER_S = 30.0
"""As the real transport tells TCP: a peer that acknowledges nothing for so long is gone."""

ORDER_S = 1e-6
"""Between two arrivals on one connection, so that no two timers are equal and lose their order."""

FIRST_FREE_PORT = 20_000


@dataclass
class Conditions:
    """How the network behaves from now on; may be changed during a run."""

    delay_min_s: float = 50e-6
    delay_max_s: float = 500e-6
    bytes_per_s: float = 1e9
    reset_chance: float = 0.0
    """Probability, for each message, that the connection is reset instead of its arrival."""


class End:
    """One end of a connection, owned by a process."""

    def __init__(self, network: "SimNetwork", process: str) -> None:
        self.process = process
        self.peer: End
        self.open = True
        self.on_message: Callable[[object], None] = _ignore
        self.on_lost: Callable[[], None] = _do_nothing
        self.next_arrival_s = 0.0
        self.network = network

    def send(self, message: object, size_bytes: int) -> None:
        """Send a message of immutable parts; nothing happens if the connection is lost."""
        if self.open:
            self.network.transmit(self, size_bytes, lambda: self.peer.receive(message))

    def close(self) -> None:
        """End the connection: here at once, at the peer after what was sent before."""
        if self.open:
            self.open = False
            self.network.forget(self)
            self.network.transmit(self, 0, self.peer.lose)

    def receive(self, message: object) -> None:
        """A message has arrived."""
        if self.open:
            self.on_message(message)

    def lose(self) -> None:
        """The connection is gone; tell whoever uses this end."""
        if self.open:
            self.open = False
            self.network.forget(self)
            self.on_lost()


@dataclass
class _Cut:
    """Two hosts that do not reach each other, and what was sent meanwhile."""

    held: list[tuple[End, int, Callable[[], None]]] = field(default_factory=list)
    gone: asyncio.TimerHandle | None = None


class SimNetwork:
    """Connects simulated processes. A process is known by its host's name."""

    def __init__(
        self, random: Random, conditions: Conditions | None = None, trace: Trace | None = None
    ) -> None:
        self.conditions = conditions or Conditions()
        self.listeners: dict[str, Callable[[End], None]] = {}
        """What takes a new connection, by address."""
        self.failures: list[Exception] = []
        """What services raised unforeseen: the findings of a run, besides what its checkers say."""
        self._random = random
        self._trace = trace
        self._ends: dict[End, None] = {}  # in the order of their making
        self._cuts: dict[tuple[str, str], _Cut] = {}
        self._next_port: dict[str, int] = {}

    def free_port(self, host: str) -> int:
        """Return a port that was never used on this host."""
        port = self._next_port.get(host, FIRST_FREE_PORT)
        self._next_port[host] = port + 1
        return port

    async def connect(self, process: str, address: str) -> End | None:
        """Return a new connection from `process`, or None if nobody listens at `address`.

        Returns never if the two are cut off from each other: the caller has a deadline.
        """
        target = address.rpartition(":")[0]
        near, far = End(self, process), End(self, target)
        near.peer, far.peer = far, near
        self._ends |= {near: None, far: None}
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answer(accepted: bool) -> None:
            if not answered.done():
                answered.set_result(accepted)

        def arrive() -> None:
            accept = self.listeners.get(address)
            if accept is not None and near.open:
                accept(far)
            self.transmit(far, 0, lambda: answer(accept is not None))

        self.transmit(near, 0, arrive)
        try:
            accepted = await answered
        except BaseException:
            near.close()
            raise
        if accepted:
            return near
        near.open = far.open = False
        self.forget(near)
        self.forget(far)
        return None

    def transmit(self, end: End, size_bytes: int, deliver: Callable[[], None]) -> None:
        """Let something that `end` sent happen at its peer, in its turn."""
        cut = self._cuts.get(_pair(end.process, end.peer.process))
        if cut is not None:
            cut.held.append((end, size_bytes, deliver))
            return
        now = self.conditions
        if now.reset_chance and size_bytes and self._random.random() < now.reset_chance:
            self._reset(end)
            return
        delay_s = self._random.uniform(now.delay_min_s, now.delay_max_s)
        delay_s += size_bytes / now.bytes_per_s
        loop = asyncio.get_running_loop()
        end.next_arrival_s = max(end.next_arrival_s + ORDER_S, loop.time() + delay_s)
        loop.call_at(end.next_arrival_s, deliver)

    def cut(self, one: str, other: str) -> None:
        """Cut two hosts off from each other, until `heal`."""
        pair = _pair(one, other)
        if pair in self._cuts:
            return
        self._record(f"cut {one} {other}")
        cut = self._cuts[pair] = _Cut()
        loop = asyncio.get_running_loop()
        cut.gone = loop.call_later(GONE_AFTER_S, lambda: self._lose_all_between(pair))

    def heal(self, one: str, other: str) -> None:
        """Let two hosts reach each other again; what was held arrives."""
        cut = self._cuts.pop(_pair(one, other), None)
        if cut is None:
            return
        self._record(f"heal {one} {other}")
        if cut.gone is not None:
            cut.gone.cancel()
        for end, size_bytes, deliver in cut.held:
            self.transmit(end, size_bytes, deliver)

    def crash(self, process: str) -> None:
        """End a process's part in the network: its listeners, and its connections on both sides."""
        self._record(f"crash {process}")
        host = f"{process}:"
        self.listeners = {a: to for a, to in self.listeners.items() if not a.startswith(host)}
        for end in [end for end in self._ends if end.process == process]:
            if end.open:
                self.transmit(end, 0, end.peer.lose)
                end.lose()

    def forget(self, end: End) -> None:
        """An end that is lost or closed needs no more attention."""
        self._ends.pop(end, None)

    def _reset(self, end: End) -> None:
        self._record(f"reset {end.process} {end.peer.process}")
        end.lose()
        end.peer.lose()

    def _lose_all_between(self, pair: tuple[str, str]) -> None:
        self._cuts[pair].held.clear()
        ends = [end for end in self._ends if _pair(end.process, end.peer.process) == pair]
        for end in ends:
            end.lose()

    def _record(self, event: str) -> None:
        if self._trace is not None:
            self._trace.record("network", event)


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _ignore(message: object) -> None:
    """Nobody uses this end yet."""


def _do_nothing() -> None:
    """Nobody uses this end yet."""
