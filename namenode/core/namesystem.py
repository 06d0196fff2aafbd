"""The one door: every call that makes edits comes through here, and every read of the namespace.

`handle` decides and changes nothing durable; `apply` changes and cannot refuse. A repeated call
gets its first reply (rule 7): the reply is the last edit of every group that a client's call makes,
so it is durable exactly if the call's other edits are. The soft state in here (when lease holders
were heard, which files readers have open) changes by effects after the commit, and by reads.
"""

from collections.abc import Callable
from typing import Any

from dolmen.protocol.client_messages import (
    AbandonFile,
    AllocateBlock,
    CheckCreation,
    CreateFile,
    Delete,
    Done,
    GetInfo,
    GetInfos,
    ListDirectory,
    LocateBlocks,
    LocatedBlocks,
    MakeDirectory,
    OpenFile,
    PublishFile,
    RebuildPipeline,
    Rename,
    RenewLeases,
    SetAttributes,
    StoreFile,
    UpdatePipeline,
    WalkTree,
)
from dolmen.protocol.control_messages import (
    CLIENT_ID_BYTES,
    ClientCall,
    Reply,
    decode_reply,
    encode_reply,
)
from dolmen.protocol.datanode_messages import FileHashed, LocateToHash, RegisterDatanode
from dolmen.protocol.draft_messages import (
    ConcatFiles,
    ExtendFile,
    KeepBlocks,
    LocateBlock,
    LocateListed,
    OpenDraft,
    RecoverLease,
    ReopenFile,
)
from dolmen.protocol.errors import InvalidRequest, SafeMode
from dolmen.protocol.operator_messages import SetAdminState
from dolmen.protocol.tokens import ClusterKeys
from namenode.core import (
    admin_states,
    blocks,
    concat,
    content_hashes,
    drafts,
    extending,
    files,
    leases,
    listing,
    membership,
    namespace,
    opening,
)
from namenode.core.case import Caller, Case, NamesystemSettings, World, check_owner
from namenode.core.edits import CallAnswered, ClusterFormatted, EpochRaised
from namenode.core.knowledge import Knowledge
from namenode.core.lookup import NUMBER_LIMIT, find_answer, load_meta
from namenode.core.outcome import (
    Effect,
    FileOpened,
    LeaseEnded,
    LeaseTouched,
    Outcome,
    ReadersMoved,
    Waits,
)
from namenode.core.reclaim import Background, OpenedFiles, next_piece
from namenode.core.tables import View

_MUTATIONS: dict[type[Any], Callable[[Case, Any], Outcome | Waits]] = {
    MakeDirectory: namespace.make_directory,
    CreateFile: files.create_file,
    AllocateBlock: blocks.allocate_block,
    RebuildPipeline: blocks.rebuild_pipeline,
    UpdatePipeline: blocks.update_pipeline,
    PublishFile: files.publish_file,
    StoreFile: files.store_file,
    OpenDraft: drafts.open_draft,
    ExtendFile: extending.extend_file,
    RecoverLease: drafts.recover_lease,
    ConcatFiles: concat.concat_files,
    AbandonFile: files.abandon_file,
    Rename: namespace.rename,
    Delete: namespace.delete,
    SetAttributes: namespace.set_attributes,
    SetAdminState: admin_states.set_admin_state,
}

_LOOKS: dict[type[Any], Callable[[View, Any], Reply]] = {
    GetInfo: listing.get_info,
    GetInfos: listing.get_infos,
    ListDirectory: listing.list_directory,
    WalkTree: listing.walk_tree,
}
"""Reads that need nothing but the tables, and are most of all calls."""

_ALLOWED_IN_SAFE_MODE = frozenset({SetAdminState})
"""Mutations that touch neither files nor blocks: who is to leave may be said before all have
reported, lest copies are made for a datanode that is meant to be away."""


