"""A network in memory: ordered connections between processes, with delay, cuts, resets and deaths.

A connection is two ends; what one end sends arrives at the other in order, after a delay drawn from
the network's own generator, as a message that shares nothing with its sender, and in the name of
the process that receives it. It behaves as TCP does, so what TCP hides stays hidden:

- a lost packet is sent again: the message, and all behind it on its connection, arrive later;
- nothing arrives twice or out of order on one connection, but on two connections it may: repeated
  requests come from those who repeat a call whose connection was reset before its answer;
- what is sent over a cut is held, and arrives when it heals; after GONE_AFTER_S the sender gives
  the connection up, and so does its peer;
- the death of a process ends its connections after what it had sent before. When its machine loses
  power nobody is told: its peers hold half-open connections until it is back or they give up.

How the ways between two hosts are is in `sim_links`.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from random import Random

from dolmen.simulation.sim_links import Link, SimLinks
from dolmen.simulation.trace import Trace

GONE_AFTER_S = 30.0
"""As the real transport tells TCP: a peer that acknowledges nothing for so long is gone."""

ORDER_S = 1e-6
"""Between two arrivals on one connection, so that no two timers are equal and lose their order."""

FIRST_FREE_PORT = 20_000

RESEND_S = 0.2
"""After which TCP sends a lost packet again; twice as long each further time."""


@dataclass
class Conditions:
    """How the network behaves from now on; may be changed during a run."""

    delay_min_s: float = 50e-6
    delay_max_s: float = 500e-6
    bytes_per_s: float = 1e9
    reset_chance: float = 0.0
    """Probability, for each message, that the connection is reset instead of its arrival."""
    loss_chance: float = 0.0
    """Probability, for each message, that it has to be sent again."""


Watcher = Callable[[str, bytes], Callable[[bytes], None] | None]
"""Is told the host and the head of a request; may return what is to be told the reply's head."""


class End:
    """One end of a connection, owned by a process."""

    def __init__(self, network: "SimNetwork", process: str) -> None:
        self.process = process
        self.peer: End
        self.open = True
        self.silent = False
        """Nothing that is sent from here arrives, and nobody knows."""
        self.on_message: Callable[[object], None] = _ignore
        self.on_lost: Callable[[], None] = _do_nothing
        self.next_arrival_s = 0.0
        self.network = network

    def send(self, message: object, size_bytes: int) -> None:
        """Send a message of immutable parts; nothing happens if the connection is lost."""
        if self.open:
            self.network.transmit(self, size_bytes, lambda: self.peer.receive(message, size_bytes))

    def close(self) -> None:
        """End the connection: here at once, at the peer after what was sent before."""
        if self.open:
            self.open = False
            self.network.forget(self)
            self.network.transmit(self, 0, self.peer.lose)

    def receive(self, message: object, size_bytes: int) -> None:
        """A message has arrived."""
        if self.open:
            self.network.count(self, message, size_bytes)
            self.on_message(self.network.spoil(self.process, message))

    def lose(self) -> None:
        """The connection is gone; tell whoever uses this end."""
        if self.open:
            self.open = False
            self.network.forget(self)
            self.on_lost()


