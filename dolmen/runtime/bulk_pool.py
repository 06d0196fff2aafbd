"""The bulk links of a process to its peers: opened when they are needed, kept for a while after.

A link that the peer has closed meanwhile is found out when it is taken, but for one that is closed
at that very moment: who uses a pooled link must expect that (rule 20).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from dolmen.runtime.bulk_link import BulkLink

POOLED_S = 15.0
"""How long an idle connection is kept: longer than the pause between two blocks of one file."""

CONNECTIONS_PER_PEER = 256
"""More exchanges than this with one peer wait for their turn: it has no more threads than that."""

Open = Callable[[str], Awaitable[BulkLink]]


@dataclass
class _Peer:
    turns: asyncio.Semaphore
    users: int = 0
    """Who has a link, or waits for one."""
    idle: dict[BulkLink, float] = field(default_factory=dict)
    """Since when; the latest is the last one."""


class BulkPool:
    """The links of one transport. `open_link` makes one to an address."""

    def __init__(self, open_link: Open) -> None:
        self._open_link = open_link
        self._peers: dict[str, _Peer] = {}
        self._in_use: set[BulkLink] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def take(self, address: str, *, fresh: bool = False) -> tuple[BulkLink, bool]:
        """Return a link for the caller alone, which he gives back, and whether it was used before.

        `fresh`: those that were used before are dropped.
        """
        peer = self._peers.setdefault(address, _Peer(asyncio.Semaphore(CONNECTIONS_PER_PEER)))
        peer.users += 1
        try:
            await peer.turns.acquire()
        except BaseException:
            self._leave(address, peer)
            raise
        try:
            link = None if fresh else _quiet_one(peer)
            was_used = link is not None
            if link is None:
                _close_all(peer)
                link = await self._open_link(address)
        except BaseException:
            peer.turns.release()
            self._leave(address, peer)
            raise
        self._in_use.add(link)
        return link, was_used

    def give_back(self, address: str, link: BulkLink) -> None:
        """Keep a link for the next exchange, or, if it was ended, forget it."""
        peer = self._peers[address]
        self._in_use.discard(link)
        if link.is_open:
            peer.idle[link] = asyncio.get_running_loop().time()
            if self._sweeping is None:
                self._sweep()
        peer.turns.release()
        self._leave(address, peer)

    def close(self) -> None:
        """Close all: exchanges under way are lost."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for link in self._in_use:
            link.close()
        for address, peer in list(self._peers.items()):
            _close_all(peer)
            self._forget_unused(address, peer)

    def abort(self) -> None:
        """Reset all."""
        for peer in self._peers.values():
            for link in peer.idle:
                link.reset()
        for link in self._in_use:
            link.reset()
        self.close()

    def _leave(self, address: str, peer: _Peer) -> None:
        peer.users -= 1
        self._forget_unused(address, peer)

    def _forget_unused(self, address: str, peer: _Peer) -> None:
        if not peer.users and not peer.idle:
            self._peers.pop(address, None)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and look again when the next one may have."""
        self._sweeping = None
        loop = asyncio.get_running_loop()
        until_s = loop.time() - POOLED_S
        for address, peer in list(self._peers.items()):
            for link in [one for one, since_s in peer.idle.items() if since_s <= until_s]:
                del peer.idle[link]
                link.close()
            self._forget_unused(address, peer)
        since_s = [min(peer.idle.values()) for peer in self._peers.values() if peer.idle]
        if since_s:
            self._sweeping = loop.call_at(min(since_s) + POOLED_S, self._sweep)


def _quiet_one(peer: _Peer) -> BulkLink | None:
    """Return the link that was used last and is good, having closed those that are not."""
    while peer.idle:
        link, _ = peer.idle.popitem()
        if link.is_quiet:
            return link
        link.close()
    return None


def _close_all(peer: _Peer) -> None:
    for link in peer.idle:
        link.close()
    peer.idle.clear()
