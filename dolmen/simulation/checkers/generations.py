"""Property 2, seen from the datanodes: what is asked for under an old generation stamp is refused.

A segment, a finalize and a read name a stamp. If the replica that a datanode held when the request
came had a newer one already, the request is of a former pipeline, and must be refused, whatever
bytes it brings. Stamps of a replica only grow, so what was old then is old for good.

It cannot see an old stamp in a request that was begun before the replica got its new one.
"""

from collections.abc import Callable

from datanode.node import Datanode
from dolmen.protocol.block_messages import (
    FinalizeReplica,
    ReadChecksums,
    ReadRanges,
    WriteSegment,
    decode_block_reply,
    decode_request,
)
from dolmen.protocol.errors import DolmenError
from dolmen.simulation.cluster import SimCluster
from dolmen.simulation.finding import CheckFailed

WATCHED = (WriteSegment, FinalizeReplica, ReadChecksums, ReadRanges)


class Generations:
    """Watches what datanodes answer."""

    def __init__(self, cluster: SimCluster, report: Callable[[CheckFailed], None]) -> None:
        self._cluster = cluster
        self._report = report
        self.refused = 0
        """Requests under an old stamp that were refused."""
        cluster.network.watch_exchanges(self._begin)

    def _begin(self, host: str, request: bytes) -> Callable[[bytes], None] | None:
        """A request has come; return who is to see the answer to it, if it is of interest."""
        lives = self._cluster.lives.get(host)
        if lives is None or not isinstance(lives.process, Datanode):
            return None
        try:
            head = decode_request(request)
        except DolmenError:
            return None
        held = lives.process.stamp_of(head.block_id) if isinstance(head, WATCHED) else None
        if held is None or held <= head.stamp:
            return None
        story = f"{type(head).__name__} of block {head.block_id:016x} under stamp {head.stamp}"

        def answered(reply: bytes) -> None:
            try:
                decode_block_reply(reply)
            except DolmenError:
                self.refused += 1
                return
            self._report(
                CheckFailed(
                    f"{host} did {story}, and had stamp {held} already", (f"{head.block_id:016x}",)
                )
            )

        return answered
