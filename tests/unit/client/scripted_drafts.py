"""What the scripted namenode knows of drafts: a published file grows and shrinks by one."""

import contextlib
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dolmen.protocol import client_messages as messages
from dolmen.protocol import draft_messages as drafts
from dolmen.protocol.errors import LeaseConflict, NoSuchPath, StaleHandle, TooFewDatanodes

if TYPE_CHECKING:
    from tests.unit.client.scripted_namenode import ScriptedNamenode, StoredBlock, StoredFile


PAGE_BLOCKS = 2


class ScriptedDrafts:
    """The drafts of one namenode: at most one of each file."""

    def __init__(self, namenode: "ScriptedNamenode") -> None:
        self._namenode = namenode
        self.targets: dict[int, int] = {}

    def _OpenDraft(self, request: drafts.OpenDraft) -> drafts.DraftOpened:  # noqa: N802
        from tests.unit.client.scripted_namenode import StoredFile

        file = self._standing_at(request.path)
        info = file.info
        assert info is not None
        if request.inode_id not in (0, file.inode_id):
            raise NoSuchPath(f"{request.path} is another file", request.path)
        if file.inode_id in self.targets.values():
            raise LeaseConflict(f"another client writes {request.path}", request.path)
        draft_id = self._namenode.new_id()
        self.targets[draft_id] = file.inode_id
        self._namenode.files[draft_id] = StoredFile(draft_id, file.block_size_bytes)
        tail = self._namenode.locate(file.blocks)[-1:]
        return drafts.DraftOpened(
            draft_id,
            file.inode_id,
            info.path,
            info.length_bytes,
            file.block_size_bytes,
            3,
            tail[0] if tail else None,
        )

    def _ExtendFile(self, request: drafts.ExtendFile) -> messages.FileInfo:  # noqa: N802
        target_id = self.targets.get(request.draft_id)
        if target_id is None:
            raise LeaseConflict(f"there is no lease on inode {request.draft_id}")
        if target_id in self._namenode.gone:
            raise StaleHandle("the file was deleted")
        draft, target = self._namenode.files[request.draft_id], self._namenode.files[target_id]
        assert target.info is not None
        self._namenode.commit(draft, request.last)
        for block in draft.blocks:
            if len(self._namenode.world.good_replicas(block)) < 2:
                draft.blocks[-1].committed = None  # waiting in vain commits nothing
                raise TooFewDatanodes(f"block {block.block_id} has too few replicas")
        kept, length = self._kept(target, request.start_bytes)
        added = sum(block.length_bytes for block in draft.blocks)
        assert request.start_bytes <= request.keep_bytes <= target.info.length_bytes
        assert length + added >= request.keep_bytes
        cut = request.keep_bytes < target.info.length_bytes
        target.replaced += target.blocks[len(kept) :]
        target.blocks, draft.blocks = kept + draft.blocks, []
        txid = self._namenode.new_id()
        target.info = replace(
            target.info,
            length_bytes=length + added,
            content_hash=b"",
            modified_ms=request.modified_ms,
            changed_txid=txid,
            cut_txid=txid if cut else target.info.cut_txid,
        )
        if request.final:
            self.end(request.draft_id)
        return target.info

    def end(self, draft_id: int) -> None:
        """The draft and its lease are gone."""
        del self.targets[draft_id]
        del self._namenode.files[draft_id]

    def _RecoverLease(self, request: drafts.RecoverLease) -> messages.FileInfo:  # noqa: N802
        file = self._standing_at(request.path)
        for draft_id, target_id in list(self.targets.items()):
            if target_id == file.inode_id:
                self.end(draft_id)
        assert file.info is not None
        return file.info

    def _ReopenFile(self, request: drafts.ReopenFile) -> messages.OpenedFile:  # noqa: N802
        file = self._namenode.files[request.inode_id]
        if request.inode_id in self._namenode.gone or file.info is None:
            raise StaleHandle("the file was deleted")
        return self._namenode.opened(file)

    def _LocateBlock(self, request: drafts.LocateBlock) -> messages.LocatedBlocks:  # noqa: N802
        _, located = self._located_block(request.block_id)
        return messages.LocatedBlocks((located,), False)

    def _LocateListed(self, request: drafts.LocateListed) -> messages.LocatedBlocks:  # noqa: N802
        found = [self._located_block(request.block_ids[0])]
        for block_id in request.block_ids[1:PAGE_BLOCKS]:
            with contextlib.suppress(StaleHandle):
                found.append(self._located_block(block_id))
        moved = any(inode_id != request.inode_id for inode_id, _ in found)
        return messages.LocatedBlocks(tuple(located for _, located in found), False, moved)

    def _KeepBlocks(self, request: drafts.KeepBlocks) -> messages.Done:  # noqa: N802
        return messages.Done()

    def _located_block(self, block_id: int) -> tuple[int, messages.LocatedBlock]:
        for file in self._namenode.files.values():
            for stored in (file.blocks, file.replaced):
                for located in self._namenode.locate(stored):
                    if located.block_id == block_id and file.inode_id not in self._namenode.gone:
                        inode_id = file.inode_id if stored is file.blocks else 0
                        return inode_id, located
        raise StaleHandle("the block is gone")

    def _ConcatFiles(self, request: drafts.ConcatFiles) -> messages.FileInfo:  # noqa: N802
        target = self._standing_at(request.target)
        assert target.info is not None
        length = target.info.length_bytes
        for path in request.sources:
            source = self._standing_at(path)
            assert source.info is not None
            length += source.info.length_bytes
            target.blocks += source.blocks
            source.blocks = []
            del self._namenode.paths[path]
            self._namenode.gone.add(source.inode_id)
        target.info = replace(
            target.info, length_bytes=length, changed_txid=self._namenode.new_id()
        )
        return target.info

    def _standing_at(self, path: str) -> "StoredFile":
        if path not in self._namenode.paths:
            raise NoSuchPath(f"{path} does not exist", path)
        return self._namenode.files[self._namenode.paths[path]]

    def _kept(self, target: "StoredFile", start_bytes: int) -> "tuple[list[StoredBlock], int]":
        kept, length = [], 0
        for block in target.blocks:
            if length == start_bytes:
                break
            kept.append(block)
            length += block.length_bytes
        assert length == start_bytes, "a block is cut in the middle"
        return kept, length
