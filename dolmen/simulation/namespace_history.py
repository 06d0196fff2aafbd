"""Every operation on the namespace, with its beginning and its answer, and what explains them.

The namespace is checked in realms, each on its own (linearizability is local): a top-level
directory with all that is in it, or each file in a directory that itself never changes. An
operation over two realms, a rename of a tree, makes one of them for good.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from dolmen.simulation.linearizer import Realm
from dolmen.simulation.namespace_model import Answer, Operation

LOST_S = 200.0
"""An operation without an answer has happened by then, or never will: what is on its way is held by
the network or by a process for less, and whoever would repeat it has given up."""


class NamespaceHistory:
    """The realms of a run. `flat` directories stay, and hold files that stay in them."""

    def __init__(self, now_s: Callable[[], float], flat: Iterable[str] = ()) -> None:
        self._now_s = now_s
        self._flat = frozenset(flat)
        self._realms: dict[str, Realm] = {}
        self._numbers = count(1)
        self._lost: list[tuple[float, int, str]] = []

    def begin(self, operation: Operation) -> "Call":
        """Note that an operation begins."""
        self._forget_old()
        number = next(self._numbers)
        name = self._name_of(operation.paths[0])
        realm = self._realm(name)
        for path in operation.paths[1:]:
            self._join(realm, self._name_of(path))
        realm.begin(number, operation)
        return Call(self, number, name)

    def realm_of(self, path: str) -> Realm:
        """Return the realm that a path belongs to now."""
        return self._realm(self._name_of(path))

    def blind(self) -> list[str]:
        """Return the realms that became too much to check."""
        return sorted({realm.name for realm in self._realms.values() if realm.blind})

    def answer(self, name: str, number: int, answer: Answer) -> None:
        """An operation was answered."""
        self._realm(name).answer(number, answer)

    def not_done(self, name: str, number: int) -> None:
        """An operation was refused for a reason that the model does not know."""
        self._realm(name).not_done(number)

    def lose(self, name: str, number: int) -> None:
        """Nobody will hear the answer to an operation."""
        self._lost.append((self._now_s() + LOST_S, number, name))

    def _realm(self, name: str) -> Realm:
        if name not in self._realms:
            self._realms[name] = Realm(name, name.rpartition("/")[0])
        return self._realms[name]

    def _join(self, realm: Realm, name: str) -> None:
        other = self._realm(name)
        if other is not realm:
            realm.absorb(other)
            self._realms |= {each: realm for each, it in self._realms.items() if it is other}

    def _name_of(self, path: str) -> str:
        top, _, rest = path[1:].partition("/")
        if rest and f"/{top}" in self._flat:
            return f"/{top}/{rest.partition('/')[0]}"
        return f"/{top}"

    def _forget_old(self) -> None:
        while self._lost and self._lost[0][0] <= self._now_s():
            _, number, name = self._lost.pop(0)
            self._realm(name).forget(number)

    def realms(self) -> Iterator[Realm]:
        """Yield every realm once."""
        yield from dict.fromkeys(self._realms.values())


class Call:
    """One operation between its beginning and its answer."""

    def __init__(self, history: NamespaceHistory, number: int, realm: str) -> None:
        self._history = history
        self._number = number
        self._realm = realm
        self.open = True

    def answered(self, answer: Answer) -> None:
        """This was the answer."""
        self.open = False
        self._history.answer(self._realm, self._number, answer)

    def not_done(self) -> None:
        """It failed for a reason that lies outside the namespace, and nothing was done."""
        self.open = False
        self._history.not_done(self._realm, self._number)

    def lost(self) -> None:
        """Whether it was done nobody will say."""
        if self.open:
            self.open = False
            self._history.lose(self._realm, self._number)
