"""What clients did and were answered, and what may therefore be there.

A directory that one task works on, one operation after the other, has a sequential history. An
operation whose answer was lost may have happened or not, so the directory may be in one of several
states; every later answer rules some of them out. An answer that rules out all of them is a lie.

A path that everybody writes is a register. A version that a read brings must not have been replaced
before the read began, by a write that began after that version's own had ended.

Every version of a file has contents of its own, drawn from its number: what a read brings is one
version's bytes, or bytes that nobody wrote there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random

import xxhash

from dolmen.protocol.errors import DirectoryNotEmpty, DolmenError, NoSuchPath, PathExists
from dolmen.simulation.finding import CheckFailed

State = dict[str, int]
"""Name → version, of everything in a directory and in the directories in it."""

DIRECTORY = 0
"""Stands for a version."""


@dataclass(frozen=True)
class Version:
    """One content that somebody wrote."""

    number: int
    length_bytes: int
    content_hash: bytes


class Versions:
    """All contents of a run; they are made again from their number when they are needed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._numbers = count(1)
        self._versions: dict[int, Version] = {}
        self._by_hash: dict[bytes, int] = {}

    def draw(self, length_bytes: int) -> tuple[Version, bytes]:
        """Return a new version and its contents."""
        number = next(self._numbers)
        contents = self._contents(number, length_bytes)
        version = Version(number, length_bytes, xxhash.xxh3_128_digest(contents))
        self._versions[number] = version
        self._by_hash.setdefault(version.content_hash, number)
        return version, contents

    def get(self, number: int) -> Version:
        """Return a version by its number."""
        return self._versions[number]

    def contents(self, number: int) -> bytes:
        """Return the contents of a version."""
        return self._contents(number, self._versions[number].length_bytes)

    def identify(self, contents: bytes | bytearray) -> int | None:
        """Return the number of the version with these contents; None if nobody wrote them."""
        return self.number_of(xxhash.xxh3_128_digest(contents))

    def number_of(self, content_hash: bytes) -> int | None:
        """Return the number of the version with this hash; None if nobody wrote it."""
        return self._by_hash.get(content_hash)

    def _contents(self, number: int, length_bytes: int) -> bytes:
        return Random(f"{self._seed} {number}").randbytes(length_bytes)


# ---------------------------------------------------------------- one task's directory


@dataclass(frozen=True)
class Write:
    """A file is written, and replaces what had its name; or is refused, if it is exclusive."""

    name: str
    version: int
    exclusive: bool = False

    def apply(self, state: State) -> State | type[DolmenError]:
        if self.exclusive and self.name in state:
            return PathExists
        parent, slash, _ = self.name.partition("/")
        return state | ({parent: DIRECTORY} if slash else {}) | {self.name: self.version}


@dataclass(frozen=True)
class Change:
    """A file is changed in a way that its contents do not show."""

    name: str

    def apply(self, state: State) -> State | type[DolmenError]:
        return state if self.name in state else NoSuchPath


@dataclass(frozen=True)
class Delete:
    """A file, or a directory with all that is in it, is deleted."""

    name: str

    def apply(self, state: State) -> State | type[DolmenError]:
        if self.name not in state:
            return NoSuchPath
        gone = below(state, self.name) | {self.name}
        return {name: version for name, version in state.items() if name not in gone}


@dataclass(frozen=True)
class Rename:
    """A file or directory gets another name, and replaces a file or an empty directory."""

    source: str
    target: str

    def apply(self, state: State) -> State | type[DolmenError]:
        parent, slash, _ = self.target.partition("/")
        if self.source not in state or (slash and parent not in state):
            return NoSuchPath
        if self.source == self.target:
            return state
        if below(state, self.target):
            return DirectoryNotEmpty
        moved = below(state, self.source) | {self.source}
        kept = {name: version for name, version in state.items() if name not in moved}
        there = {self.target + name[len(self.source) :]: state[name] for name in sorted(moved)}
        return kept | there


def below(state: State, name: str) -> set[str]:
    """Return what is in a directory."""
    return {inner for inner in state if inner.startswith(f"{name}/")}


Operation = Write | Change | Delete | Rename


class DirectoryHistory:
    """The states that a directory may be in."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._possible: list[State] = [{}]
        self._story: list[str] = []

    @property
    def is_certain(self) -> bool:
        """Whether only one state is possible."""
        return len(self._possible) == 1

    def succeeded(self, operation: Operation) -> None:
        """It was answered: done."""
        self._note(f"done {operation}")
        after = [operation.apply(state) for state in self._possible]
        self._set([state for state in after if isinstance(state, dict)])

    def refused(self, operation: Operation, error: DolmenError) -> None:
        """It was answered: not done, because of the state."""
        self._note(f"refused {operation}: {type(error).__name__}")
        self._set([s for s in self._possible if operation.apply(s) is type(error)])

    def left_open(self, operation: Operation) -> None:
        """Nobody knows whether it was done."""
        self._note(f"unknown {operation}")
        after = [operation.apply(state) for state in self._possible]
        self._set(self._possible + [state for state in after if isinstance(state, dict)])

    def observed(self, what: str, fits: Callable[[State], bool]) -> None:
        """A read brought something: only states that fit it are left."""
        self._note(f"observed {what}")
        self._set([state for state in self._possible if fits(state)])

    def _set(self, states: list[State]) -> None:
        distinct: list[State] = []
        for state in states:
            if state not in distinct:
                distinct.append(state)
        if not distinct:
            told = "; ".join(self._story[-STORY_TOLD:])
            raise CheckFailed(
                f"{self.path} cannot be as it is seen: {told}; before that it was one of"
                f" {self._possible}"
            )
        self._possible = distinct

    def _note(self, event: str) -> None:
        self._story.append(event)


STORY_TOLD = 12
"""Events told when a history breaks: what broke it is among the last."""


# ---------------------------------------------------------------- everybody's path


@dataclass
class RegisterWrite:
    """One write of a register, from its beginning to its answer."""

    version: int
    started_s: float
    ended_s: float = math.inf
    """Infinite until it is answered, and if it never is."""


class Register:
    """The history of a path that everybody writes and nobody deletes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._writes: dict[int, RegisterWrite] = {}

    def began(self, version: int, now_s: float) -> None:
        """A write of this version is under way."""
        self._writes[version] = RegisterWrite(version, now_s)

    def succeeded(self, version: int, now_s: float) -> None:
        """It was answered: done."""
        self._writes[version].ended_s = now_s

    def gave_up(self, version: int) -> None:
        """It was answered: not done."""
        del self._writes[version]

    def check_read(self, version: int | None, started_s: float) -> None:
        """Raise if a read that began at `started_s` must not bring this version (None: no file)."""
        before = [write for write in self._writes.values() if write.ended_s < started_s]
        if version is None:
            if before:
                raise CheckFailed(f"{self.path} is gone, although {before[-1]} was acknowledged")
            return
        written = self._writes.get(version)
        if written is None:
            raise CheckFailed(f"{self.path} has version {version}, which was never put there")
        later = [write for write in before if write.started_s > written.ended_s]
        if later:
            raise CheckFailed(
                f"{self.path}: a read that began at {started_s:.6f} brought {written}, which"
                f" {later[-1]} had replaced"
            )
