"""Decides about datanodes that leave, rest or serve again.

Somebody says IN_SERVICE, DECOMMISSIONING or MAINTENANCE; a decommissioning datanode becomes
DECOMMISSIONED when no block needs it any more, and one whose maintenance is over serves again: both
by `next_change`, which asks what soft state knows and goes through the same door.
"""

from collections.abc import Iterable

import msgspec

from dolmen.protocol.client_messages import Done
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.operator_messages import DatanodeReport, DatanodeReported, SetAdminState
from namenode.core import tables
from namenode.core.case import TIME_LIMIT_MS, Case
from namenode.core.edits import AdminStateSet
from namenode.core.knowledge import Knowledge
from namenode.core.outcome import AdminStateChanged, Outcome
from namenode.core.records import DATANODE, AdminState, Datanode
from namenode.core.tables import View

NAMED_LIMIT = 10
"""Candidates named in a refusal: a screen of them helps nobody."""

ASKED_FOR = (AdminState.IN_SERVICE, AdminState.DECOMMISSIONING, AdminState.MAINTENANCE)

#: (as it is, as it is asked to be) → why not
REFUSED = {
    (
        AdminState.DECOMMISSIONING,
        AdminState.MAINTENANCE,
    ): "is being decommissioned: recommission it first, or wait until it is done",
    (
        AdminState.DECOMMISSIONED,
        AdminState.MAINTENANCE,
    ): "is decommissioned: nothing needs it, it can be stopped at once",
}


def set_admin_state(case: Case, request: SetAdminState) -> Outcome:
    """Decide SetAdminState; nothing changes if the datanode is so already."""
    wanted = _asked_for(request, case.now_ms)
    datanode = _named(request.datanode, case.view)
    if (why := REFUSED.get((datanode.admin_state, wanted))) is not None:
        raise InvalidRequest(f"datanode {datanode.datanode_id} ({datanode.address}) {why}")
    left = datanode.admin_state is AdminState.DECOMMISSIONED
    if wanted is AdminState.DECOMMISSIONING and left:
        wanted = AdminState.DECOMMISSIONED
    reply = DatanodeReported(_described(case.world.knowledge, datanode, wanted))
    if (wanted, request.until_ms) == (datanode.admin_state, datanode.maintenance_until_ms):
        return Outcome(reply)
    change = (datanode.datanode_id, wanted, request.until_ms)
    return Outcome(reply, (AdminStateSet(*change),), (AdminStateChanged(*change),))


def _asked_for(request: SetAdminState, now_ms: int) -> AdminState:
    wanted = next((state for state in ASKED_FOR if state.name == request.admin_state), None)
    if wanted is None:
        raise InvalidRequest(
            f"a datanode is set to {', '.join(state.name for state in ASKED_FOR)}, not to"
            f" {request.admin_state[:100]!r}"
        )
    if request.until_ms and wanted is not AdminState.MAINTENANCE:
        raise InvalidRequest(f"only maintenance has an end, {wanted.name} has none")
    if request.until_ms and not now_ms < request.until_ms < TIME_LIMIT_MS:
        raise InvalidRequest("maintenance ends in the future, or not by itself (0)")
    return wanted


def _named(name: str, view: View) -> Datanode:
    """Return the datanode of this id, address, or start of an id. InvalidRequest unless there is
    just one."""
    every = [DATANODE.decode(value) for _, value in view.scan(tables.DATANODES)]
    found = [datanode for datanode in every if name in (datanode.datanode_id, datanode.address)]
    if not found and name:
        found = [datanode for datanode in every if datanode.datanode_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidRequest(f"{name!r} may be any of these datanodes: {_list(found)}")
    raise InvalidRequest(
        f"{name[:200]!r} is no datanode's id, start of an id, or address; there are: {_list(every)}"
    )


def _list(datanodes: Iterable[Datanode]) -> str:
    names = [f"{datanode.address} ({datanode.datanode_id})" for datanode in datanodes]
    shown = ", ".join(names[:NAMED_LIMIT]) or "none"
    more = len(names) - NAMED_LIMIT
    return f"{shown} and {more} more" if more > 0 else shown


def _described(knowledge: Knowledge, datanode: Datanode, wanted: AdminState) -> DatanodeReport:
    known = knowledge.describe(datanode.datanode_id)
    assert known is not None, "a datanode in the tables is known to the cluster"
    return msgspec.structs.replace(known, admin_state=wanted.name)


def next_change(view: View, knowledge: Knowledge, now_ms: int) -> Outcome | None:
    """Return the change of the next datanode that has left, or whose maintenance is over."""
    for change in knowledge.due_changes(now_ms):
        value = view.get(tables.DATANODES, change.datanode_id.encode())
        if value is None or DATANODE.decode(value).admin_state is change.admin_state:
            continue
        edit = AdminStateSet(change.datanode_id, change.admin_state)
        return Outcome(Done(), (edit,), (change,))
    return None
