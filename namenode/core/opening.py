"""Answers to readers of a file: where its blocks are, with tokens to read them."""

from dolmen.protocol.client_messages import (
    EntryKind,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    OpenedFile,
    OpenFile,
)
from dolmen.protocol.draft_messages import LocateBlock, ReopenFile
from dolmen.protocol.errors import InvalidRequest, IsADirectory, StaleHandle
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_block_id, format_path
from dolmen.protocol.tokens import Access, BlockToken
from namenode.core.case import Case
from namenode.core.lookup import (
    existing_at,
    file_block_ids,
    find_block,
    find_inode,
    find_names,
    info_of,
    load_block,
)
from namenode.core.reclaim import POSTPONE_LIMIT_MS, OpenedFiles
from namenode.core.records import Block, Inode

BLOCKS_PAGE_LIMIT = 500
"""Blocks located by one answer; a page also ends before it outgrows a message."""

PAGE_LIMIT_BYTES = 512 * 1024
_BLOCK_BYTES = 200
_LOCATION_BYTES = 60


def open_file(case: Case, opened: OpenedFiles, request: OpenFile) -> OpenedFile:
    """Answer OpenFile."""
    names, inode = existing_at(case.view, request.path)
    if inode.kind == EntryKind.DIRECTORY:
        raise IsADirectory(f"{format_path(names)}: is a directory", format_path(names))
    page = _locate(case, opened, inode, LocateBlocks(inode.inode_id, 0, request.host))
    return OpenedFile(info_of(names, inode), page.blocks, page.more)


def reopen_file(case: Case, opened: OpenedFiles, request: ReopenFile) -> OpenedFile:
    """Answer ReopenFile."""
    inode = find_inode(case.view, request.inode_id)
    names = None if inode is None else find_names(case.view, inode)
    if inode is None or names is None or inode.kind == EntryKind.DIRECTORY:
        raise StaleHandle(
            f"inode {request.inode_id} stands nowhere any more: the file was deleted or replaced"
        )
    page = _locate(case, opened, inode, LocateBlocks(inode.inode_id, 0, request.host))
    return OpenedFile(info_of(names, inode), page.blocks, page.more)


def locate_block(case: Case, opened: OpenedFiles, request: LocateBlock) -> LocatedBlocks:
    """Answer LocateBlock: whatever file has the block now, also one that is kept for readers."""
    block = find_block(case.view, request.block_id)
    inode = None if block is None else find_inode(case.view, block.inode_id)
    if block is None or inode is None or not inode.published or _is_over(case, inode):
        raise StaleHandle(
            f"block {format_block_id(request.block_id)} is kept no longer: its file was deleted,"
            " replaced or cut, and the time for which its readers kept it is over; open the path"
            " again"
        )
    expires_ms = token_end_ms(case, inode)
    opened.note(inode.inode_id, expires_ms, case.now_ms)
    return LocatedBlocks((located(case, block, request.host, expires_ms),), more=False)


def locate_blocks(case: Case, opened: OpenedFiles, request: LocateBlocks) -> LocatedBlocks:
    """Answer LocateBlocks: by inode id, so also for a file that was deleted or replaced."""
    if not 0 <= request.first_index <= FILE_BLOCKS_LIMIT:
        raise InvalidRequest(f"a file has no block {request.first_index}")
    inode = find_inode(case.view, request.inode_id)
    if inode is None or not inode.published or _is_over(case, inode):
        raise StaleHandle(
            f"inode {request.inode_id} is not there any more: the file was deleted or replaced, "
            "and the time for which its readers kept it is over; open the path again"
        )
    if request.cut_txid not in (-1, inode.cut_txid):
        raise StaleHandle(
            f"inode {request.inode_id} was truncated since it was opened; open the path again"
        )
    return _locate(case, opened, inode, request)


def _is_over(case: Case, inode: Inode) -> bool:
    return inode.doomed_due_ms > 0 and _last_ms(inode) < case.now_ms


def _last_ms(inode: Inode) -> int:
    return inode.first_due_ms + POSTPONE_LIMIT_MS - 1


def token_end_ms(case: Case, inode: Inode) -> int:
    """Return until when a read token for a file that is given out now is valid."""
    expires_ms = case.now_ms + case.world.settings.block_token_life_ms
    return min(expires_ms, _last_ms(inode)) if inode.doomed_due_ms else expires_ms


def _locate(case: Case, opened: OpenedFiles, inode: Inode, request: LocateBlocks) -> LocatedBlocks:
    expires_ms = token_end_ms(case, inode)
    opened.note(inode.inode_id, expires_ms, case.now_ms)
    blocks: list[LocatedBlock] = []
    size_bytes = 0
    for block_id in file_block_ids(case.view, inode, request.first_index):
        if len(blocks) == BLOCKS_PAGE_LIMIT or size_bytes > PAGE_LIMIT_BYTES:
            return LocatedBlocks(tuple(blocks), more=True)
        block = located(case, load_block(case.view, block_id), request.host, expires_ms)
        blocks.append(block)
        size_bytes += _BLOCK_BYTES + len(block.token)
        size_bytes += sum(
            _LOCATION_BYTES + len(replica.address) + 4 * (len(replica.host) + len(replica.rack))
            for replica in block.replicas
        )
    return LocatedBlocks(tuple(blocks), more=False)


def located(case: Case, block: Block, host: str, expires_ms: int) -> LocatedBlock:
    """Return where a block is, with a token to read it."""
    token = BlockToken(
        block_id=block.block_id,
        stamp=block.stamp,
        access=Access.READ,
        user=case.user,
        expires_ms=expires_ms,
        length_limit_bytes=block.length_bytes,
    )
    return LocatedBlock(
        block_id=block.block_id,
        stamp=block.stamp,
        offset_bytes=block.offset_bytes,
        length_bytes=block.length_bytes,
        digest=block.digest,
        replicas=case.world.knowledge.locations(block, host),
        token=case.world.keys.sign(token),
    )