class SimNetwork:
    """Connects simulated processes. A process is known by its host's name."""

    def __init__(
        self, random: Random, conditions: Conditions | None = None, trace: Trace | None = None
    ) -> None:
        self.conditions = conditions or Conditions()
        self.listeners: dict[str, Callable[[End], None]] = {}
        """What takes a new connection, by address."""
        self.contexts: dict[str, Context] = {}
        """In whose name something arrives at a process; in the sender's if it has none."""
        self.failures: list[Exception] = []
        """What services raised unforeseen: the findings of a run, besides what its checkers say."""
        self.links = SimLinks()
        self.spoil: Callable[[str, object], object] = _as_it_was
        """What becomes of a message on its way to a host, unseen by TCP's weak checksum."""
        self._random = random
        self._watchers: list[Watcher] = []
        self.trace = trace
        self._ends: dict[End, None] = {}  # in the order of their making
        self._next_port: dict[str, int] = {}
        self._without_power: set[str] = set()

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._ends) // 2

    def watch_exchanges(self, watcher: "Watcher") -> None:
        """Have every bulk request told to `watcher`, when it begins to be served."""
        self._watchers.append(watcher)

    def exchange_begins(self, host: str, request: bytes) -> "list[Callable[[bytes], None]]":
        """A bulk request is served from now on; return who is to be told the answer."""
        told = [watcher(host, request) for watcher in self._watchers]
        return [answered for answered in told if answered is not None]

    def free_port(self, host: str) -> int:
        """Return a port that was never used on this host."""
        port = self._next_port.get(host, FIRST_FREE_PORT)
        self._next_port[host] = port + 1
        return port

    async def connect(self, process: str, address: str) -> End | None:
        """Return a new connection from `process`, or None if nobody listens at `address`.

        Returns never if the two are cut off from each other, or if there is no machine at the other
        end: the caller has a deadline. A machine answers for a process that is paused.
        """
        target = address.rpartition(":")[0]
        near, far = End(self, process), End(self, target)
        near.peer, far.peer = far, near
        self._ends |= {near: None, far: None}
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bool] = loop.create_future()

        def answer(accepted: bool) -> None:
            if not answered.done():
                answered.set_result(accepted)

        def arrive() -> None:
            if target in self._without_power:
                return
            accept = self.listeners.get(address)
            if accept is not None and near.open:
                loop.call_soon(accept, far, context=self.contexts.get(target))
            self.transmit(far, 0, lambda: answer(accept is not None))

        self.transmit(near, 0, arrive, by_kernel=True)
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

    # ------------------------------------------------------------ sending

    def transmit(
        self, end: End, size_bytes: int, deliver: Callable[[], None], *, by_kernel: bool = False
    ) -> None:
        """Let something that `end` sent happen at its peer, in its turn."""
        link = self.links.between(end.process, end.peer.process)
        if end.silent:
            self._take_toll("messages lost")
            return
        if link is not None and link.cut:
            self._take_toll("messages held by a cut")
            link.held.append(lambda: self.transmit(end, size_bytes, deliver, by_kernel=by_kernel))
            return
        now = self.conditions
        if now.reset_chance and size_bytes and self._random.random() < now.reset_chance:
            self._take_toll("messages lost")
            self._reset(end)
            return
        delay_s = self._delay_s(size_bytes, link)
        loop = asyncio.get_running_loop()
        end.next_arrival_s = max(end.next_arrival_s + ORDER_S, loop.time() + delay_s)
        context = Context() if by_kernel else self.contexts.get(end.peer.process)
        loop.call_at(end.next_arrival_s, deliver, context=context)

    def _delay_s(self, size_bytes: int, link: Link | None) -> float:
        now = self.conditions
        delay_s = self._random.uniform(now.delay_min_s, now.delay_max_s)
        delay_s += size_bytes / now.bytes_per_s
        if link is not None:
            delay_s += self._random.uniform(0.5, 1.5) * link.delay_s
            delay_s += size_bytes / link.bytes_per_s
        resend_s = RESEND_S
        while now.loss_chance and resend_s < GONE_AFTER_S:
            if self._random.random() >= now.loss_chance:
                break
            self._take_toll("packets lost and sent again")
            delay_s += resend_s
            resend_s *= 2
        return delay_s

    def count(self, end: End, message: object, size_bytes: int) -> None:
        """A message has arrived at `end`."""
        if self.trace is not None:
            kind = type(message).__name__
            self.trace.count(end.process, f"{kind} {size_bytes} from {end.peer.process}")

    # ------------------------------------------------------------ what goes wrong

    def cut(self, one: str, other: str) -> None:
        """Cut two hosts off from each other, until `heal`."""
        self.cut_way(one, other)
        self.cut_way(other, one)

    def heal(self, one: str, other: str) -> None:
        """Let two hosts reach each other again; what was held arrives."""
        self.heal_way(one, other)
        self.heal_way(other, one)

    def cut_way(self, source: str, target: str) -> None:
        """Let nothing through from `source` to `target` until `heal_way`; cuts add up."""
        link = self.links.make(source, target)
        link.cut += 1
        if link.cut == 1:
            self._record(f"cut {source} {target}")
            loop = asyncio.get_running_loop()
            link.gone = loop.call_later(GONE_AFTER_S, lambda: self._give_up(source, target))

    def heal_way(self, source: str, target: str) -> None:
        """One cut of this way is over; after the last one what was held arrives."""
        link = self.links.between(source, target)
        if link is None or not link.cut:
            return
        link.cut -= 1
        if link.cut:
            return
        self._record(f"heal {source} {target}")
        if link.gone is not None:
            link.gone.cancel()
        held, link.held = link.held, []
        self.links.forget_if_good(source, target)
        for send in held:
            send()

    def silence(self, one: str, other: str) -> None:
        """Let all connections between two hosts be forgotten on their way: nobody is told."""
        self._record(f"silence {one} {other}")
        self._silence(self._between(one, other))

    def reset(self, one: str, other: str) -> None:
        """Reset all connections between two hosts, whatever is under way."""
        for end in self._between(one, other):
            if end.open:
                self._reset(end)

    def crash(self, process: str) -> None:
        """End a process's part in the network: its listeners, and its connections on both sides."""
        self._record(f"crash {process}")
        host = f"{process}:"
        self.listeners = {a: to for a, to in self.listeners.items() if not a.startswith(host)}
        for end in [end for end in self._ends if end.process == process]:
            if end.open:
                self.transmit(end, 0, end.peer.lose)
                end.lose()

    def lose_power(self, host: str) -> None:
        """A machine is off: nothing leaves it any more, nothing is answered, nobody is told."""
        self._without_power.add(host)
        self._silence([end for end in self._ends if host in (end.process, end.peer.process)])

    def has_power(self, host: str) -> bool:
        """Return whether a machine is on."""
        return host not in self._without_power

    def regain_power(self, host: str) -> None:
        """A machine is on again: it knows nothing of its connections, and says so."""
        if host in self._without_power:
            self._without_power.remove(host)
            for end in [end for end in self._ends if end.silent and end.peer.process == host]:
                self._lose(end)

    # ------------------------------------------------------------ inside

    def forget(self, end: End) -> None:
        """An end that is lost or closed needs no more attention."""
        self._ends.pop(end, None)

    def _between(self, one: str, other: str) -> list[End]:
        pair = {one, other}
        return [end for end in self._ends if {end.process, end.peer.process} == pair]

    def _silence(self, ends: list[End]) -> None:
        for end in ends:
            end.silent = True

        def give_up() -> None:
            for end in ends:
                self._lose(end)

        asyncio.get_running_loop().call_later(GONE_AFTER_S, give_up, context=Context())

    def _reset(self, end: End) -> None:
        self._record(f"reset {end.process} {end.peer.process}")
        self._lose(end)
        self._lose(end.peer)

    def _give_up(self, source: str, target: str) -> None:
        self.links.make(source, target).held.clear()
        for end in self._between(source, target):
            self._lose(end)

    def _lose(self, end: End) -> None:
        """Tell an end's process, in its own name, that the connection is lost."""
        asyncio.get_running_loop().call_soon(end.lose, context=self.contexts.get(end.process))

    def _take_toll(self, kind: str) -> None:
        if self.trace is not None:
            self.trace.toll[kind] += 1

    def _record(self, event: str) -> None:
        if self.trace is not None:
            self.trace.record("network", event)


def _as_it_was(host: str, message: object) -> object:
    return message


def _ignore(message: object) -> None:
    """Nobody uses this end yet."""


def _do_nothing() -> None:
    """Nobody uses this end yet."""
