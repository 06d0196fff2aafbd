"""Files that grow, shrink and are joined, against the model, among all that else is done to them.

The rules of the namespace's machine go on: files are renamed, replaced and deleted while they are
written, and whoever has a token for a block finds it, wherever it was moved to.
"""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import initialize, invariant, precondition, rule

from dolmen.protocol.client_messages import (
    AbandonFile,
    Delete,
    Done,
    FileInfo,
    LeasesRenewed,
    OpenedFile,
    RenewLeases,
)
from dolmen.protocol.draft_messages import (
    ConcatFiles,
    DraftOpened,
    ExtendFile,
    OpenDraft,
    RecoverLease,
    ReopenFile,
)
from dolmen.protocol.errors import LeaseConflict, StaleHandle
from tests.model.namespace_model import Draft, File, Path
from tests.model.test_namespace_model import (
    SETTINGS,
    NamespaceMachine,
    lengths,
    raised,
    show,
)
from tests.unit.namenode.core.driver import CLIENT, RIVAL

clients = st.sampled_from([CLIENT, RIVAL])


class DraftMachine(NamespaceMachine):
    """Each draft stays in the list for ever: its writer may come back whenever he likes."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[tuple[Draft, File]] = []

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.write(("c",), (5, 6, 7))
        self.store(("ä", "a"), b"abc", exclusive=False)
        self.store(("ä", "b"), b"defg", exclusive=False)
        self.open_files()

    def some_path(self, data: st.DataObject) -> Path:
        """A file that can be written, mostly."""
        known = [path for path, node in self.model.walk() if isinstance(node, File)]
        if not known or not data.draw(st.integers(0, 3)):
            return super().some_path(data)
        return tuple(data.draw(st.sampled_from(known))[1:].split("/"))

    def some_paths(self, data: st.DataObject, count: int) -> list[Path]:
        """Different files, mostly."""
        known = [path for path, node in self.model.walk() if isinstance(node, File)]
        if len(known) < count or not data.draw(st.integers(0, 3)):
            return [self.some_path(data) for _ in range(count)]
        chosen = data.draw(st.permutations(known))[:count]
        return [tuple(path[1:].split("/")) for path in chosen]

    def some_draft(self, data: st.DataObject) -> tuple[Draft, File]:
        """One whose file is there, mostly."""
        good = [both for both in self.drafts if self.lives(both[0]) and self.stands(both[1])]
        return data.draw(st.sampled_from(good or self.drafts) | st.sampled_from(self.drafts))

    def lives(self, draft: Draft) -> bool:
        """Look at the clock: the namenode does so whenever it has moved."""
        if self.driver.now_ms - draft.heard_ms >= SETTINGS.lease_hard_limit_ms:
            draft.ended = True
        return not draft.ended

    def file_at(self, path: Path) -> File:
        """Return the model's file, whose draft is what it is by now."""
        file = self.model.find_file(path)
        if file.draft is not None:
            self.lives(file.draft)
        return file

    def stands(self, file: File) -> bool:
        return any(node is file for _, node in self.model.walk())

    @rule(data=st.data(), client_id=clients)
    def open_draft(self, data: st.DataObject, client_id: bytes) -> None:
        self.open_at(self.some_path(data), client_id)

    def open_at(self, path: Path, client_id: bytes) -> None:
        reply, error = self.attempt(OpenDraft(show(path)), client_id)
        assert error is raised(lambda: self.check_free(path))
        if error is not None:
            return
        file = self.file_at(path)
        assert isinstance(reply, DraftOpened)
        assert (reply.inode_id, reply.length_bytes) == (file.inode_id, file.length_bytes)
        assert (reply.tail is None) == (not file.blocks)
        if reply.tail is not None:
            assert reply.tail.block_id == file.blocks[-1].block_id
            self.read((reply.tail,))
        if file.draft is not None:
            file.draft.ended = True
        file.draft = Draft(reply.draft_id, client_id, self.driver.now_ms)
        self.drafts.append((file.draft, file))

    def check_free(self, path: Path) -> None:
        draft = self.file_at(path).draft
        if draft is None or draft.ended:
            return
        if self.driver.now_ms - draft.heard_ms < SETTINGS.lease_soft_limit_ms:
            raise LeaseConflict("")

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), lengths=lengths, final=st.booleans())
    def extend(self, data: st.DataObject, lengths: tuple[int, ...], final: bool) -> None:
        self.extend_by(self.some_draft(data), data, lengths, final)

    @rule(data=st.data(), lengths=lengths, final=st.booleans(), client_id=clients)
    def change(
        self, data: st.DataObject, lengths: tuple[int, ...], final: bool, client_id: bytes
    ) -> None:
        """Open a file for writing, if nobody has it open, and write, with readers about it."""
        path = self.some_path(data)
        if data.draw(st.booleans()):
            self.open_files()
        self.open_at(path, client_id)
        file = None if raised(lambda: self.file_at(path)) else self.file_at(path)
        if file is not None and file.draft is not None:
            self.extend_by((file.draft, file), data, lengths, final)
        if data.draw(st.booleans()):
            self.let_time_pass(SETTINGS.delete_after_ms)

    def extend_by(
        self,
        written: tuple[Draft, File],
        data: st.DataObject,
        lengths: tuple[int, ...],
        final: bool,
    ) -> None:
        draft, file = written
        start = data.draw(self.starts(file, lengths))
        longest = min(file.length_bytes, start + sum(lengths))
        keep = data.draw(st.just(longest) | st.integers(start, longest))
        if not self.lives(draft):
            request = ExtendFile(draft.draft_id, start, keep, None, final)
            assert self.attempt(request, draft.client_id)[1] is LeaseConflict
            return
        last = self.driver.write_blocks(draft.draft_id, lengths, draft.client_id)
        blocks = self.blocks_of(draft.draft_id, lengths)
        request = ExtendFile(draft.draft_id, start, keep, last, final)
        other = RIVAL if draft.client_id == CLIENT else CLIENT
        assert self.attempt(request, other) == (None, LeaseConflict)
        if not self.stands(file):
            assert self.attempt(request, draft.client_id) == (None, StaleHandle)
            self.abandon_draft(draft)
            return
        self.extends(request, draft, file)
        if keep < file.length_bytes:
            file.cut_txid = len(self.driver.log)
        file.extend(start, blocks)
        draft.ended = final

    def starts(self, file: File, lengths: tuple[int, ...]) -> st.SearchStrategy[int]:
        """Where a file's bytes may give way to blocks of these lengths."""
        if file.content:
            return st.just(0) if lengths else st.integers(0, file.length_bytes)
        return st.sampled_from(file.starts[-2:]) | st.sampled_from(file.starts)

    def extends(self, request: ExtendFile, draft: Draft, file: File) -> None:
        reply, error = self.attempt(request, draft.client_id)
        assert error is None
        assert isinstance(reply, FileInfo)
        assert reply == self.driver.info(reply.path)
        assert reply.inode_id == file.inode_id
        draft.heard_ms = self.driver.now_ms

    def abandon_draft(self, draft: Draft) -> None:
        assert self.attempt(AbandonFile(draft.draft_id), draft.client_id) == (Done(), None)
        draft.ended = True

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), again=st.booleans())
    def renew_or_abandon(self, data: st.DataObject, again: bool) -> None:
        draft, _ = self.some_draft(data)
        lived = self.lives(draft)
        if not again:
            self.abandon_draft(draft)
            return
        reply = self.driver.ask(RenewLeases((draft.draft_id,)), draft.client_id)
        assert isinstance(reply, LeasesRenewed)
        assert (not reply.ended) == lived
        if lived:
            draft.heard_ms = self.driver.now_ms

    @rule(data=st.data(), client_id=clients)
    def recover(self, data: st.DataObject, client_id: bytes) -> None:
        path = self.some_path(data)
        reply, error = self.attempt(RecoverLease(show(path)), client_id)
        assert error is raised(lambda: self.file_at(path))
        if error is None:
            assert reply == self.driver.info(show(path))
            file = self.file_at(path)
            if file.draft is not None:
                file.draft.ended = True

    @rule(data=st.data(), count=st.integers(1, 3), delete=st.booleans())
    def concat(self, data: st.DataObject, count: int, delete: bool) -> None:
        """Join files, and see whether what is deleted then waits for those who read the sources."""
        path, *sources = self.some_paths(data, count + 1)
        if delete:
            self.let_time_pass(SETTINGS.block_token_life_ms + 1)
        gone = self.sources_of(sources)
        for source, file in zip(sources, gone, strict=False):
            self.open_file(show(source), file)
        request = ConcatFiles(show(path), tuple(map(show, sources)))
        reply, error = self.attempt(request)
        assert error is raised(lambda: self.model.concat(path, sources))
        if error is None:
            assert reply == self.driver.info(show(path))
            for file in gone:
                self.open.pop(file.inode_id, None)  # its readers know their blocks
            if delete:
                assert self.attempt(Delete(show(path))) == (Done(), None)
                self.model.delete(path, recursive=False)
                self.let_time_pass(SETTINGS.delete_after_ms)

    def sources_of(self, paths: list[Path]) -> list[File]:
        files = []
        for draft, _ in self.drafts:
            self.lives(draft)
        for path in paths:
            if raised(lambda path=path: files.append(self.model.find_file(path))):
                break
        return files

    @rule()
    def restart(self) -> None:
        alive = [draft for draft, _ in self.drafts if self.lives(draft)]
        super().restart()
        for draft in alive:
            draft.heard_ms = self.driver.now_ms

    @rule()
    def open_again(self) -> None:
        known = {node.inode_id: path for path, node in self.model.walk() if isinstance(node, File)}
        for inode_id in self.open:
            if inode_id not in known:
                assert raised(lambda i=inode_id: self.driver.ask(ReopenFile(i))) is StaleHandle
                continue
            reply = self.driver.ask(ReopenFile(inode_id))
            assert isinstance(reply, OpenedFile)
            assert reply.info == self.driver.info(known[inode_id])
            self.open[inode_id] = self.read(reply.blocks)

    @invariant()
    def a_draft_has_a_lease_for_as_long_as_it_lives(self) -> None:
        with self.driver.key_value.snapshot() as view:
            leased = {int.from_bytes(key) for key, _ in view.scan("leases")}
        for draft, _ in self.drafts:
            assert self.lives(draft) == (draft.draft_id in leased)


TestDrafts = DraftMachine.TestCase
TestDrafts.settings = settings(max_examples=200, stateful_step_count=40)
