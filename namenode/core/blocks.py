"""Decides about the blocks of a file being written: allocated, committed, their pipelines rebuilt.

At most two blocks of a file are unfinished: the one being written and the one before it, committed
but not yet reported by enough datanodes. So the block before that is complete, which is waited for
when the next one is allocated, and publishing asks for the last two alone.
"""

import msgspec

from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import (
    AllocateBlock,
    AllocatedBlock,
    CommittedBlock,
    Done,
    FirstBlock,
    RebuildPipeline,
    UpdatePipeline,
)
from dolmen.protocol.errors import (
    FileTooLarge,
    InvalidRequest,
    NoSpace,
    StaleGeneration,
    TooFewDatanodes,
)
from dolmen.protocol.identifiers import (
    BLOCK_NUMBER_LIMIT,
    FILE_BLOCKS_LIMIT,
    format_block_id,
    make_block_id,
)
from dolmen.protocol.tokens import Access, BlockToken, Target
from namenode.core.case import PIPELINE_LIMIT, Case
from namenode.core.edits import (
    BlockAllocated,
    BlockCommitted,
    PipelineUpdated,
    StampIssued,
)
from namenode.core.knowledge import Wish
from namenode.core.leases import held_file
from namenode.core.lookup import datanode_numbers, find_block, find_file_block, load_block
from namenode.core.membership import is_datanode
from namenode.core.outcome import BlocksDropped, Effect, LeaseTouched, Outcome, Waits
from namenode.core.records import Block, BlockState, Inode
from namenode.core.tables import View

EXCLUDED_LIMIT = 1000
"""Datanodes that one call may exclude: more than any writer meets."""


def allocate_block(case: Case, request: AllocateBlock) -> Outcome | Waits:
    """Decide AllocateBlock."""
    inode = held_file(case.view, request.inode_id, case.client_id)
    if request.index >= FILE_BLOCKS_LIMIT:
        raise FileTooLarge(
            f"a file may have at most {FILE_BLOCKS_LIMIT} blocks; this one has blocks of "
            f"{inode.block_size_bytes} bytes: write it with larger ones"
        )
    replaced = _replaced_block(case, inode, request)
    commits = () if replaced else commit_last(case, inode, request.previous)
    if (waits := _wait_for_earlier(case, inode, request.index)) is not None:
        return waits
    wish = Wish(0, 0, request.host, (), request.excluded)
    targets = _choose(case, inode, wish)
    _check_targets(case, inode, wish, len(targets))
    edit, reply = _allocated(case, inode, request.index, targets)
    effects: tuple[Effect, ...] = (LeaseTouched(inode.inode_id),)
    if replaced:
        effects += (BlocksDropped((replaced.block_id,)),)
    return Outcome(reply, edits=(*commits, edit), effects=effects)


def first_block(
    case: Case, inode: Inode, request: FirstBlock
) -> tuple[BlockAllocated, AllocatedBlock] | None:
    """Return the first block of a file that is being created; None unless all its replicas have a
    place: then whoever writes it asks again and waits, or hears what is wrong."""
    targets = _choose(case, inode, Wish(0, 0, request.host, (), request.excluded))
    if len(targets) < min(inode.replication, PIPELINE_LIMIT):
        return None
    return _allocated(case, inode, 0, targets)


def _allocated(
    case: Case, inode: Inode, index: int, targets: tuple[Target, ...]
) -> tuple[BlockAllocated, AllocatedBlock]:
    """Return the edit that allocates a block, and the answer to its writer."""
    meta = case.meta
    if meta.next_block_number >= BLOCK_NUMBER_LIMIT:
        raise NoSpace("the namespace has given out all block numbers that there are")
    block_id = make_block_id(meta.namespace_id, meta.next_block_number)
    expected = tuple(target.datanode_id for target in targets)
    edit = BlockAllocated(inode.inode_id, index, block_id, meta.next_stamp, expected)
    token = _sign(case, inode, edit, Access.WRITE, targets)
    return edit, AllocatedBlock(block_id, edit.stamp, targets, token)


def _replaced_block(case: Case, inode: Inode, request: AllocateBlock) -> Block | None:
    """Return the block that is given up: the last one, all of whose datanodes failed its writer."""
    if request.index == inode.block_count:
        return None
    last = last_block(case, inode)
    open_again = last is not None and last.state == BlockState.UNDER_CONSTRUCTION
    if not open_again or request.index != inode.block_count - 1:
        raise InvalidRequest(
            f"block {request.index} of inode {inode.inode_id} cannot be allocated: "
            f"the file has {inode.block_count} blocks"
        )
    return last


