"""Which replicas are ordered away, and the proof that each needs (rules 21, 22, 24, 25).

Replicas of blocks that left the namespace need none but that the namespace is whole. A replica too
many goes only while as many proven good ones remain as are wanted. A worthless one (of an old
stamp, never finished, or not what was committed) goes when enough proven good ones live; when it
stands in the way of the only copy that can still be made, one is enough. A damaged replica is not
deleted but put into quarantine, when a good one was read whole since: damage comes in company, and
until then readers get what is left of each. So the last readable replica is never ordered away.

An order goes out in the slice that decided it. It is repeated, while there still is proof, until
the datanode reports the replica gone, and until then it counts as gone.
"""

from collections.abc import Callable, Iterable, Sequence

from dolmen.protocol.datanode_messages import (
    InvalidateReplica,
    QuarantineReplica,
    ReplicaChecked,
)
from namenode.core.assessment import is_worthless
from namenode.core.block_map import Holding, Tables, Worth, rows_of
from namenode.core.datanodes import Datanodes, DatanodeState, Order
from namenode.core.excess import choose_excess
from namenode.core.records import AdminState

ORDERS_LIMIT = 1000
"""Orders outstanding at one datanode, so that all go out with the tick that gave them, in one
message of some kilobytes; more are given when these are done."""


def order(datanode: DatanodeState, block_id: int, given: Order) -> bool:
    """Order a replica away; return whether that could be done now."""
    if not datanode.connected or block_id in datanode.orders:
        return False
    if len(datanode.orders) >= ORDERS_LIMIT:
        return False
    datanode.orders[block_id] = given
    return True


def proven(held: Sequence[Holding], block_id: int) -> list[DatanodeState]:
    """Return the datanodes whose good replica is proof for a deletion."""
    return [
        holding.datanode
        for holding in held
        if holding.worth is Worth.GOOD
        and holding.datanode.proving
        and block_id not in holding.datanode.orders
    ]


def order_excess(held: Sequence[Holding], block_id: int, wanted: int, moving_from: str = "") -> int:
    """Order the replicas deleted that are too many; return how many were.

    As many as are wanted remain on datanodes in service: one that leaves is proof of nothing that
    lasts.
    """
    stamps = {holding.datanode.datanode_id: holding.replica.stamp for holding in held}
    excess = choose_excess(_staying(held, block_id), wanted, moving_from)
    return sum(order(d, block_id, Order(stamps[d.datanode_id])) for d in excess)


def _staying(held: Sequence[Holding], block_id: int) -> list[DatanodeState]:
    return [d for d in proven(held, block_id) if d.admin_state is AdminState.IN_SERVICE]


def order_worthless(
    held: Sequence[Holding],
    block_id: int,
    enough: int,
    awaited: Callable[[int, str], bool],
) -> int:
    """Order the worthless replicas away, if `enough` good ones are proven; return how many were.

    One that is `awaited`, because its datanode is just finishing it, is left alone.
    """
    found = len(proven(held, block_id))
    against = [
        holding
        for holding in held
        if is_worthless(holding)
        and holding.datanode.proving
        and block_id not in holding.datanode.orders
        and not awaited(block_id, holding.datanode.datanode_id)
    ]
    damaged = any(holding.worth is Worth.DAMAGED for holding in against)
    vouched = damaged and _is_vouched_for(held, block_id)
    return sum(
        order(holding.datanode, block_id, _order_against(holding))
        for holding in against
        if (vouched if holding.worth is Worth.DAMAGED else found >= max(1, enough))
    )


def _is_vouched_for(held: Sequence[Holding], block_id: int) -> bool:
    """Return whether a good replica of a block was read whole lately; if not, have all read."""
    stamps = {holding.datanode.datanode_id: holding.replica.stamp for holding in held}
    witnesses = proven(held, block_id)
    if any(one.vouchers.get(block_id) == stamps[one.datanode_id] for one in witnesses):
        for witness in witnesses:  # for this once: what is damaged later needs another
            witness.vouchers.pop(block_id, None)
        return True
    for witness in witnesses:
        if block_id not in witness.vouchers:
            if len(witness.vouchers) >= ORDERS_LIMIT:
                del witness.vouchers[next(iter(witness.vouchers))]
            witness.vouchers[block_id] = 0
            witness.checks[block_id] = stamps[witness.datanode_id]
    return False


def vouch(datanode: DatanodeState, answers: Iterable[ReplicaChecked]) -> None:
    """Keep that replicas are good which were to be read; what came to nothing is asked again."""
    for answer in answers:
        if answer.block_id in datanode.vouchers:
            del datanode.vouchers[answer.block_id]
            if not answer.problem:
                datanode.vouchers[answer.block_id] = answer.stamp


def _order_against(holding: Holding) -> Order:
    return Order(holding.replica.stamp, quarantine=holding.worth is Worth.DAMAGED)


def order_orphan(tables: Tables, block_id: int, datanodes: Datanodes) -> bool:
    """Order all replicas deleted of a block that left the namespace; return whether all were.

    Rows of datanodes that are not there go: those come back with their reports.
    """
    settled = True
    for row in rows_of(tables.soft, block_id):
        datanode = datanodes.holder(row.storage_number)
        if datanode is None or not datanode.connected:
            tables.remove_row(block_id, row.storage_number)
        else:
            order(datanode, block_id, Order(row.replica.stamp, orphan=True))
            settled = settled and block_id in datanode.orders
    return settled


def command_of(block_id: int, given: Order) -> InvalidateReplica | QuarantineReplica:
    """Return the command that an order is sent as."""
    if given.quarantine:
        return QuarantineReplica(block_id, given.stamp)
    return InvalidateReplica(block_id, given.stamp)


def new_orders(datanode: DatanodeState, now_ms: int) -> list[InvalidateReplica | QuarantineReplica]:
    """Return the orders that have not been sent yet; they count as sent now."""
    fresh = {b: given for b, given in datanode.orders.items() if given.sent_ms is None}
    for given in fresh.values():
        given.sent_ms = now_ms
    return [command_of(block_id, given) for block_id, given in fresh.items()]


def overdue_orders(datanode: DatanodeState, sent_before_ms: int) -> list[int]:
    """Return the blocks whose orders were sent long ago and are not confirmed."""
    return [
        block_id
        for block_id, given in datanode.orders.items()
        if given.sent_ms is not None and given.sent_ms <= sent_before_ms
    ]


def may_repeat(
    held: Sequence[Holding], block_id: int, datanode: DatanodeState, wanted: int
) -> bool:
    """Return whether there is still proof that this datanode's replica is not needed."""
    worthless = any(is_worthless(holding) for holding in held if holding.datanode is datanode)
    if worthless:
        return bool(proven(held, block_id))
    return len(_staying(held, block_id)) >= wanted
