"""Decides about the whole hash of a file that a datanode computes: where its blocks are, and
whether the result still is that of the file."""

from dolmen.protocol.checksums import DIGEST_BYTES
from dolmen.protocol.client_messages import Done, LocateBlocks, LocatedBlocks
from dolmen.protocol.datanode_messages import FileHashed, LocateToHash
from dolmen.protocol.errors import InvalidRequest, StaleHandle
from namenode.core.case import Case
from namenode.core.edits import ContentHashed
from namenode.core.lookup import find_inode
from namenode.core.opening import locate_blocks
from namenode.core.outcome import Outcome
from namenode.core.reclaim import OpenedFiles
from namenode.core.tables import View


def locate_to_hash(
    case: Case, opened: OpenedFiles, request: LocateToHash, host: str
) -> LocatedBlocks:
    """Answer LocateToHash of a datanode on this host."""
    if not is_current(case.view, request.inode_id, request.changed_txid):
        raise StaleHandle(f"inode {request.inode_id} changed since it was to be hashed")
    return locate_blocks(case, opened, LocateBlocks(request.inode_id, request.first_index, host))


def take_hash(view: View, report: FileHashed) -> Outcome:
    """Decide FileHashed: the hash of what a file was is dropped, as what it is has another one."""
    if len(report.content_hash) != DIGEST_BYTES:
        raise InvalidRequest(f"a content hash has {DIGEST_BYTES} bytes")
    if not is_current(view, report.inode_id, report.changed_txid):
        return Outcome(Done())
    edit = ContentHashed(report.inode_id, report.changed_txid, report.content_hash)
    return Outcome(Done(), (edit,))


def is_current(view: View, inode_id: int, changed_txid: int) -> bool:
    """Return whether a file lacks its hash and is as it was left by that transaction."""
    inode = find_inode(view, inode_id)
    return inode is not None and inode.lacks_hash and inode.changed_txid == changed_txid