def last_block(case: Case, inode: Inode) -> Block | None:
    """Return the last block of a file, if it has one."""
    if not inode.block_count:
        return None
    return block_at(case, inode, inode.block_count - 1)


def block_at(case: Case, inode: Inode, index: int) -> Block:
    """Return block number `index` of a file, which it must have."""
    block_id = find_file_block(case.view, inode.inode_id, index)
    return load_block(case.view, -1 if block_id is None else block_id)


def commit_last(
    case: Case, inode: Inode, committed: CommittedBlock | None
) -> tuple[BlockCommitted, ...]:
    """Return the edit that commits the last block as its writer says, or none without blocks."""
    last = last_block(case, inode)
    if last is None and committed is None:
        return ()
    if last is None or committed is None or committed.block_id != last.block_id:
        expected = "none" if last is None else format_block_id(last.block_id)
        raise InvalidRequest(
            f"the last block of inode {inode.inode_id} is to be committed, which is {expected}"
        )
    if committed.stamp != last.stamp:
        raise StaleGeneration(
            f"block {format_block_id(last.block_id)} has stamp {last.stamp}, not {committed.stamp}"
        )
    if not 0 < committed.length_bytes <= inode.block_size_bytes:
        raise InvalidRequest(
            f"a block of inode {inode.inode_id} has 1 to {inode.block_size_bytes} bytes, "
            f"not {committed.length_bytes}"
        )
    if len(committed.digest) != DIGEST_BYTES:
        raise InvalidRequest(f"a block's digest has {DIGEST_BYTES} bytes")
    return (BlockCommitted(last.block_id, committed.length_bytes, committed.digest),)


def unfinished(case: Case, inode: Inode, commits: tuple[BlockCommitted, ...]) -> tuple[Block, ...]:
    """Return the last two blocks as they will be: the ones before were complete (see above)."""
    last = last_block(case, inode)
    if last is None:
        return ()
    committed = tuple(
        msgspec.structs.replace(
            last,
            state=BlockState.COMMITTED,
            length_bytes=commit.length_bytes,
            digest=commit.digest,
        )
        for commit in commits
    )
    if not last.index:
        return committed
    return (block_at(case, inode, last.index - 1), *committed)


def _wait_for_earlier(case: Case, inode: Inode, index: int) -> Waits | None:
    if index < 2:
        return None
    return wait_for(case, inode, (block_at(case, inode, index - 2),))


def wait_for(case: Case, inode: Inode, blocks: tuple[Block, ...]) -> Waits | None:
    """Return what to wait for until these committed blocks are complete; None if they are."""
    required = case.world.required_replicas(inode.replication)
    counts = [(block, case.world.knowledge.good_replicas(block)) for block in blocks]
    short = [(block, count) for block, count in counts if count < required]
    if not short:
        return None
    story = ", ".join(
        f"block {block.index} ({format_block_id(block.block_id)}) has {count}"
        for block, count in short
    )
    reason = f"each block needs {required} finalized replicas: {story}"
    return Waits(tuple(block.block_id for block, _ in short), reason)


def _choose(case: Case, inode: Inode, wish: Wish) -> tuple[Target, ...]:
    """Choose new targets, so that with the holders of `wish` there are enough for a pipeline."""
    if len(wish.excluded) > EXCLUDED_LIMIT:
        raise InvalidRequest(f"at most {EXCLUDED_LIMIT} datanodes can be excluded")
    wanted = min(inode.replication, PIPELINE_LIMIT) - len(wish.holders)
    if wanted <= 0:
        return ()
    return case.world.knowledge.choose_targets(
        msgspec.structs.replace(wish, wanted=wanted, length_bytes=inode.block_size_bytes)
    )


def _check_targets(case: Case, inode: Inode, wish: Wish, found: int) -> None:
    """Raise unless `found` targets are enough: NoSpace if with more room they would be."""
    required = case.world.required_replicas(inode.replication)
    if found >= required:
        return
    knowledge = case.world.knowledge
    others = msgspec.structs.replace(wish, wanted=required, length_bytes=0)
    if len(wish.holders) + len(knowledge.choose_targets(others)) < required:
        case.world.check_targets(found, inode.replication)
    raise NoSpace(
        f"{found} datanodes have room for the block and {required} must: a block of this file may"
        f" take {inode.block_size_bytes} bytes, and no datanode has more than"
        f" {knowledge.most_room_bytes()} free beyond its reserve; delete files, add disks or"
        " datanodes, or write with smaller blocks"
    )


