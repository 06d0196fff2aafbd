"""Decides ConcatFiles: the blocks of some files come behind those of another, and they are gone.

Nothing is copied, so the sources' blocks keep their lengths: any but the last may be short, and one
may be longer than the target's own block size.
"""

from collections.abc import Iterator

import msgspec

from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.draft_messages import ConcatFiles
from dolmen.protocol.errors import FileTooLarge, InvalidRequest, LeaseConflict
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_path
from namenode.core.case import Case
from namenode.core.drafts import existing_file
from namenode.core.edits import AnyEdit, FileExtended, FileJoined
from namenode.core.extending import moves
from namenode.core.lookup import Names, info_of
from namenode.core.outcome import Effect, FileReplicationChanged, Outcome, ReadersMoved
from namenode.core.records import Inode

SOURCES_LIMIT = 1000
"""Two edits for each of them stay below what one group of edits may have."""


def concat_files(case: Case, request: ConcatFiles) -> Outcome:
    """Decide ConcatFiles."""
    names, target = _file_without_draft(case, request.target)
    path = format_path(names)
    if not 0 < len(request.sources) <= SOURCES_LIMIT:
        raise InvalidRequest(f"{path}: 1 to {SOURCES_LIMIT} files can be joined to it", path)
    sources = [_file_without_draft(case, source)[1] for source in request.sources]
    _check_different([target, *sources], (request.target, *request.sources))
    blocks = sum(source.block_count for source in sources)
    if target.block_count + blocks > FILE_BLOCKS_LIMIT:
        raise FileTooLarge(
            f"{path} would have {target.block_count + blocks} blocks, and a file may have at most"
            f" {FILE_BLOCKS_LIMIT}: copy the files into one",
            path,
        )
    effects: tuple[Effect, ...] = tuple(
        ReadersMoved(source.inode_id, target.inode_id) for source in sources
    )
    if blocks:
        effects += (FileReplicationChanged(target.inode_id),)
    return Outcome(
        _info(case, names, target, sources), tuple(_edits(case, target, sources)), effects
    )


def _file_without_draft(case: Case, path: str) -> tuple[Names, Inode]:
    names, inode = existing_file(case, path)
    if inode.draft_id:
        path = format_path(names)
        raise LeaseConflict(
            f"{path}: it is being written; close it, or end that with"
            f" `dolmen recover-lease {path}`",
            path,
        )
    return names, inode


def _check_different(inodes: list[Inode], paths: tuple[str, ...]) -> None:
    seen: dict[int, str] = {}
    for inode, path in zip(inodes, paths, strict=True):
        if inode.inode_id in seen:
            raise InvalidRequest(f"{path}: is named twice among the files to be joined", path)
        seen[inode.inode_id] = path


def _edits(case: Case, target: Inode, sources: list[Inode]) -> Iterator[AnyEdit]:
    for source in sources:
        yield from moves(source.inode_id, 0, source.block_count, target.inode_id)
        yield FileJoined(source.inode_id, case.now_ms)
    if any(source.block_count for source in sources):
        yield FileExtended(target.inode_id, case.now_ms, time_ms=case.now_ms)


def _info(case: Case, names: Names, target: Inode, sources: list[Inode]) -> FileInfo:
    if not any(source.block_count for source in sources):
        return info_of(names, target)
    joined = msgspec.structs.replace(
        target,
        length_bytes=target.length_bytes + sum(source.length_bytes for source in sources),
        content_hash=b"",
        modified_ms=case.now_ms,
        changed_txid=case.next_txid,
    )
    return info_of(names, joined)
