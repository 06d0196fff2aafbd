"""Finalizes a block on all datanodes of its pipeline, at the same time.

It is enough when as many have done it as a close needs; the others get a while longer, and what
they do not bring, repair does.
"""

import asyncio
from dataclasses import dataclass, field

from dolmen.client.core.pipelines import Pipeline, enough_replicas
from dolmen.client.links import Links
from dolmen.protocol.block_messages import FinalizeReplica, ReplicaFinalized
from dolmen.protocol.client_messages import CommittedBlock
from dolmen.protocol.errors import DolmenError, PeerLost
from dolmen.protocol.tokens import Target

LATECOMERS_S = 5.0
"""How much longer the slowest datanode may take once enough are done: a busy disk is no failure,
and less than this is not worth a repair."""


@dataclass
class FinalizeOutcome:
    """Who finalized, and who did not and why."""

    enough: int
    done: list[str] = field(default_factory=list)
    failed: dict[str, DolmenError] = field(default_factory=dict)

    @property
    def is_enough(self) -> bool:
        """Whether the block is as durable as a close needs it."""
        return len(self.done) >= self.enough


async def finalize_replicas(
    links: Links, pipeline: Pipeline, committed: CommittedBlock, replication: int
) -> FinalizeOutcome:
    """Finalize the block everywhere; return when all answered, or enough and a while passed."""
    min_replicas = links.namenode.greeting.min_replicas
    outcome = FinalizeOutcome(enough_replicas(min_replicas, replication, len(pipeline.targets)))
    head = FinalizeReplica(
        pipeline.token,
        pipeline.block_id,
        pipeline.stamp,
        committed.length_bytes,
        committed.digest,
    )

    pending = {
        asyncio.create_task(_finalize(links, target, head, outcome)) for target in pipeline.targets
    }
    try:
        while pending and not outcome.is_enough:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            _raise_failures(done)
        if pending:
            done, pending = await asyncio.wait(pending, timeout=LATECOMERS_S)
            _raise_failures(done)
    finally:
        await _cancel(pending)
    for target in pipeline.targets:
        if target.datanode_id not in outcome.done:
            silent = PeerLost("it took too long to finalize")
            outcome.failed.setdefault(target.datanode_id, silent)
    return outcome


async def _finalize(
    links: Links, target: Target, head: FinalizeReplica, outcome: FinalizeOutcome
) -> None:
    """Have one datanode finalize; the outcome takes note of it, and of how long it took."""
    datanodes, clock = links.datanodes, asyncio.get_running_loop().time
    begun_s = clock()
    try:
        await datanodes.ask(target.address, head, ReplicaFinalized)
    except DolmenError as error:
        outcome.failed[target.datanode_id] = error
        return
    outcome.done.append(target.datanode_id)
    took_s = clock() - begun_s
    datanodes.slow.finalize_took(target.datanode_id, head.length_bytes, took_s, clock())


def _raise_failures(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.result()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
