"""Processes of the benchmark's own that are no part of Dolmen: what a limit talks to, and crews."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

SPAWN = multiprocessing.get_context("spawn")
"""A forked process would share locks and event loops with this one."""

ANSWER_WITHIN_S = 120.0
"""Longer than any process here takes to start or to do its round; it ends what hangs."""


class PeerSilent(Exception):
    """A process of the benchmark's own ended, or hangs."""


@dataclass(frozen=True)
class Peer:
    """A running server: the port it listens on, and its process."""

    port: int
    pid: int


@contextmanager
def serving(serve: Callable[[Connection], None]) -> Iterator[Peer]:
    """Run `serve` in a process; it sends its port and then serves until it is killed."""
    with Worker(serve) as worker:
        yield Peer(int(worker.answer()), worker.pid)


class Worker:
    """A process with a pipe to it. Use it as a context manager: it is killed at the end."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=work, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, message: object) -> None:
        """Send something; `answer` returns what comes back."""
        self._pipe.send(message)

    def answer(self) -> float:
        """Return the next number that it sends; PeerSilent if none comes."""
        try:
            if self._pipe.poll(ANSWER_WITHIN_S):
                number: float = self._pipe.recv()
                return number
        except EOFError:
            raise PeerSilent(f"process {self.pid} of the benchmark has ended") from None
        raise PeerSilent(f"process {self.pid} of the benchmark is silent")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()