def _sign(
    case: Case,
    inode: Inode,
    block: BlockAllocated | StampIssued,
    access: Access,
    targets: tuple[Target, ...],
) -> bytes:
    token = BlockToken(
        block_id=block.block_id,
        stamp=block.stamp,
        access=access,
        user=case.user,
        expires_ms=case.now_ms + case.world.settings.block_token_life_ms,
        length_limit_bytes=inode.block_size_bytes,
        targets=targets,
    )
    return case.world.keys.sign(token)


def rebuild_pipeline(case: Case, request: RebuildPipeline) -> Outcome:
    """Decide RebuildPipeline: a stamp is issued, the block keeps its own (rule 14).

    A committed block may be rebuilt too, as long as its file is not published: its replicas are
    reopened under the new stamp and finalized again with the same bytes.
    """
    inode, block = _held_block(case, request.inode_id, request.block_id)
    if request.stamp not in (block.stamp, block.issued_stamp):
        raise StaleGeneration(
            f"block {format_block_id(block.block_id)} has stamp {block.stamp}, not {request.stamp}"
        )
    _check_survivors(case.view, block, request.survivors)
    survivors = case.world.knowledge.targets_of(request.survivors)
    if not survivors:
        raise TooFewDatanodes(
            f"none of the {len(request.survivors)} survivors of block "
            f"{format_block_id(block.block_id)} is live now"
        )
    holders = tuple(target.datanode_id for target in survivors)
    wish = Wish(0, 0, request.host, holders, request.excluded)
    fresh = _choose(case, inode, wish)
    targets = survivors + fresh
    _check_targets(case, inode, wish, len(targets))
    edit = StampIssued(block.block_id, case.meta.next_stamp)
    reply = AllocatedBlock(
        block.block_id,
        edit.stamp,
        targets,
        _sign(case, inode, edit, Access.WRITE, targets),
        fresh=tuple(target.datanode_id for target in fresh),
        copy_token=_sign(case, inode, edit, Access.COPY, survivors) if fresh else b"",
    )
    return Outcome(reply, edits=(edit,), effects=(LeaseTouched(inode.inode_id),))


def _check_survivors(view: View, block: Block, survivors: tuple[str, ...]) -> None:
    if not survivors:
        raise InvalidRequest(
            f"a pipeline without survivors cannot be rebuilt: allocate block {block.index} again"
        )
    known = len(set(survivors)) == len(survivors) and all(is_datanode(view, s) for s in survivors)
    if not known or not set(datanode_numbers(view, survivors)) <= set(block.expected):
        raise InvalidRequest(
            "the survivors must be different datanodes of the pipeline of block "
            f"{format_block_id(block.block_id)}"
        )


def update_pipeline(case: Case, request: UpdatePipeline) -> Outcome:
    """Decide UpdatePipeline: the issued stamp becomes the block's."""
    inode, block = _held_block(case, request.inode_id, request.block_id)
    if request.stamp != block.issued_stamp or not request.stamp:
        raise StaleGeneration(
            f"stamp {request.stamp} was not the last one issued for block "
            f"{format_block_id(block.block_id)}"
        )
    limit_bytes = inode.block_size_bytes
    least_bytes = 0
    if block.state == BlockState.COMMITTED:
        least_bytes = limit_bytes = block.length_bytes
    if not least_bytes <= request.length_bytes <= limit_bytes:
        raise InvalidRequest(
            f"block {format_block_id(block.block_id)} has {least_bytes} to {limit_bytes} bytes, "
            f"not {request.length_bytes}"
        )
    _check_members(case, request.members)
    edit = PipelineUpdated(block.block_id, request.stamp, request.members)
    return Outcome(Done(), edits=(edit,), effects=(LeaseTouched(inode.inode_id),))


def _check_members(case: Case, members: tuple[str, ...]) -> None:
    if not 1 <= len(members) <= PIPELINE_LIMIT or len(set(members)) < len(members):
        raise InvalidRequest(f"a pipeline has 1 to {PIPELINE_LIMIT} different datanodes")
    for datanode_id in members:
        if not is_datanode(case.view, datanode_id):
            raise InvalidRequest(f"{datanode_id!r} is no datanode of this cluster")


def _held_block(case: Case, inode_id: int, block_id: int) -> tuple[Inode, Block]:
    inode = held_file(case.view, inode_id, case.client_id)
    block = find_block(case.view, block_id)
    if block is None or block.inode_id != inode_id:
        raise InvalidRequest(f"inode {inode_id} has no block {block_id:x}")
    return inode, block
