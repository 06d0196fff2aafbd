"""What the simulated network does that a real one does only on a bad day."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from typing import Any

import pytest

from dolmen.protocol.errors import PeerLost
from dolmen.runtime.transport import Body, Incoming, Outgoing, Session, body_of
from dolmen.simulation import virtual_time
from dolmen.simulation.sim_network import GONE_AFTER_S, Conditions, SimNetwork
from dolmen.simulation.sim_transport import SimTransport
from dolmen.simulation.trace import Trace


class Remembering:
    """A service that remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[bytes] = []
        self.sessions_closed = 0

    def open_session(self, peer_host: str) -> Session:
        return self

    async def answer(self, payload: bytes) -> bytes:
        self.calls.append(payload)
        return payload

    def closed(self) -> None:
        self.sessions_closed += 1

    async def exchange(self, incoming: Incoming) -> Outgoing:
        await incoming.body.skip()
        return Outgoing(incoming.head)


class Pair:
    """A server and a client process."""

    def __init__(self, conditions: Conditions | None = None, seed: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.trace = Trace(loop.time)
        self.network = SimNetwork(Random(seed), conditions, self.trace)
        self.server = SimTransport(self.network, "server")
        self.client = SimTransport(self.network, "client")
        self.service = Remembering()


def run(scenario: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        pair = Pair()
        await pair.server.listen(pair.service, "server", 9870)
        await scenario(pair)
        assert pair.network.failures == []

    virtual_time.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


def test_what_is_sent_into_a_cut_arrives_when_it_is_healed() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        pair.network.cut("client", "server")
        with pytest.raises(PeerLost, match="within 5 s"):
            await connection.call(b"lost", 5)
        assert pair.service.calls == []
        pair.network.heal("server", "client")
        assert await connection.call(b"back", 5) == b"back"
        assert pair.service.calls == [b"lost", b"back"]

    run(scenario)


def test_a_connection_over_a_cut_that_lasts_is_lost_on_both_sides() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        await connection.call(b"x", 5)
        pair.network.cut("client", "server")
        started = now()
        await connection.wait_closed()
        assert now() - started == pytest.approx(GONE_AFTER_S)
        await asyncio.sleep(1)
        assert pair.service.sessions_closed == 1
        with pytest.raises(PeerLost, match="within 3 s"):
            await pair.client.connect("server:9870", 3)
        pair.network.heal("client", "server")
        again = await pair.client.connect("server:9870", 3)
        assert await again.call(b"x", 5) == b"x"

    run(scenario)


def test_a_cut_stalls_an_exchange_in_the_middle_of_its_body() -> None:
    async def scenario(pair: Pair) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield bytes(1000)
            pair.network.cut("client", "server")
            while True:
                yield bytes(100_000)

        with pytest.raises(PeerLost, match="no progress for 7 s"):
            async with pair.client.exchange(
                "server:9870", b"", Body(10_000_000, pieces()), stall_s=7
            ):
                pass

    run(scenario)


def test_the_death_of_a_process_is_seen_by_its_peers_and_it_can_start_again() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        pair.network.crash("server")
        started = now()
        await connection.wait_closed()
        assert now() - started < 0.01
        with pytest.raises(PeerLost, match="refused"):
            await pair.client.connect("server:9870", 3)
        restarted = SimTransport(pair.network, "server")
        await restarted.listen(pair.service, "server", 9870)
        await pair.client.connect("server:9870", 3)

    run(scenario)


def test_a_reset_hits_exchanges_in_mid_body() -> None:
    async def scenario(pair: Pair) -> None:
        pair.network.conditions.reset_chance = 0.1
        outcomes: list[str] = []
        for _ in range(50):
            body = body_of(*[bytes(100_000)] * 5)
            try:
                async with pair.client.exchange("server:9870", b"head", body) as answered:
                    outcomes.append(answered.head.decode())
            except PeerLost:
                outcomes.append("lost")
        assert 5 < outcomes.count("head") < 45

    run(scenario)


def test_a_message_takes_its_time_and_bytes_take_more() -> None:
    async def scenario(pair: Pair) -> None:
        pair.network.conditions = Conditions(
            delay_min_s=0.1, delay_max_s=0.1, bytes_per_s=1_000_000
        )
        connection = await pair.client.connect("server:9870", 3)
        started = now()
        await connection.call(b"", 5)
        assert now() - started == pytest.approx(0.2, abs=0.001)
        started = now()
        await connection.call(bytes(500_000), 5)
        assert now() - started == pytest.approx(0.2 + 1.0, abs=0.001)

    run(scenario)


def test_calls_arrive_in_the_order_they_were_sent() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        calls = [connection.call(b"%03d" % number, 5) for number in range(100)]
        await asyncio.gather(*calls)
        assert pair.service.calls == sorted(pair.service.calls)

    run(scenario)


def traced_run(seed: int) -> str:
    async def main() -> str:
        pair = Pair(Conditions(reset_chance=0.05), seed)
        await pair.server.listen(pair.service, "server", 9870)
        for number in range(100):
            body = body_of(bytes(50_000))
            try:
                async with pair.client.exchange("server:9870", b"%d" % number, body):
                    pair.trace.record("client", f"answered {number}")
            except PeerLost as error:
                pair.trace.record("client", error.message)
        return pair.trace.digest()

    return virtual_time.run(main())


def test_equal_seeds_give_equal_traces_and_others_do_not() -> None:
    assert traced_run(1) == traced_run(1)
    assert traced_run(1) != traced_run(2)


def test_what_arrives_first_on_a_connection_after_its_listener_closed_is_not_served() -> None:
    async def main() -> None:
        pair = Pair()
        listener = await pair.server.listen(pair.service, "server", 9870)
        connecting = asyncio.create_task(pair.client.connect("server:9870", 3))
        await asyncio.sleep(0.0011)  # accepted, and its first message still on the way
        await listener.close()
        with pytest.raises(PeerLost):
            await (await connecting).call(b"x", 5)
        assert pair.service.calls == []
        assert pair.network.failures == []

    virtual_time.run(main())


def test_a_cut_of_one_way_lets_the_other_way_through() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        pair.network.cut_way("server", "client")
        with pytest.raises(PeerLost, match="within 5 s"):
            await connection.call(b"heard", 5)
        assert pair.service.calls == [b"heard"]
        pair.network.heal_way("server", "client")
        assert await connection.call(b"again", 5) == b"again"

    run(scenario)


def test_nobody_is_told_that_a_connection_was_forgotten_until_it_is_given_up() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        pair.network.silence("client", "server")
        with pytest.raises(PeerLost, match="within 5 s"):
            await connection.call(b"lost", 5)
        assert not connection.closed
        again = await pair.client.connect("server:9870", 3)
        assert await again.call(b"x", 5) == b"x"
        await asyncio.sleep(GONE_AFTER_S)
        assert connection.closed

    run(scenario)


def test_a_machine_without_power_answers_nobody_and_says_so_when_it_is_back() -> None:
    async def scenario(pair: Pair) -> None:
        connection = await pair.client.connect("server:9870", 3)
        pair.network.lose_power("server")
        pair.network.crash("server")
        await asyncio.sleep(5)
        assert not connection.closed
        with pytest.raises(PeerLost, match="did not answer"):
            await pair.client.connect("server:9870", 3)
        pair.network.regain_power("server")
        await asyncio.sleep(0.1)
        assert connection.closed

    run(scenario)


def test_lost_packets_delay_messages_and_keep_their_order() -> None:
    async def scenario(pair: Pair) -> None:
        pair.network.conditions.loss_chance = 0.3
        connection = await pair.client.connect("server:9870", 10)
        started = now()
        await asyncio.gather(*(connection.call(b"%03d" % number, 60) for number in range(50)))
        assert now() - started > 0.2
        assert pair.service.calls == sorted(pair.service.calls)

    run(scenario)
