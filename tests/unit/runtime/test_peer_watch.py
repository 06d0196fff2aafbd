"""Who stands still is left, who only takes long is waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.peer_watch import LOOK_AFTER_S, OVERSLEPT_S, SILENCE_S, PeerWatch
from dolmen.runtime.transport import Incoming, Outgoing
from dolmen.simulation.sim_network import SimNetwork
from dolmen.simulation.sim_process import SimProcess
from dolmen.simulation.sim_transport import SimTransport
from dolmen.simulation.virtual_time import VirtualTimeLoop, run

ADDRESS = "peer:1"


class Peer:
    """A process that answers calls after a while; None: never."""

    def __init__(self, answers_after_s: float | None) -> None:
        self.answers_after_s = answers_after_s
        self.calls = 0

    def open_session(self, peer_host: str) -> "Peer":
        return self

    async def answer(self, payload: bytes) -> bytes:
        self.calls += 1
        if self.answers_after_s is None:
            await asyncio.Event().wait()
        await asyncio.sleep(self.answers_after_s or 0)
        return b"no"

    def closed(self) -> None:
        """Nothing was kept."""

    async def exchange(self, incoming: Incoming) -> Outgoing:
        raise AssertionError("nobody asks for blocks")


def on_watch(peer: Peer | None, test: Callable[[PeerWatch, SimNetwork], Awaitable[None]]) -> None:
    async def main() -> None:
        network = SimNetwork(Random(0))
        if peer is not None:
            await SimTransport(network, "peer").listen(peer, "peer", 1)
        await test(PeerWatch(SimTransport(network, "we")), network)
        await asyncio.sleep(2 * SILENCE_S)
        assert network.connections == 0
        assert network.failures == []

    run(main())


async def after(seconds: float, answer: str = "done") -> str:
    await asyncio.sleep(seconds)
    return answer


@pytest.mark.parametrize("peer", [Peer(0.0), Peer(SILENCE_S * 0.9), None])
def test_whoever_gives_any_sign_of_life_is_waited_for(peer: Peer | None) -> None:
    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        assert await watch.over(ADDRESS, after(60)) == "done"

    on_watch(peer, test)


def test_who_stands_still_is_left_and_the_exchange_ended() -> None:
    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        ended = asyncio.Event()

        async def exchange() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()

        with pytest.raises(PeerLost, match="stands still"):
            await watch.over(ADDRESS, exchange())
        assert ended.is_set()
        now_s = asyncio.get_running_loop().time()
        assert now_s == pytest.approx(LOOK_AFTER_S + SILENCE_S, abs=0.01)

    on_watch(Peer(None), test)


def test_a_host_that_does_not_answer_at_all_is_left() -> None:
    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        network.cut("we", "peer")
        with pytest.raises(PeerLost, match="stands still"):
            await watch.over(ADDRESS, after(60))

    on_watch(Peer(0.0), test)


def test_a_quick_exchange_is_not_looked_after_and_its_failure_is_its_own() -> None:
    peer = Peer(0.0)

    async def fail() -> None:
        raise PeerLost("it broke off")

    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        assert await watch.over(ADDRESS, after(LOOK_AFTER_S / 2)) == "done"
        with pytest.raises(PeerLost, match="it broke off"):
            await watch.over(ADDRESS, fail())
        assert peer.calls == 0

    on_watch(peer, test)


def test_an_answer_that_comes_during_the_silence_counts() -> None:
    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        assert await watch.over(ADDRESS, after(LOOK_AFTER_S + SILENCE_S / 2)) == "done"

    on_watch(Peer(None), test)


def test_many_exchanges_with_one_peer_look_together() -> None:
    peer = Peer(0.1)

    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        exchanges = [watch.over(ADDRESS, after(1.0, str(n))) for n in range(50)]
        assert await asyncio.gather(*exchanges) == [str(n) for n in range(50)]
        assert peer.calls == 1

    on_watch(peer, test)


def test_who_stood_still_himself_blames_nobody() -> None:
    peer = Peer(None)

    async def test(watch: PeerWatch, network: SimNetwork) -> None:
        loop, ourselves = asyncio.get_running_loop(), SimProcess("we")
        assert isinstance(loop, VirtualTimeLoop)
        network.contexts["we"] = ourselves.context
        asking = loop.create_task(watch.over(ADDRESS, after(60)), context=ourselves.context)
        await asyncio.sleep(LOOK_AFTER_S + SILENCE_S / 2)
        loop.pause(ourselves)
        await asyncio.sleep(SILENCE_S / 2 + 2 * OVERSLEPT_S)
        peer.answers_after_s = 0.0
        loop.go_on(ourselves)
        assert await asking == "done"

    on_watch(peer, test)
