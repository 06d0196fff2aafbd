"""Property 4: one writer for each file.

Of two holders only one is ever acknowledged for the same file and position. A plain write is a file
of its own until it is closed, so this says: no inode is published for two writers, and no block
belongs to two files. Of two exclusive creates of one path both are acknowledged only if it was
deleted or moved away in between; an acknowledged removal must then have begun before the second
answer and ended after the first call.

That the last close wins whole is property 3's to say, and so is that of two flushes or closes of
appending writers for one position one is refused: no order of both explains two answers. A lease is
not taken over while its holder is heard.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from dolmen.simulation.finding import CheckFailed
from namenode.core.records import Block, Inode

KEPT = 20
"""Removals remembered of each path: more never lie between two creates that overlap."""

PROTECTED_S = 20.0
"""Nobody takes over who was heard within that: half the soft limit of the simulated cluster, for
the namenode's clock may jump."""


@dataclass(frozen=True)
class _Created:
    writer: str
    began_s: float
    ended_s: float


class OneWriter:
    """Who was acknowledged as the writer of what."""

    def __init__(self) -> None:
        self._publishers: dict[int, str] = {}
        self._created: dict[str, _Created] = {}
        self._removing: dict[str, list[list[float]]] = defaultdict(list)
        self._blocks: dict[int, int] = {}

    def published(self, inode_id: int, path: str, writer: str) -> None:
        """A writer was told that its file is published."""
        other = self._publishers.setdefault(inode_id, writer)
        if other != writer:
            raise CheckFailed(
                f"inode {inode_id} was published for {other} and for {writer}", (path,)
            )

    def created(self, path: str, writer: str, began_s: float, now_s: float) -> None:
        """An exclusive create was acknowledged."""
        before = self._created.get(path)
        if before is not None and not self._may_be_gone(path, before.began_s, now_s):
            raise CheckFailed(
                f"{path} was created exclusively for {before.writer}, and again for {writer}",
                (path,),
            )
        self._created[path] = _Created(writer, began_s, now_s)

    def check_taken_over(self, path: str, open_s: float) -> None:
        """A writer's lease was given to another handle, so long after it was opened."""
        if open_s < PROTECTED_S:
            raise CheckFailed(
                f"{path}: the lease of a writer was taken {open_s:.0f} s after it was opened",
                (path,),
            )

    def removing(self, path: str, now_s: float) -> list[float]:
        """Something that may take away what is at a path begins; keep its end in what is
        returned."""
        span = [now_s, float("inf")]
        self._removing[path].append(span)
        del self._removing[path][:-KEPT]
        return span

    def check_blocks(
        self,
        blocks: dict[int, Block],
        inodes: dict[int, Inode],
        grows: Callable[[Inode], bool],
    ) -> None:
        """No block changes the file that it belongs to, but to one that grows, which has no hash
        for a while, or to what a file that was cut has left, which is doomed."""
        for block in blocks.values():
            owner = self._blocks.get(block.block_id, block.inode_id)
            self._blocks[block.block_id] = block.inode_id
            inode = inodes[block.inode_id]
            if owner == inode.inode_id or not inode.content_hash or inode.doomed_due_ms:
                continue
            if not grows(inode):
                raise CheckFailed(
                    f"block {block.block_id:016x} was of inode {owner}, and is of {block.inode_id}",
                    (f"{block.block_id:016x}",),
                )

    def _may_be_gone(self, path: str, since_s: float, until_s: float) -> bool:
        tops = [path[:end] for end, sign in enumerate(path) if sign == "/" and end] + [path]
        return any(
            began_s <= until_s and ended_s >= since_s
            for top in tops
            for began_s, ended_s in self._removing.get(top, ())
        )
