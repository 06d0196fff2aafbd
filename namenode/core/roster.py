"""Datanodes made ready to be drawn from by room: all of them, and those of each host and rack.

Making one looks at every datanode; drawing does not. The weights are those of the moment it was
made: whoever draws looks at the room that is left now, and draws again if it does not suffice.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random
from typing import Generic, Protocol, TypeVar


class Site(Protocol):
    """A datanode, as far as placement looks at it."""

    @property
    def datanode_id(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def rack(self) -> str: ...
    @property
    def free_bytes(self) -> int: ...
    @property
    def load(self) -> int: ...
    @property
    def use(self) -> float:
        """The share of its space that blocks take."""


S = TypeVar("S", bound=Site)


class Pool(Generic[S]):
    """Datanodes, to be drawn in proportion to their room."""

    def __init__(self, sites: Sequence[S]) -> None:
        self.sites = sites
        # A full one can still take an empty block.
        self._heights = list(accumulate(max(site.free_bytes, 0) + 1 for site in sites))

    def draw(self, random: Random) -> S:
        """Return one of them; there must be one."""
        return self.sites[bisect_right(self._heights, random.random() * self._heights[-1])]


class Roster(Generic[S]):
    """Datanodes that may take new replicas, in an order that does not vary."""

    def __init__(self, sites: Iterable[S] = ()) -> None:
        self.everyone: Pool[S] = Pool(list(sites))
        self.hosts: dict[str, list[S]] = {}
        self.racks: dict[str, list[S]] = {}
        self._rack_pools: dict[str, Pool[S]] = {}
        for site in self.everyone.sites:
            self.hosts.setdefault(site.host, []).append(site)
            self.racks.setdefault(site.rack, []).append(site)

    def on_host(self, host: str) -> Pool[S]:
        """Return those on one host."""
        return Pool(self.hosts.get(host, []))

    def in_rack(self, rack: str) -> Pool[S]:
        """Return those in one rack."""
        known = self._rack_pools.get(rack)
        if known is None:
            known = self._rack_pools[rack] = Pool(self.racks.get(rack, []))
        return known
