"""Whether answers can come from one namespace that does one operation after the other.

The search of Wing and Gong, in the form of Lowe: just in time. A configuration is a state that the
namespace may be in now, with the answers that pending operations would be given: of those that have
changed the state by now the one answer, of the others all that they could have had on the way. An
answer that arrives keeps the configurations that explain it, after as few of the pending operations
as explain it, in every order. If none does, there is no such order at all.

An operation whose answer is lost stays pending for a while: it may happen late. How many of them
there are, not how long the history is, bounds the work; beyond LIMIT a part is no longer checked,
and says so: to drop configurations would be to accuse the innocent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from posixpath import commonpath

from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.namespace_model import A_DIRECTORY, DONE, Answer, Operation, State

LIMIT = 2_000
"""Configurations looked at for one answer; some ten are usual, with four lost answers a hundred."""

STORY_TOLD = 16
"""Events told when no order explains an answer: what broke it is among the last."""


@dataclass(frozen=True)
class Configuration:
    """One way in which all that was answered may have come about."""

    state: State
    changed: frozenset[tuple[int, Answer]]
    """The pending operations that have changed the state, with their answer."""
    glimpsed: frozenset[tuple[int, Answer]]
    """Answers that the other pending ones may have been given without a change."""
    key: frozenset[object] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", frozenset(self.state.items()))

    @property
    def identity(self) -> object:
        """What two equal ones have in common."""
        return self.key, self.changed, self.glimpsed

    def without(self, number: int) -> "Configuration":
        """Return the same without one of the pending operations."""
        return Configuration(
            self.state,
            frozenset(pair for pair in self.changed if pair[0] != number),
            frozenset(pair for pair in self.glimpsed if pair[0] != number),
        )


class Realm:
    """A part of the namespace that no operation leaves: all its operations, and no other's."""

    def __init__(self, name: str, above: str) -> None:
        self.name = name
        self.above = above
        """The directory above all of it."""
        self.blind = False
        """Whether there was too much to keep track of."""
        self._pending: dict[int, Operation] = {}
        self._possible = [Configuration({}, frozenset(), frozenset())]
        self._story: list[str] = []
        self._looked_at = 0

    @property
    def configurations(self) -> int:
        """How many there are now."""
        return len(self._possible)

    def last_state(self) -> State | None:
        """Return the state that all answers lead to, if only one does; what has not been answered
        may have changed it."""
        states = {configuration.key: configuration.state for configuration in self._possible}
        return next(iter(states.values())) if len(states) == 1 and not self.blind else None

    def certain_state(self) -> State | None:
        """Return the state, if only one is possible now."""
        if any(True for each in self._possible for _ in self._changes(each)):
            return None
        return self.last_state()

    def begin(self, number: int, operation: Operation) -> None:
        """An operation begins: from now on it may happen."""
        self._note(f"{number} begins: {operation}")
        self._pending[number] = operation
        self._set(self._seen_by(number, each) for each in self._possible)

    def answer(self, number: int, answer: Answer) -> None:
        """It was answered: some order must explain that."""
        self._note(f"{number} is answered: {answer}")
        if self.blind:
            return
        self._looked_at = 0
        kept = [
            explained.without(number)
            for each in self._possible
            for explained in self._explain(each, number, answer)
        ]
        del self._pending[number]
        if self._looked_at > LIMIT:
            self.blind = True
        self._set(kept)

    def not_done(self, number: int) -> None:
        """It came to its end, and nothing was done."""
        self._note(f"{number} was not done")
        if self.blind:
            return
        kept = [c for c in self._possible if all(number != done for done, _ in c.changed)]
        del self._pending[number]
        self._set(each.without(number) for each in kept)

    def forget(self, number: int) -> None:
        """Its answer was lost, so long ago that it has happened by now if it ever will."""
        self._note(f"{number} has happened, or never will")
        if self.blind:
            return
        self._looked_at = 0
        kept = [
            either.without(number)
            for each in self._possible
            for either in (each, *self._done_unseen(each, number))
        ]
        self._pending.pop(number, None)
        if self._looked_at > LIMIT:
            self.blind = True
        self._set(kept)

    def absorb(self, other: "Realm") -> None:
        """Become one with another realm: an operation concerns both."""
        self.name = f"{self.name} and {other.name}"
        self._rise(commonpath([self.above or "/", other.above or "/"]).rstrip("/"))
        other._rise(self.above)
        self.blind |= other.blind
        self._pending |= other._pending
        self._story += other._story
        self._set(
            Configuration(
                {**one.state, **two.state}, one.changed | two.changed, one.glimpsed | two.glimpsed
            )
            for one in self._possible
            for two in other._possible
        )

    def _rise(self, above: str) -> None:
        """Let directories that were above this realm, and are always there, be part of it."""
        there = {}
        while self.above != above:
            there[self.above] = A_DIRECTORY
            self.above = self.above.rpartition("/")[0]
        if there:
            self._possible = [
                Configuration({**there, **each.state}, each.changed, each.glimpsed)
                for each in self._possible
            ]

    # ------------------------------------------------------------ the search

    def _explain(
        self, start: Configuration, number: int, answer: Answer
    ) -> Iterator[Configuration]:
        """Yield the configurations from here in which an operation was given this answer."""
        if any(done == number for done, _ in start.changed):
            if (number, answer) in start.changed:
                yield start
            return
        if (number, answer) in start.glimpsed:
            yield start
            if answer != DONE:
                return  # it was seen; whatever else is pending may happen later
        seen = {start.identity}
        pending = [start]
        while pending and self._looked_at <= LIMIT:
            configuration = pending.pop()
            for done, after in self._changes(configuration):
                if after.identity in seen:
                    continue
                seen.add(after.identity)
                self._looked_at += 1
                if done == number:
                    if (number, answer) in after.changed:
                        yield after
                    continue
                if (number, answer) in after.glimpsed:
                    yield after
                    if answer != DONE:
                        continue
                pending.append(after)

    def _done_unseen(self, start: Configuration, number: int) -> Iterator[Configuration]:
        """Yield the configurations from here in which an operation has changed the state, though
        no answer has shown it yet."""
        if any(done == number for done, _ in start.changed):
            return
        seen = {start.identity}
        pending = [start]
        while pending and self._looked_at <= LIMIT:
            for done, after in self._changes(pending.pop()):
                if after.identity in seen:
                    continue
                seen.add(after.identity)
                self._looked_at += 1
                if done == number:
                    yield after
                else:
                    pending.append(after)

    def _changes(self, before: Configuration) -> Iterator[tuple[int, Configuration]]:
        """Yield what each of the pending operations makes of a configuration, if it changes it."""
        done = {number for number, _ in before.changed}
        for number, operation in self._pending.items():
            if number in done:
                continue
            state, answer = operation.apply(before.state, self.above)
            if state is before.state:
                continue
            changed = before.changed | {(number, answer)}
            left = frozenset(pair for pair in before.glimpsed if pair[0] != number)
            yield number, self._glimpse(Configuration(state, changed, left))

    def _glimpse(self, new: Configuration) -> Configuration:
        """Let all pending operations see a state."""
        done = {number for number, _ in new.changed}
        glimpsed = set(new.glimpsed)
        for number, operation in self._pending.items():
            if number not in done:
                state, answer = operation.apply(new.state, self.above)
                if state is new.state:
                    glimpsed.add((number, answer))
        return Configuration(new.state, new.changed, frozenset(glimpsed))

    def _seen_by(self, number: int, before: Configuration) -> Configuration:
        state, answer = self._pending[number].apply(before.state, self.above)
        if state is not before.state:
            return before
        return Configuration(before.state, before.changed, before.glimpsed | {(number, answer)})

    def _set(self, found: "Iterator[Configuration] | list[Configuration]") -> None:
        if self.blind:
            return
        distinct: dict[object, Configuration] = {}
        for each in found:
            distinct.setdefault(each.identity, each)
            if len(distinct) > LIMIT:
                self.blind = True
                return
        if not distinct:
            told = "; ".join(self._story[-STORY_TOLD:])
            before = [dict(each.state) for each in self._possible[:4]]
            raise CheckFailed(
                f"no order of the operations on {self.name} explains: {told}; before that it was"
                f" one of {before}"
            )
        self._possible = list(distinct.values())

    def _note(self, event: str) -> None:
        self._story.append(event)
        del self._story[: -2 * STORY_TOLD]
