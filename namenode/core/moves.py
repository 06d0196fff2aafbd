"""The moves of balancing that are under way: a copy first, then the old replica goes.

The copy is a transfer like those of repair; when it has arrived the block has a replica too many,
and removing excess, which asks for proof as always, prefers the one that is being moved away from.
So nothing here deletes anything, and a move that is forgotten leaves at worst a replica too many,
which goes by itself.
"""

from collections.abc import Iterator

import msgspec

from namenode.core.datanodes import Datanodes
from namenode.core.use import Share

MOVES_LIMIT = 256
"""Under way at once: enough to keep eight datanodes busy, few to look after in each round."""

MOVE_LIFE_MS = 600_000
"""After ten minutes whatever holds up the removal of the old replica is no matter of balancing."""


class Move(msgspec.Struct, frozen=True):
    """One replica on its way from one datanode to another."""

    block_id: int
    length_bytes: int
    source: Share
    target: Share
    holders: tuple[str, ...]  # when it was planned
    until_ms: int


class Moves:
    """The moves under way, those that are over and not seen in the figures, and what was moved."""

    def __init__(self, datanodes: Datanodes) -> None:
        self._datanodes = datanodes
        self._open: dict[int, Move] = {}
        self._settling: list[Share] = []
        self.moved_replicas = 0
        self.moved_bytes = 0
        self.failed_in_row = 0

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, block_id: int) -> bool:
        return block_id in self._open

    @property
    def settled(self) -> bool:
        """Whether nothing is under way, and the figures of all datanodes say so."""
        return not self._open and not self._settling

    def shares(self) -> Iterator[Share]:
        """Yield what is to be added to the figures of the datanodes."""
        for move in self._open.values():
            yield move.source
            yield move.target
        yield from self._settling

    def source_of(self, block_id: int) -> str:
        """Return the datanode that this block is being moved away from, if it is moved."""
        move = self._open.get(block_id)
        return "" if move is None else move.source.datanode_id

    def count_anew(self) -> None:
        """Another balancing begins."""
        self.moved_replicas = self.moved_bytes = self.failed_in_row = 0

    def add(self, move: Move) -> None:
        """A copy was begun."""
        self._open[move.block_id] = move

    def take_turn(self, limit: int) -> list[Move]:
        """Return the next moves to look after; they go to the end of the row."""
        moves = list(self._open.values())[:limit]
        for move in moves:
            del self._open[move.block_id]
            self._open[move.block_id] = move
        return moves

    def settle(self) -> None:
        """Forget the shares that the figures have in them."""
        self._settling = [
            share
            for share in self._settling
            if not share.sees(self._datanodes.get(share.datanode_id))
        ]

    def fail(self, move: Move) -> None:
        """The copy did not arrive, or is gone: everything is as before."""
        self.forget(move)
        self.failed_in_row += 1

    def forget(self, move: Move) -> None:
        """The block is none of ours any more."""
        del self._open[move.block_id]

    def look_after(self, move: Move, holders: set[str], wanted: int, now_ms: int) -> None:
        """The copy is not on its way any more: `holders` have a good replica."""
        if move.target.datanode_id not in holders:
            self.fail(move)
            return
        gone = [holder for holder in move.holders if holder not in holders]
        if not gone and len(holders) > wanted and now_ms < move.until_ms:
            return
        self.forget(move)
        self._settling.append(move.target)
        if gone:
            self.failed_in_row = 0
            self.moved_replicas += 1
            self.moved_bytes += move.length_bytes
            source_id = move.source.datanode_id
            left_by = source_id if source_id in gone else gone[0]
            self._settling.append(Share(left_by, -move.length_bytes))
