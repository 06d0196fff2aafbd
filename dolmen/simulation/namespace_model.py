"""The namespace in a dictionary: what each operation does to it, and what it is answered.

A state is a part of the tree: every path in it, and what stands there. Above that part are only
directories. States are never changed; an operation that changes nothing returns the very state that
it was given. An answer is "done", what was seen, or the name of the error that it was refused with.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Protocol

DIRECTORY = 0
"""Stands for a version where there is a directory."""

DONE = "done"


@dataclass(frozen=True)
class Node:
    """What stands at a path: a file's version (of one that grows: its content) and replication."""

    version: Hashable
    replication: int = 0


A_DIRECTORY = Node(DIRECTORY)

State = Mapping[str, Node]
Answer = Hashable
Step = tuple[State, Answer]


class Operation(Protocol):
    """One call, as the model does it."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths it is about; it touches nothing but these and what is below them."""

    def apply(self, state: State, above: str) -> Step:
        """Return the state after it, and its answer. `above` is the directory above the state."""


@dataclass(frozen=True)
class Open:
    """A writer is opened for a path: refused if it could not be published now."""

    path: str
    exclusive: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        return state, _refusal_to_publish(state, self.path, above, self.exclusive) or DONE


@dataclass(frozen=True)
class Publish:
    """A writer is closed: its file appears, whole, with the directories above it."""

    path: str
    version: int
    replication: int
    exclusive: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = _refusal_to_publish(state, self.path, above, self.exclusive)
        if refusal:
            return state, refusal
        parents = {path: A_DIRECTORY for path in _above(self.path, above) if path not in state}
        return {**state, **parents, self.path: Node(self.version, self.replication)}, DONE


@dataclass(frozen=True)
class Remove:
    """A file, or a directory with all that is in it, is deleted."""

    path: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        if refusal:
            return state, refusal
        return {path: node for path, node in state.items() if not _within(path, self.path)}, DONE


@dataclass(frozen=True)
class Move:
    """A file or directory gets another path, and replaces a file or an empty directory."""

    source: str
    target: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.source, self.target)

    def apply(self, state: State, above: str) -> Step:
        refusal = (
            _refusal_of_parent(state, self.source, above)
            or _refusal_of_parent(state, self.target, above)
            or refusal_to_find(state, self.source, above)
        )
        if refusal:
            return state, refusal
        if self.source == self.target:
            return state, DONE
        refusal = self._refusal_to_replace(state)
        if refusal:
            return state, refusal
        moved = [path for path in state if _within(path, self.source)]
        kept = {path: node for path, node in state.items() if path not in moved}
        there = {self.target + path[len(self.source) :]: state[path] for path in moved}
        return kept | there, DONE

    def _refusal_to_replace(self, state: State) -> str:
        if _within(self.target, self.source):
            return "InvalidRequest"
        replaced = state.get(self.target)
        if replaced is None:
            return ""
        if state[self.source].version != DIRECTORY:
            return "IsADirectory" if replaced.version == DIRECTORY else ""
        if replaced.version != DIRECTORY:
            return "NotADirectory"
        return "DirectoryNotEmpty" if _is_full(state, self.target) else ""


@dataclass(frozen=True)
class Replicate:
    """A file's wanted replication is changed."""

    path: str
    replication: int

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        if refusal:
            return state, refusal
        node = state[self.path]
        if node.version == DIRECTORY:
            return state, "InvalidRequest"
        if node.replication == self.replication:
            return state, DONE
        return {**state, self.path: Node(node.version, self.replication)}, DONE


@dataclass(frozen=True)
class Look:
    """A file is opened to be read: its version and replication are seen."""

    path: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        if refusal:
            return state, refusal
        node = state[self.path]
        return state, "IsADirectory" if node.version == DIRECTORY else node


@dataclass(frozen=True)
class ListTree:
    """Everything below a directory is seen at once, each path with its version."""

    path: str

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,)

    def apply(self, state: State, above: str) -> Step:
        refusal = refusal_to_find(state, self.path, above)
        if refusal:
            return state, refusal
        below = f"{self.path}/"
        return state, frozenset(
            (path, node.version) for path, node in state.items() if path.startswith(below)
        )


def _above(path: str, above: str) -> list[str]:
    """Return the directories over a path, as far as they are part of a state, the highest first."""
    names = path[len(above) :].split("/")[1:-1]
    return [above + "".join(f"/{name}" for name in names[:end]) for end in range(1, len(names) + 1)]


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _is_full(state: State, directory: str) -> bool:
    return any(path.startswith(f"{directory}/") for path in state)


def _refusal_of_parent(state: State, path: str, above: str) -> str:
    """Return why there is no directory for the last name of a path."""
    for directory in _above(path, above):
        if directory not in state:
            return "NoSuchPath"
        if state[directory].version != DIRECTORY:
            return "NotADirectory"
    return ""


def refusal_to_find(state: State, path: str, above: str) -> str:
    """Return why nothing can be found at a path."""
    return _refusal_of_parent(state, path, above) or ("" if path in state else "NoSuchPath")


def _refusal_to_publish(state: State, path: str, above: str, exclusive: bool) -> str:
    for directory in _above(path, above):
        if directory in state and state[directory].version != DIRECTORY:
            return "NotADirectory"
    there = state.get(path)
    if there is None:
        return ""
    if there.version == DIRECTORY:
        return "IsADirectory"
    return "PathExists" if exclusive else ""
