"""Answers to readers of a file: where its blocks are, with tokens to read them.

Who opens a file is given the ids of all its blocks at that moment, and asks for those later: blocks
never change, so ids are contents, whichever file has the blocks by then (decision 0008). What a
reader was given tokens for, or says that it still reads, is kept for it (rule 22).
"""

from collections.abc import Iterable

import msgspec

from dolmen.protocol.client_messages import (
    Done,
    EntryKind,
    LocateBlocks,
    LocatedBlock,
    LocatedBlocks,
    OpenedFile,
    OpenFile,
)
from dolmen.protocol.draft_messages import (
    LISTED_LIMIT,
    KeepBlocks,
    LocateBlock,
    LocateListed,
    ReopenFile,
)
from dolmen.protocol.errors import InvalidRequest, IsADirectory, StaleHandle
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_block_id, format_path
from dolmen.protocol.tokens import Access, BlockToken
from namenode.core.case import Case
from namenode.core.lookup import (
    Names,
    existing_at,
    file_block_ids,
    file_block_keys,
    find_block,
    find_inode,
    find_names,
    info_of,
    load_block,
    load_content,
)
from namenode.core.reclaim import POSTPONE_LIMIT_MS, OpenedFiles
from namenode.core.records import Block, Inode

replace = msgspec.structs.replace

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
    return _opened(case, opened, names, inode, request.host)


def reopen_file(case: Case, opened: OpenedFiles, request: ReopenFile) -> OpenedFile:
    """Answer ReopenFile."""
    inode = find_inode(case.view, request.inode_id)
    names = None if inode is None else find_names(case.view, inode)
    if inode is None or names is None or inode.kind == EntryKind.DIRECTORY:
        raise StaleHandle(
            f"inode {request.inode_id} stands nowhere any more: the file was deleted or replaced"
        )
    return _opened(case, opened, names, inode, request.host)


def _opened(case: Case, opened: OpenedFiles, names: Names, inode: Inode, host: str) -> OpenedFile:
    if inode.is_inline:  # no token is given, so nothing need be kept for this reader
        content = load_content(case.view, inode)
        return OpenedFile(info_of(names, inode), (), more=False, content=content)
    page = _locate(case, opened, inode, LocateBlocks(inode.inode_id, 0, host))
    block_ids = b"".join(file_block_keys(case.view, inode)) if page.more else b""
    return OpenedFile(info_of(names, inode), page.blocks, page.more, block_ids)


def locate_block(case: Case, opened: OpenedFiles, request: LocateBlock) -> LocatedBlocks:
    """Answer LocateBlock: whatever file has the block now, also one that is kept for readers."""
    readers = _Readers(case, opened)
    block = readers.kept(request.block_id)
    if block is None:
        raise _kept_no_longer(request.block_id)
    return LocatedBlocks((readers.located(block, request.host),), more=False)


def locate_listed(case: Case, opened: OpenedFiles, request: LocateListed) -> LocatedBlocks:
    """Answer LocateListed."""
    _check_listed(request.block_ids)
    readers = _Readers(case, opened)
    found = []
    for block_id in request.block_ids:
        block = readers.kept(block_id)
        if block is None:
            break
        found.append(block)
    if not found:
        raise _kept_no_longer(request.block_ids[0])
    page = _page(readers.located(block, request.host) for block in found)
    moved = any(block.inode_id != request.inode_id for block in found)
    return replace(page, moved=moved)


def keep_blocks(case: Case, opened: OpenedFiles, request: KeepBlocks) -> Done:
    """Answer KeepBlocks: of what is kept no longer, whoever reads it will hear."""
    _check_listed(request.block_ids)
    readers = _Readers(case, opened)
    for block_id in request.block_ids:
        readers.kept(block_id)
    return Done()


def _check_listed(block_ids: tuple[int, ...]) -> None:
    if not 0 < len(block_ids) <= LISTED_LIMIT:
        raise InvalidRequest(f"1 to {LISTED_LIMIT} blocks are named by one call")


def _kept_no_longer(block_id: int) -> StaleHandle:
    return StaleHandle(
        f"block {format_block_id(block_id)} is kept no longer: its file was deleted, replaced or"
        " cut, and the time for which its readers kept it is over; open the path again"
    )


class _Readers:
    """Those who name blocks by their ids: what they name is kept for them."""

    def __init__(self, case: Case, opened: OpenedFiles) -> None:
        self._case = case
        self._opened = opened
        self._ends_ms: dict[int, int] = {}  # of tokens, by inode; 0: its blocks are not for readers

    def kept(self, block_id: int) -> Block | None:
        """Return the block, unless it is kept no longer."""
        block = find_block(self._case.view, block_id)
        return block if block is not None and self._token_end_ms(block.inode_id) else None

    def located(self, block: Block, host: str) -> LocatedBlock:
        """Return where a block is that is kept."""
        return located(self._case, block, host, self._token_end_ms(block.inode_id))

    def _token_end_ms(self, inode_id: int) -> int:
        if inode_id not in self._ends_ms:
            self._ends_ms[inode_id] = self._keep(find_inode(self._case.view, inode_id))
        return self._ends_ms[inode_id]

    def _keep(self, inode: Inode | None) -> int:
        if inode is None or not inode.published or _is_over(self._case, inode):
            return 0
        expires_ms = token_end_ms(self._case, inode)
        self._opened.note(inode.inode_id, expires_ms, self._case.now_ms)
        return expires_ms


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
    block_ids = file_block_ids(case.view, inode, request.first_index)
    blocks = (load_block(case.view, block_id) for block_id in block_ids)
    return _page(located(case, block, request.host, expires_ms) for block in blocks)


def _page(found: Iterable[LocatedBlock]) -> LocatedBlocks:
    blocks: list[LocatedBlock] = []
    size_bytes = 0
    for block in found:
        if len(blocks) == BLOCKS_PAGE_LIMIT or size_bytes > PAGE_LIMIT_BYTES:
            return LocatedBlocks(tuple(blocks), more=True)
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
