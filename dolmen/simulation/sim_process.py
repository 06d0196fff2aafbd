"""One life of a simulated process, as its event loop sees it: which turns are its own.

Every turn of the loop (a timer, the next step of a task, something that arrives) belongs to the
process in whose context it was asked for. So a process can be stopped as SIGSTOP does: its turns
are kept, in their order, and taken when it goes on; meanwhile its timers do not fire and it
receives nothing, its connections stay open and its machine's kernel answers. And it can be struck
before any of its turns: between any two awaits of its code.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

_CURRENT: ContextVar["SimProcess | None"] = ContextVar("process", default=None)


class SimProcess:
    """What belongs to one life of a process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.context: Context = copy_context()
        """What is to be done in this process's name is asked for in this context."""
        self.paused = False
        self._held: list[Any] = []
        self._turns_left = 0
        self._strike: Callable[[], object] | None = None
        self.context.run(_CURRENT.set, self)

    @property
    def watched(self) -> bool:
        """Whether its turns need attention."""
        return self.paused or self._strike is not None

    def strike_before(self, turns: int, strike: Callable[[], object]) -> None:
        """Call `strike` before the turn after the next `turns` turns."""
        self._turns_left, self._strike = turns, strike

    def forget_strike(self) -> None:
        """It is over with this process, or the strike comes too late."""
        self._strike = None

    def let_go(self) -> list[Any]:
        """Return the turns that came while it was paused, in their order."""
        held, self._held = self._held, []
        return held

    def take_turn(self, turn: asyncio.Handle) -> bool:
        """Return whether a turn may be taken now; if not, it is kept."""
        if self.paused:
            self._held.append(turn)
            return False
        if self._strike is not None:
            self._turns_left -= 1
            if self._turns_left < 0:
                strike, self._strike = self._strike, None
                strike()
        return True


def current_process() -> str:
    """Return the name of the process whose turn this is; "" if it is nobody's."""
    process = _CURRENT.get()
    return process.name if process is not None else ""


def owner_of(context: Context) -> SimProcess | None:
    """Return the process to which a turn in this context belongs."""
    return context.get(_CURRENT)
