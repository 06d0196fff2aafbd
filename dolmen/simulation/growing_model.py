"""Files that grow and shrink, in the model of the namespace: their content is part of its state.

A flush or a close moves the bytes behind those that the writer knew, in one step, or not at all; so
two writers that were both acknowledged for one position have no order that explains it. A reader
sees what was flushed, no less and no more, because it keeps to the file as it was when opened.

The search for an order holds as many states as lost answers allow, hundreds and more, so contents
share the pieces that were written instead of having each a copy of its own.
"""

from dataclasses import dataclass, field
from itertools import chain
from typing import Self

import xxhash

from dolmen.protocol.checksums import Buffer
from dolmen.simulation.namespace_model import DONE, Node, State, Step, refusal_to_find

GROWN = "/grown-"
"""Every file below a directory that begins so is written by these operations alone."""

NOT_ITS_WRITER = "somebody else has written"


@dataclass(frozen=True)
class Content:
    """All bytes of a file at one moment."""

    pieces: tuple[Buffer, ...] = field(default=(), repr=False, compare=False)
    length_bytes: int = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = xxhash.xxh3_64()
        for piece in self.pieces:
            digest.update(piece)
        object.__setattr__(self, "length_bytes", sum(map(len, self.pieces)))
        object.__setattr__(self, "digest", digest.hexdigest())

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return these bytes as one piece."""
        return cls((data,))

    @property
    def data(self) -> bytes:
        """A copy of all of it."""
        return b"".join(self.pieces)

    def first(self, length_bytes: int) -> tuple[Buffer, ...]:
        """Return the pieces of its beginning."""
        kept: list[Buffer] = []
        for piece in self.pieces:
            if length_bytes <= 0:
                break
            kept.append(memoryview(piece)[:length_bytes])
            length_bytes -= len(piece)
        return tuple(kept)


def is_grown(path: str) -> bool:
    """Return whether a path belongs to the files that grow."""
    return path.startswith(GROWN)


@dataclass(frozen=True)
class Start:
    """A file is made in place of what was there: by a writer that others see, which begins with an
    empty one, or whole."""

    path: str
    replication: int
    content: Content = field(default_factory=Content)

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        return {**state, self.path: Node(self.content, self.replication)}, DONE


@dataclass(frozen=True)
class Measure:
    """How long a file is, is seen: by a writer that begins behind its end, or who fences one."""

    path: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        return state, refusal or content_at(state, self.path).length_bytes


@dataclass(frozen=True)
class Extend:
    """Bytes are flushed behind the first `length_bytes` of a file, which are all it has."""

    path: str
    length_bytes: int
    more: Content

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        if refusal_to_find(state, self.path, above):
            return state, NOT_ITS_WRITER
        before = content_at(state, self.path)
        if before.length_bytes != self.length_bytes:
            return state, NOT_ITS_WRITER
        if not self.more.length_bytes:
            return state, DONE
        return _with(state, self.path, before.pieces + self.more.pieces), DONE


@dataclass(frozen=True)
class Cut:
    """The bytes of a file from `length_bytes` on are taken away."""

    path: str
    length_bytes: int

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        if refusal:
            return state, refusal
        before = content_at(state, self.path)
        if self.length_bytes > before.length_bytes:
            return state, "InvalidRequest"
        if self.length_bytes == before.length_bytes:
            return state, DONE
        return _with(state, self.path, before.first(self.length_bytes)), DONE


@dataclass(frozen=True)
class Join:
    """The bytes of other files come behind those of one, and the others vanish."""

    target: str
    sources: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.target, *self.sources)

    def apply(self, state: State, above: str) -> Step:
        for path in self.paths:
            refusal = refusal_to_find(state, path, above)
            if refusal:
                return state, refusal
        if len(set(self.paths)) < len(self.paths):
            return state, "InvalidRequest"
        joined = chain.from_iterable(content_at(state, path).pieces for path in self.paths)
        left = {path: node for path, node in state.items() if path not in self.sources}
        return _with(left, self.target, tuple(joined)), DONE


def content_at(state: State, path: str) -> Content:
    """Return what the file at a path contains."""
    content = state[path].version
    assert isinstance(content, Content), f"{path} does not grow"
    return content


def _with(state: State, path: str, pieces: tuple[Buffer, ...]) -> State:
    return {**state, path: Node(Content(pieces), state[path].replication)}
