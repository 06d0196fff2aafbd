"""A broken pipeline becomes a whole one again, under a new generation stamp (rule 14).

The namenode issues the stamp; the survivors restamp and cut their replica to the acknowledged
prefix; the new members copy that prefix from them; only then does the stamp become the block's, and
only then are bytes sent under it. Whoever fails on the way is no survivor, or no new member: once
more without it.

A pipeline without survivors can only be rebuilt if one of its members still has the prefix: it may
have been restarted, or cut off for a moment, so all are asked again. Without a prefix there is
nothing to keep, and the writer has another block allocated instead.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from dolmen.client.core.pipelines import Pipeline
from dolmen.client.links import Links
from dolmen.client.patience import Patience
from dolmen.protocol.block_messages import CopyReplica, ReplicaRestamped, RestampReplica
from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    Done,
    RebuildPipeline,
    UpdatePipeline,
)
from dolmen.protocol.errors import (
    BlockMissing,
    DolmenError,
    NoSpace,
    StaleGeneration,
    TooFewDatanodes,
    TryAgain,
)
from dolmen.protocol.identifiers import format_block_id
from dolmen.protocol.tokens import Target

NOT_NOW = (TooFewDatanodes, NoSpace)
"""Refusals that other targets, or other survivors, may cure."""


async def allocate_avoiding(
    links: Links,
    request: Callable[[tuple[str, ...]], AllocateBlock | RebuildPipeline],
    wanted: int,
    final: tuple[type[TryAgain], ...] = (),
    retry_for_s: float | None = None,
) -> AllocatedBlock:
    """Return targets other than those that failed lately or are slow.

    A slow one is better than none, so if there are fewer than `wanted` without the slow ones, they
    are asked for too; and if others are too few, any at all. Refusals that are `final` are raised
    at once, the others when `retry_for` is over, or the time that is given.
    """
    now_s = asyncio.get_running_loop().time()
    failed = links.datanodes.write_failures.current(now_s)
    slow = links.datanodes.slow.current(now_s)
    if slow and (fast := await _try(links, request(merged(failed, slow)), wanted)):
        return fast
    if failed and (allocated := await _try(links, request(failed), 1)):
        return allocated  # else: the namenode knows who lives, and we may have been wrong
    return await links.namenode.call(
        request(()), AllocatedBlock, final=final, retry_for_s=retry_for_s
    )


async def pipeline_of(links: Links, allocated: AllocatedBlock) -> Pipeline:
    """Return how to send to the datanodes of a block."""
    return Pipeline.of(allocated, await links.local.look(allocated.targets))


async def _try(
    links: Links, request: AllocateBlock | RebuildPipeline, wanted: int
) -> AllocatedBlock | None:
    """Return what is allocated, if it is of at least `wanted` datanodes."""
    try:
        allocated = await links.namenode.call(request, AllocatedBlock, final=NOT_NOW)
    except NOT_NOW:
        return None
    return allocated if len(allocated.targets) >= wanted else None


def merged(failed: tuple[str, ...], slow: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of both, each once."""
    return tuple(dict.fromkeys((*failed, *slow)))


def are_full(failed: Mapping[str, DolmenError]) -> bool:
    """Return whether all that failed did so for want of room."""
    return bool(failed) and all(isinstance(error, NoSpace) for error in failed.values())


def story_of(failed: Mapping[str, DolmenError]) -> str:
    """Return who failed, and why."""
    return "; ".join(f"{name}: {error.message}" for name, error in failed.items())


