"""Decides ConcatFiles: the blocks of some files come behind those of another, and they are gone.

Nothing is copied, so the sources' blocks keep their lengths: any but the last may be short, and one
may be longer than the target's own block size. Inline files have none: if no file has any, and what
is joined is short enough, their contents are joined; else whoever asks gives them blocks first.
"""

from collections.abc import Iterator

import msgspec

from dolmen.protocol.checksums import content_hash
from dolmen.protocol.client_messages import FileInfo
from dolmen.protocol.draft_messages import ConcatFiles
from dolmen.protocol.errors import FileTooLarge, InvalidRequest, LeaseConflict, NeedsBlocks
from dolmen.protocol.identifiers import FILE_BLOCKS_LIMIT, format_path
from namenode.core.case import Case
from namenode.core.drafts import existing_file
from namenode.core.edits import AnyEdit, ContentReplaced, FileExtended, FileJoined
from namenode.core.extending import moves
from namenode.core.lookup import Names, info_of, load_content
from namenode.core.outcome import Effect, FileReplicationChanged, Outcome, ReadersMoved
from namenode.core.records import Inode

SOURCES_LIMIT = 1000
"""Two edits for each of them stay below what one group of edits may have."""


class _Joined(msgspec.Struct, frozen=True):
    """The files that are joined; `content` is what the target then has itself, if that is so."""

    target: Inode
    sources: list[Inode]
    content: bytes | None

    @property
    def grows(self) -> bool:
        """Whether the target gets any bytes."""
        return any(source.length_bytes for source in self.sources)

    @property
    def content_hash(self) -> bytes:
        """The hash of the target as it is then, if that is known."""
        return b"" if self.content is None else content_hash(self.content)


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
    joined = _Joined(target, sources, _content(case, path, [target, *sources]))
    return Outcome(_info(case, names, joined), tuple(_edits(case, joined)), effects)


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


def _content(case: Case, path: str, files: list[Inode]) -> bytes | None:
    """Return what the target then has itself; None if it has blocks, or nothing."""
    if not any(file.is_inline for file in files):
        return None
    limit_bytes = case.world.settings.inline_limit_bytes
    length_bytes = sum(file.length_bytes for file in files)
    if length_bytes > limit_bytes or any(file.block_count for file in files):
        raise NeedsBlocks(
            f"{path}: it, or a file to be joined to it, is kept by the namenode itself, and what is"
            f" joined has {length_bytes} bytes, of which blocks or more than {limit_bytes} are not",
            path,
        )
    return b"".join(load_content(case.view, file) for file in files)


def _edits(case: Case, joined: _Joined) -> Iterator[AnyEdit]:
    target, content = joined.target, joined.content
    if joined.grows and content is not None:
        yield ContentReplaced(target.inode_id, content, joined.content_hash, case.now_ms)
    for source in joined.sources:
        yield from moves(source.inode_id, 0, source.block_count, target.inode_id)
        yield FileJoined(source.inode_id, case.now_ms)
    if joined.grows and content is None:
        yield FileExtended(target.inode_id, case.now_ms, time_ms=case.now_ms)


def _info(case: Case, names: Names, joined: _Joined) -> FileInfo:
    target, sources = joined.target, joined.sources
    if not joined.grows:
        return info_of(names, target)
    after = msgspec.structs.replace(
        target,
        length_bytes=target.length_bytes + sum(source.length_bytes for source in sources),
        block_count=target.block_count + sum(source.block_count for source in sources),
        content_hash=joined.content_hash,
        modified_ms=case.now_ms,
        changed_txid=case.next_txid,
    )
    return info_of(names, after)
