"""Where new replicas go: one rule, for writing and for repair.

The first replica goes to the writer's host, the second to another rack, the third to that same
other rack, the rest anywhere; each to the less loaded of two datanodes drawn in proportion to their
room; never two on one datanode, and two on one host only while no other host can take one.

Candidates are drawn from a roster and thrown back if they do not suit; only when that was in vain
several times are all looked at. So a choice costs the same among a thousand datanodes as among ten.
"""

from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

import msgspec

from namenode.core.roster import Pool, Roster, Site

DRAWS_LIMIT = 24
"""Draws in vain after which all are looked at: if a tenth of the room suits, it comes to that once
in twelve times; looking at a thousand datanodes costs as much as some hundred draws."""


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


def anyone(_: Site) -> bool:
    """Bar nobody."""
    return True


def choose(
    roster: Roster[S], request: Request, random: Random, able: Callable[[S], bool] = anyone
) -> tuple[S, ...]:
    """Return up to `request.wanted` of the roster, in pipeline order; fewer when no more can take
    one. Only those that are `able` come into question."""
    choice = _Choice(roster, request, random, able)
    while len(choice.chosen) < request.wanted and choice.take_next():
        pass
    return tuple(choice.chosen)


class _Choice(Generic[S]):
    """One choice under way."""

    def __init__(
        self, roster: Roster[S], request: Request, random: Random, able: Callable[[S], bool]
    ) -> None:
        self._roster = roster
        self._request = request
        self._random = random
        self._able = able
        self._places = list(request.holders)
        self._barred = request.excluded | {place.datanode_id for place in request.holders}
        self._hosts = {place.host for place in request.holders}
        self.chosen: list[S] = []

    def take_next(self) -> bool:
        """Choose one more; return whether somebody could be."""
        everyone = self._roster.everyone
        preferred, suits = self._preference()
        other_host = any(host not in self._hosts for host in self._roster.hosts)
        ways: list[tuple[Pool[S], Callable[[S], bool]]] = []
        if other_host:
            ways.append((preferred, lambda site: suits(site) and site.host not in self._hosts))
            ways.append((everyone, lambda site: site.host not in self._hosts))
        ways += [(preferred, suits), (everyone, anyone)]
        for pool, fits in ways:
            site = self._draw(pool, fits)
            if site is not None:
                self._take(site)
                return True
        return False

    def _preference(self) -> tuple[Pool[S], Callable[[S], bool]]:
        """Return among whom the next place is to be if it can, and who of them suits."""
        places, roster = self._places, self._roster
        if not places:
            return roster.on_host(self._request.writer_host), anyone
        racks = {place.rack for place in places}
        if len(racks) == 1:
            elsewhere = any(rack not in racks for rack in roster.racks)
            others = roster.everyone if elsewhere else Pool[S](())
            return others, lambda site: site.rack not in racks
        if len(places) == 2:
            return roster.in_rack(places[1].rack), anyone
        return roster.everyone, anyone

    def _take(self, site: S) -> None:
        self.chosen.append(site)
        self._places.append(Place(site.datanode_id, site.host, site.rack))
        self._hosts.add(site.host)
        self._barred |= {site.datanode_id}

    def _draw(self, pool: Pool[S], fits: Callable[[S], bool]) -> S | None:
        """Return the less loaded of two that are drawn, None if nobody fits."""
        first = self._draw_one(pool, fits)
        if first is None:
            return None
        second = self._draw_one(pool, fits) or first
        return second if second.load < first.load else first

    def _draw_one(self, pool: Pool[S], fits: Callable[[S], bool]) -> S | None:
        for _ in range(min(DRAWS_LIMIT, len(pool.sites))):
            site = pool.draw(self._random)
            if self._may_take(site) and fits(site):
                return site
        left = Pool([site for site in pool.sites if self._may_take(site) and fits(site)])
        return left.draw(self._random) if left.sites else None

    def _may_take(self, site: S) -> bool:
        return (
            site.datanode_id not in self._barred
            and site.free_bytes >= self._request.length_bytes
            and self._able(site)
        )