class PipelineRebuild:
    """One rebuild of one block's pipeline, with the acknowledged prefix that all must have."""

    def __init__(self, links: Links, inode_id: int, prefix_bytes: int) -> None:
        self._links = links
        self._inode_id = inode_id
        self._prefix_bytes = prefix_bytes
        self._stamps: dict[str, list[int]] = {}
        """Which stamps a member's replica may have, the latest first."""
        self._failed: dict[str, DolmenError] = {}

    async def run(self, old: Pipeline, failed: Iterable[str], patience: Patience) -> Pipeline:
        """Return the new pipeline; BlockMissing if the prefix is nowhere any more, NoSpace if
        nobody has room for the rest."""
        self._stamps = {member: [old.stamp] for member in old.members}
        lost = set(failed)
        while True:
            refusal = None
            if not old.survivors(lost):
                lost.clear()
            try:
                new = await self._issue(old, old.survivors(lost))
            except NOT_NOW as error:
                refusal = error
                lost.clear()  # whoever is back meanwhile will do
            else:
                await self._bring_together(new)
                if not self._failed:
                    await self._make_it_the_blocks(new)
                    return await pipeline_of(self._links, new)
                lost.update(self._failed)
            if not patience.left_s:
                raise refusal or self._missing(old)
            await patience.pause()

    async def _issue(self, old: Pipeline, survivors: tuple[str, ...]) -> AllocatedBlock:
        """Have a stamp issued for the survivors; without the slow ones, if others take over."""
        datanodes, now_s = self._links.datanodes, asyncio.get_running_loop().time()
        slow = datanodes.slow.current(now_s)
        fast = tuple(name for name in survivors if name not in slow)
        if fast and fast != survivors:
            excluded = merged(datanodes.write_failures.current(now_s), slow)
            request = self._request(old, fast, excluded)
            if new := await _try(self._links, request, len(survivors)):
                return new
        return await allocate_avoiding(
            self._links,
            lambda excluded: self._request(old, survivors, excluded),
            len(old.targets),
            final=NOT_NOW,
        )

    def _request(
        self, old: Pipeline, survivors: tuple[str, ...], excluded: tuple[str, ...]
    ) -> RebuildPipeline:
        others = tuple(name for name in excluded if name not in survivors)
        return RebuildPipeline(
            self._inode_id, old.block_id, old.stamp, survivors, others, self._links.host
        )

    async def _bring_together(self, new: AllocatedBlock) -> None:
        """Bring all targets to the prefix under the new stamp; `_failed` says who is not there."""
        self._failed = {}
        survivors = [target for target in new.targets if target.datanode_id not in new.fresh]
        fresh = [target for target in new.targets if target.datanode_id in new.fresh]
        async with asyncio.TaskGroup() as restamps:
            for target in survivors:
                restamps.create_task(self._guarded(target, self._restamp(target, new)))
        if self._failed:
            return
        async with asyncio.TaskGroup() as copies:
            for target in fresh:
                copies.create_task(self._guarded(target, self._copy(target, new)))

    async def _guarded(self, target: Target, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except DolmenError as error:
            self._failed[target.datanode_id] = error
            now_s = asyncio.get_running_loop().time()
            self._links.datanodes.write_failures.add(target.datanode_id, now_s)

    async def _restamp(self, target: Target, new: AllocatedBlock) -> None:
        """Restamp from whichever stamp it has: an earlier answer of it may have been lost."""
        may_have = self._stamps[target.datanode_id]
        self._stamps[target.datanode_id] = [new.stamp, *may_have]
        datanodes = self._links.datanodes
        for old_stamp in may_have:
            head = RestampReplica(new.token, new.block_id, new.stamp, old_stamp, self._prefix_bytes)
            try:
                await datanodes.ask(
                    target.address, head, ReplicaRestamped, stall_s=datanodes.write_stall_s
                )
            except StaleGeneration:
                if old_stamp == may_have[-1]:
                    raise
            else:
                self._stamps[target.datanode_id] = [new.stamp]
                return

    async def _copy(self, target: Target, new: AllocatedBlock) -> None:
        head = CopyReplica(new.copy_token, new.block_id, new.stamp, self._prefix_bytes, b"")
        await self._links.datanodes.ask(target.address, head, ReplicaRestamped)

    async def _make_it_the_blocks(self, new: AllocatedBlock) -> None:
        members = tuple(target.datanode_id for target in new.targets)
        request = UpdatePipeline(
            self._inode_id, new.block_id, new.stamp, self._prefix_bytes, members
        )
        await self._links.namenode.call(request, Done)

    def _missing(self, old: Pipeline) -> DolmenError:
        block, tried = format_block_id(old.block_id), story_of(self._failed)
        if are_full(self._failed):
            return NoSpace(f"no datanode has room for the rest of block {block}: {tried}")
        return BlockMissing(
            f"the first {self._prefix_bytes} bytes of block {block} are acknowledged and on no"
            f" datanode that answers ({tried}); write the file again"
        )
