"""Lines: connections of threads that wait, and coroutines that run in such a thread."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import pytest

from dolmen.protocol.client_messages import Delete, Done, GetInfo
from dolmen.protocol.control_messages import encode_error, encode_reply
from dolmen.protocol.errors import NoSuchPath, PeerLost
from dolmen.runtime.lines import (
    IDLE_S,
    LINES_MAX,
    REOPEN_AFTER_S,
    Line,
    Lines,
    loop_of_this_thread,
    run_here,
)
from dolmen.simulation.virtual_time import run

DONE = encode_reply(Done())


def answer(payload: bytes) -> bytes:
    return DONE


def lose(payload: bytes) -> bytes:
    raise PeerLost("lost")


def interrupt(payload: bytes) -> bytes:
    raise KeyboardInterrupt


@dataclass
class ScriptedConnection:
    """It answers as told."""

    reply: Callable[[bytes], bytes] = answer
    closed: bool = False

    def call(self, payload: bytes, timeout_s: float) -> bytes:
        return self.reply(payload)

    def close(self) -> None:
        self.closed = True


@dataclass
class Opener:
    """Opens lines, unless nobody is there."""

    nobody_there: bool = False
    opened: list[ScriptedConnection] = field(default_factory=list)

    def __call__(self) -> Line:
        if self.nobody_there:
            raise PeerLost("nobody is there")
        self.opened.append(ScriptedConnection())
        return Line(self.opened[-1], b"client id")


def ask(lines: Lines, line: Line) -> object:
    return lines.ask(line, line.sign("user", Delete("/f")), 5.0)


def on_loop(test: Callable[[Lines, Opener, asyncio.AbstractEventLoop], None]) -> None:
    async def main() -> None:
        opener = Opener()
        lines = Lines(opener)
        test(lines, opener, asyncio.get_running_loop())
        lines.close()

    run(main())


def taken(lines: Lines, loop: asyncio.AbstractEventLoop) -> Line:
    line = lines.take(loop)
    assert line is not None
    return line


def test_a_line_is_used_again_and_its_numbers_go_on() -> None:
    def test(lines: Lines, opener: Opener, loop: asyncio.AbstractEventLoop) -> None:
        first = taken(lines, loop)
        assert ask(lines, first) == Done()
        again = taken(lines, loop)
        assert again is first
        assert again.sign("user", GetInfo("/f")).number == 0
        assert again.sign("user", Delete("/f")).number == 2
        assert taken(lines, loop) is not first

    on_loop(test)


def test_a_refusal_is_an_answer() -> None:
    def test(lines: Lines, opener: Opener, loop: asyncio.AbstractEventLoop) -> None:
        line = taken(lines, loop)
        opener.opened[0].reply = lambda _: encode_error(NoSuchPath("/f"))
        with pytest.raises(NoSuchPath):
            ask(lines, line)
        assert taken(lines, loop) is line

    on_loop(test)


@pytest.mark.parametrize(
    ("reply", "error"),
    [(lose, PeerLost), (interrupt, KeyboardInterrupt)],
    ids=["lost", "interrupted"],
)
def test_a_line_without_a_reply_is_closed(
    reply: Callable[[bytes], bytes], error: type[BaseException]
) -> None:
    def test(lines: Lines, opener: Opener, loop: asyncio.AbstractEventLoop) -> None:
        line = taken(lines, loop)
        opener.opened[0].reply = reply
        with pytest.raises(error):
            ask(lines, line)
        assert opener.opened[0].closed
        assert taken(lines, loop) is not line

    on_loop(test)


def test_there_are_only_so_many() -> None:
    def test(lines: Lines, opener: Opener, loop: asyncio.AbstractEventLoop) -> None:
        held = [taken(lines, loop) for _ in range(LINES_MAX)]
        assert lines.take(loop) is None
        ask(lines, held[0])
        assert lines.take(loop) is held[0]

    on_loop(test)


def test_who_cannot_be_reached_is_left_alone_for_a_while() -> None:
    async def main() -> None:
        opener = Opener(nobody_there=True)
        lines, loop = Lines(opener), asyncio.get_running_loop()
        assert lines.take(loop) is None
        opener.nobody_there = False
        assert lines.take(loop) is None
        await asyncio.sleep(REOPEN_AFTER_S)
        assert lines.take(loop) is not None

    run(main())


def test_a_line_that_nobody_uses_is_closed() -> None:
    async def main() -> None:
        opener = Opener()
        lines, loop = Lines(opener), asyncio.get_running_loop()
        used, unused = taken(lines, loop), taken(lines, loop)
        ask(lines, unused)
        ask(lines, used)
        await asyncio.sleep(1.5 * IDLE_S)
        ask(lines, taken(lines, loop))
        await asyncio.sleep(IDLE_S)
        assert [one.closed for one in opener.opened] == [False, True]
        await asyncio.sleep(2 * IDLE_S)
        assert all(one.closed for one in opener.opened)
        assert taken(lines, loop) not in (used, unused)

    run(main())


def test_a_line_in_use_is_closed_when_its_call_is_over() -> None:
    def test(lines: Lines, opener: Opener, loop: asyncio.AbstractEventLoop) -> None:
        idle, used = taken(lines, loop), taken(lines, loop)
        ask(lines, idle)
        lines.close()
        assert [one.closed for one in opener.opened] == [True, False]
        ask(lines, used)
        assert opener.opened[1].closed
        assert lines.take(loop) is None

    on_loop(test)


# ---------------------------------------------------------------- coroutines


def test_a_coroutine_belongs_to_its_loop_while_it_runs_here() -> None:
    there = asyncio.new_event_loop()

    async def work() -> int:
        assert asyncio.get_running_loop() is there
        assert loop_of_this_thread() is there
        return 7

    async def main() -> None:
        here = asyncio.get_running_loop()
        assert run_here(there, work()) == 7
        assert asyncio.get_running_loop() is here

    assert run_here(there, work()) == 7
    assert loop_of_this_thread() is None
    asyncio.run(main())
    there.close()


def test_what_waits_for_more_than_a_call_is_refused() -> None:
    there = asyncio.new_event_loop()
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match=r"work.* waits for more than the namenode"):
        run_here(there, work())
    assert ended == [True]
    assert loop_of_this_thread() is None
    there.close()


def test_an_interrupt_at_any_step_leaves_the_thread_as_it_was() -> None:
    there = asyncio.new_event_loop()

    async def work() -> None:
        raise AssertionError("it was interrupted before")

    def interrupt_there(frame: FrameType, event: str, arg: object) -> Any:
        if event == "line" and asyncio._get_running_loop() is there:
            raise KeyboardInterrupt
        return interrupt_there

    coroutine, before = work(), sys.gettrace()
    sys.settrace(interrupt_there)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_here(there, coroutine)
    finally:
        sys.settrace(before)
    assert asyncio._get_running_loop() is None
    assert loop_of_this_thread() is None
    coroutine.close()
    there.close()
