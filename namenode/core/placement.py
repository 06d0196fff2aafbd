"""Where new replicas go: one rule, for writing and for repair.

The first replica goes to the writer's host, the second to another rack, the third to that same
other rack, the rest anywhere; each to the less loaded of two datanodes drawn in proportion to their
room; never two on one datanode, and two on one host only while no other host can take one.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Protocol, TypeVar

import msgspec


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


class Place(msgspec.Struct, frozen=True):
    """Where a replica already is, or is to be."""

    datanode_id: str
    host: str
    rack: str


class Request(msgspec.Struct, frozen=True):
    """How many replicas of which length are wanted, and what is to be respected."""

    wanted: int
    length_bytes: int
    writer_host: str = ""
    holders: tuple[Place, ...] = ()  # never chosen; their hosts and racks count
    excluded: frozenset[str] = frozenset()  # datanode ids never chosen; they count for nothing


S = TypeVar("S", bound=Site)


def choose(sites: Iterable[S], request: Request, random: Random) -> tuple[S, ...]:
    """Return up to `request.wanted` of `sites`, in pipeline order; fewer when no more can take one.

    `sites` are the datanodes that are LIVE and in service, in an order that does not vary.
    """
    barred = request.excluded | {place.datanode_id for place in request.holders}
    free = [
        site
        for site in sites
        if site.datanode_id not in barred and site.free_bytes >= request.length_bytes
    ]
    places = list(request.holders)
    chosen: list[S] = []
    while free and len(chosen) < request.wanted:
        site = _draw(_preferred(free, places, request.writer_host), random)
        free.remove(site)
        chosen.append(site)
        places.append(Place(site.datanode_id, site.host, site.rack))
    return tuple(chosen)


def _preferred(free: list[S], places: Sequence[Place], writer_host: str) -> list[S]:
    """Return those of `free` that suit best as the next place."""
    hosts = {place.host for place in places}
    racks = {place.rack for place in places}
    free = _narrow(free, lambda site: site.host not in hosts)
    if not places:
        return _narrow(free, lambda site: site.host == writer_host)
    if len(racks) == 1:
        return _narrow(free, lambda site: site.rack not in racks)
    if len(places) == 2:
        return _narrow(free, lambda site: site.rack == places[1].rack)
    return free


def _narrow(sites: list[S], suits: Callable[[S], bool]) -> list[S]:
    """Return those that suit, or all if none does."""
    return [site for site in sites if suits(site)] or sites


def _draw(sites: Sequence[S], random: Random) -> S:
    weights = [site.free_bytes + 1 for site in sites]  # a full one can still take an empty block
    first, second = random.choices(sites, weights, k=2)
    return second if second.load < first.load else first
