"""Decides about members: a datanode and its volumes, as they stay known over restarts."""

from collections.abc import Iterator

from dolmen.protocol.client_messages import Done
from dolmen.protocol.datanode_messages import RegisterDatanode
from dolmen.protocol.errors import InvalidRequest, WrongCluster
from dolmen.protocol.identifiers import parse_address
from namenode.core import tables
from namenode.core.edits import AnyEdit, DatanodeRegistered, StorageRegistered
from namenode.core.lookup import load_meta
from namenode.core.outcome import Outcome
from namenode.core.records import DATANODE, STORAGE, Storage
from namenode.core.tables import View

ID_LIMIT_BYTES = 64
"""An id is 32 digits; twice that leaves room, and fits a key."""

LABEL_LIMIT_BYTES = 255
"""An address, a host label or a rack: a host name is not longer."""

STORAGES_LIMIT = 256
"""Volumes of one datanode: more disks than a machine has."""


def register_datanode(request: RegisterDatanode, view: View) -> Outcome:
    """Decide what is new about a datanode that registers; often nothing is."""
    _check(request)
    meta = load_meta(view)
    edits: list[AnyEdit] = []
    value = view.get(tables.DATANODES, request.datanode_id.encode())
    known = None if value is None else DATANODE.decode(value)
    told = (request.address, request.host, request.rack)
    if known is None or (known.address, known.host, known.rack) != told:
        number = meta.next_datanode_number if known is None else known.number
        edits.append(DatanodeRegistered(request.datanode_id, number, *told))
    number = meta.next_storage_number
    for status in request.storages:
        value = view.get(tables.STORAGES, status.storage_id.encode())
        if value is None:
            edits.append(StorageRegistered(status.storage_id, number, request.datanode_id))
            number += 1
        elif (owner := STORAGE.decode(value).datanode_id) != request.datanode_id:
            raise WrongCluster(
                f"volume {status.storage_id} belongs to datanode {owner}, not to "
                f"{request.datanode_id}: a volume cannot move to another datanode's directories"
            )
    return Outcome(Done(), tuple(edits))


def known_storages(request: RegisterDatanode, view: View) -> Iterator[Storage]:
    """Yield the records of the volumes with which a datanode registers, as far as there are any."""
    for status in request.storages:
        value = view.get(tables.STORAGES, status.storage_id.encode())
        if value is not None:
            yield STORAGE.decode(value)


def is_datanode(view: View, datanode_id: str) -> bool:
    """Return whether a datanode of this id ever registered."""
    if not _fits(datanode_id, ID_LIMIT_BYTES):
        return False
    return view.get(tables.DATANODES, datanode_id.encode()) is not None


def _check(request: RegisterDatanode) -> None:
    ids = (request.datanode_id, *(status.storage_id for status in request.storages))
    if not all(_fits(text, ID_LIMIT_BYTES) for text in ids):
        raise InvalidRequest(f"the id of a datanode or volume has 1 to {ID_LIMIT_BYTES} bytes")
    if len(set(ids)) < len(ids) or len(ids) > 1 + STORAGES_LIMIT:
        raise InvalidRequest(f"a datanode has at most {STORAGES_LIMIT} volumes, all different")
    for label in (request.address, request.host, request.rack):
        if not _fits(label, LABEL_LIMIT_BYTES):
            raise InvalidRequest(
                f"address, host and rack of a datanode have 1 to {LABEL_LIMIT_BYTES} bytes"
            )
    parse_address(request.address)


def _fits(text: str, limit_bytes: int) -> bool:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size_bytes <= limit_bytes and "\0" not in text