class Namesystem:
    """Namespace, files and leases behind one door."""

    def __init__(
        self, settings: NamesystemSettings, keys: ClusterKeys, knowledge: Knowledge
    ) -> None:
        self._leases = leases.LeaseTable()
        self._world = World(settings, keys, knowledge, self._leases)
        self._settings = settings
        self._opened = OpenedFiles()
        self._started = False

    def handle(self, call: ClientCall, view: View, now_ms: int) -> Outcome | Waits:
        """Decide a mutation. Raises the DolmenError that refuses it."""
        decide = _MUTATIONS.get(type(call.request))
        if decide is None:
            raise InvalidRequest(f"{type(call.request).__name__} changes nothing: it is a read")
        case = self._case(call, view, now_ms)
        if not 0 < call.number < NUMBER_LIMIT:
            raise InvalidRequest("a mutation goes with a call number above 0")
        answered = find_answer(view, call.client_id, call.number)
        if answered is not None:
            return Outcome(decode_reply(answered))
        self._check_mode(type(call.request))
        outcome = decide(case, call.request)
        if isinstance(outcome, Waits) or not outcome.edits:
            return outcome
        answer = CallAnswered(
            client_id=call.client_id,
            number=call.number,
            time_ms=now_ms,
            reply=encode_reply(outcome.reply),
            forget_before_ms=max(0, now_ms - self._settings.answered_life_ms),
        )
        return Outcome(outcome.reply, (*outcome.edits, answer), outcome.effects)

    def read(self, call: ClientCall, view: View, now_ms: int) -> Reply:
        """Answer a read of the namespace, or renew leases. Raises the DolmenError that refuses
        it."""
        request = call.request
        look = _LOOKS.get(type(request))
        if look is not None:
            _check_caller(call)
            return look(view, request)
        case = self._case(call, view, now_ms)
        match request:
            case OpenFile():
                return opening.open_file(case, self._opened, request)
            case LocateBlocks():
                return opening.locate_blocks(case, self._opened, request)
            case LocateBlock():
                return opening.locate_block(case, self._opened, request)
            case LocateListed():
                return opening.locate_listed(case, self._opened, request)
            case KeepBlocks():
                return opening.keep_blocks(case, self._opened, request)
            case ReopenFile():
                return opening.reopen_file(case, self._opened, request)
            case CheckCreation():
                self._check_mode(type(request))
                return files.check_creation(case, request)
            case RenewLeases():
                return leases.renew(self._leases, view, call.client_id, request, now_ms)
            case _:
                raise InvalidRequest(f"{type(request).__name__} is no read of the namespace")

    def _check_mode(self, kind: type[Any]) -> None:
        reason = self._world.knowledge.in_safe_mode()
        if reason is not None and kind not in _ALLOWED_IN_SAFE_MODE:
            raise SafeMode(reason)

    def _case(self, call: ClientCall, view: View, now_ms: int) -> Case:
        _check_caller(call)
        return Case(self._world, view, now_ms, Caller(call.client_id, call.user))

    def tick(self, view: View, now_ms: int) -> Outcome | None:
        """Return one piece of background work, or None: then nothing is due. None in safe mode.

        The first tick starts the clocks: all leases count as renewed, all files as opened.
        """
        if not self._started:
            self._start(view, now_ms)
        if self._world.knowledge.in_safe_mode() is not None:
            return None
        if (outcome := admin_states.next_change(view, self._world.knowledge, now_ms)) is not None:
            return outcome
        hard_limit_ms = self._settings.lease_hard_limit_ms
        return next_piece(Background(self._leases, self._opened, hard_limit_ms), view, now_ms)

    def _start(self, view: View, now_ms: int) -> None:
        self._started = True
        self._leases.load(view, now_ms)
        until_ms = now_ms + self._settings.block_token_life_ms
        self._opened.start(load_meta(view).next_inode_id, until_ms)

    def take_effects(self, effects: tuple[Effect, ...], now_ms: int) -> None:
        """Note the effects on leases and readers; the others are the replication half's."""
        for effect in effects:
            match effect:
                case LeaseTouched(inode_id):
                    self._leases.touch(inode_id, now_ms)
                case LeaseEnded(inode_id):
                    self._leases.end(inode_id)
                case FileOpened(inode_id, until_ms):
                    self._opened.note(inode_id, until_ms, now_ms)
                case ReadersMoved(source_id, inode_id):
                    self._opened.move(source_id, inode_id, now_ms)

    def register_datanode(self, request: RegisterDatanode, view: View, now_ms: int) -> Outcome:
        """Decide what is new about a datanode that registers: often nothing."""
        return membership.register_datanode(request, view)

    def locate_to_hash(
        self, request: LocateToHash, host: str, view: View, now_ms: int
    ) -> LocatedBlocks:
        """Answer a datanode on this host that reads a file whole."""
        case = Case(self._world, view, now_ms, Caller(bytes(CLIENT_ID_BYTES), ""))
        return content_hashes.locate_to_hash(case, self._opened, request, host)

    def take_hash(self, request: FileHashed, view: View, now_ms: int) -> Outcome:
        """Decide what a datanode has computed. Nothing changes in safe mode: it is done again."""
        if self._world.knowledge.in_safe_mode() is not None:
            return Outcome(Done())
        return content_hashes.take_hash(view, request)

    def raise_epoch(self, view: View, now_ms: int) -> Outcome:
        """Decide the next epoch: this namenode becomes active (rule 23)."""
        return Outcome(Done(), (EpochRaised(load_meta(view).epoch + 1, now_ms),))

    @staticmethod
    def format(cluster_id: str, namespace_id: int, now_ms: int) -> Outcome:
        """Decide the first group of a new log."""
        return Outcome(Done(), (ClusterFormatted(cluster_id, namespace_id, now_ms),))


def _check_caller(call: ClientCall) -> None:
    """InvalidRequest: nobody can be called that."""
    if len(call.client_id) != CLIENT_ID_BYTES:
        raise InvalidRequest(f"a client id has {CLIENT_ID_BYTES} bytes")
    check_owner(call.user, "user")
