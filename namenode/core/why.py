"""Why a block is not as it should be yet, in words for people, and when it is expected to be.

Everything is read from the soft state that decides (datanodes, transfers, throttle, orders) and
nothing is changed or kept. The questions are asked in the order in which upkeep asks them: is
anything done at all, is it under way, is there a place, is the place free, may the bytes flow, and
whose turn is it. The time is an estimate from the rate of repair and from deadlines that run; there
is none when nothing will happen before something changes.
"""

from collections.abc import Iterable, Sequence

import msgspec

from namenode.core.block_map import Holding, Known, Worth, counting, damaged
from namenode.core.conditions import REPAIRED, UNDER_REPLICATED, Condition, Conditions
from namenode.core.datanodes import VANISHED_WINDOW_MS, Datanodes, DatanodeState, Liveness
from namenode.core.deletions import proven
from namenode.core.presence import presence_of
from namenode.core.records import AdminState, Block
from namenode.core.redundancy import TRANSFERS_LIMIT, Redundancy, Transfer

NAMED_LIMIT = 5
"""Datanodes named in one reason: the others are counted."""

SOON_S = 1.0
"""What is due with the next tick or two."""


class Why(msgspec.Struct, frozen=True):
    """A reason, and in how many seconds it is expected to be over (None: nobody can say)."""

    reason: str
    expected_in_s: float | None = None


class Trouble(msgspec.Struct, frozen=True):
    """A complete block that is not as it should be. `corrupt` are the datanodes that have, or had
    and put aside, a damaged replica of it."""

    known: Known
    held: Sequence[Holding]
    condition: Condition | None
    corrupt: frozenset[str] = frozenset()

    @property
    def block(self) -> Block:
        """The block."""
        assert self.known.block is not None
        return self.known.block


class Circumstances(msgspec.Struct, frozen=True):
    """What goes on in the cluster."""

    datanodes: Datanodes
    redundancy: Redundancy
    conditions: Conditions
    safe_mode: str | None
    now_ms: int


def explain(trouble: Trouble, around: Circumstances) -> Why:
    """Return why this block is still not as it should be."""
    if around.safe_mode is not None:
        return Why(f"in {around.safe_mode}")
    if trouble.condition is Condition.MISSING:
        return _missing(trouble, around)
    if trouble.condition is Condition.OVER_REPLICATED:
        return _excess(trouble, around)
    if trouble.condition in REPAIRED:
        waits = _repair(trouble, around)
        told = [*_damage(trouble, around), *_departing(trouble), *_spread(trouble)]
        about = "; ".join([*told, waits.reason])
        return Why(about, waits.expected_in_s)
    return Why("; ".join(_damage(trouble, around)), _quarantine_s(trouble, around))


# ---------------------------------------------------------------- nothing good is left


def _missing(trouble: Trouble, around: Circumstances) -> Why:
    if left := damaged(trouble.held):
        return Why(
            f"only damaged replicas are left on {_names(left)}; what is good in them can be read"
        )
    if gone := _dead_holders(trouble):
        silent_s = min(around.datanodes.ran_ms - d.stale_since_ms for d in gone) // 1000
        return Why(
            f"missing since all holders are dead: last seen on {_names(gone)} {silent_s} s ago;"
            f" comes back with datanode {_names(gone, 'or')}"
        )
    if (awaited := around.datanodes.awaited()) is not None:
        return Why(f"waits: {awaited}")
    if trouble.corrupt:
        return Why(
            f"the last replicas were found damaged and put into quarantine on"
            f" {_names(_known(trouble.corrupt, around))}"
        )
    if useless := [holding.datanode for holding in trouble.held]:
        return Why(f"only replicas that were never whole, or are too old, are on {_names(useless)}")
    told = ["no datanode that is here has it"]
    if written := around.datanodes.numbered(trouble.block.expected):
        told.append(f"it was written to {_names(written)}")
    if away := [d for d in around.datanodes if d.liveness is Liveness.DEAD]:
        told.append(f"away is {_names(away)}")
    return Why("; ".join(told))


def _dead_holders(trouble: Trouble) -> list[DatanodeState]:
    return [
        holding.datanode
        for holding in trouble.held
        if holding.worth in (Worth.GOOD, Worth.DAMAGED)
        and holding.datanode.liveness is Liveness.DEAD
    ]


# ---------------------------------------------------------------- too few, or badly spread


def _damage(trouble: Trouble, around: Circumstances) -> list[str]:
    """Say what is known of damaged replicas."""
    told = []
    waiting = damaged(trouble.held)
    if ordered := [d for d in waiting if trouble.block.block_id in d.orders]:
        told.append(f"the damaged replica on {_names(ordered)} goes into quarantine")
    if left := [d for d in waiting if trouble.block.block_id not in d.orders]:
        reason = around.datanodes.vanished() or _lacking_proof(trouble, 1) or _next_step(trouble)
        told.append(f"the damaged replica on {_names(left)} stays for now: {reason}")
    if aside := _known(trouble.corrupt - {d.datanode_id for d in waiting}, around):
        told.append(f"a damaged replica was found on {_names(aside)}")
    return told


def _next_step(trouble: Trouble) -> str:
    witnesses = proven(trouble.held, trouble.block.block_id)
    return f"what is good, on {_names(witnesses)}, is read whole first"


def _quarantine_s(trouble: Trouble, around: Circumstances) -> float | None:
    waits = around.datanodes.vanished() or _lacking_proof(trouble, 1)
    return None if waits else SOON_S


def _departing(trouble: Trouble) -> list[str]:
    """Say whose replicas count less than others because their datanode leaves or rests."""
    if trouble.condition not in UNDER_REPLICATED:
        return []
    good = [holding.datanode for holding in trouble.held if holding.worth is Worth.GOOD]
    told = {state: [d for d in good if d.admin_state is state] for state in AdminState}
    del told[AdminState.IN_SERVICE]
    return [f"{_names(there)} is {state.name}" for state, there in told.items() if there]


def _spread(trouble: Trouble) -> list[str]:
    if trouble.condition is not Condition.MIS_REPLICATED:
        return []
    have = counting(trouble.held, trouble.block.block_id)
    hosts = [datanode.host for datanode in have]
    crowded = sorted({host for host in hosts if hosts.count(host) > 1})
    if crowded:
        return [f"host rule: more than one replica is on {', '.join(crowded[:NAMED_LIMIT])}"]
    racks = sorted({datanode.rack for datanode in have})
    return [f"rack rule: all replicas are in {', '.join(racks[:NAMED_LIMIT])}"]


def _repair(trouble: Trouble, around: Circumstances) -> Why:
    """Return what a further replica of this block waits for."""
    block = trouble.block
    if (awaited := around.datanodes.awaited()) is not None:
        return Why(f"waits: {awaited}")
    if transfers := around.redundancy.under_way(block.block_id):
        return _under_way(transfers, around)
    have = counting(trouble.held, block.block_id)
    there = {datanode.datanode_id for datanode in have}
    finishing = [
        d
        for d in around.datanodes.numbered(block.expected)
        if d.datanode_id not in there
        and d.liveness is Liveness.LIVE
        and around.redundancy.awaits(block.block_id, d.datanode_id)
    ]
    if finishing:
        return Why(f"{_names(finishing)} is just finishing a replica", SOON_S)
    return _place(trouble, around) or _turn(trouble, around)


def _under_way(transfers: Iterable[Transfer], around: Circumstances) -> Why:
    told, longest_s = [], 0.0
    for transfer in transfers:
        spent_s = (around.now_ms - transfer.begun_ms) / 1000
        # One that takes longer than it should may take as long again, but not beyond its deadline.
        left_s = max(
            transfer.length_bytes / around.redundancy.rate_bytes - spent_s, spent_s, SOON_S
        )
        left_s = min(left_s, max(0.0, (transfer.deadline_ms - around.now_ms) / 1000))
        longest_s = max(longest_s, left_s)
        target = _names(_known([transfer.target_id], around)) or transfer.target_id
        told.append(f"copy to {target} under way since {spent_s:.0f} s")
    return Why(", ".join(told[:NAMED_LIMIT]), longest_s)


def _place(trouble: Trouble, around: Circumstances) -> Why | None:
    """Return why no datanode can take a replica; None if one can, now."""
    block, usable = trouble.block, around.datanodes.usable()
    if any(_is_open(trouble, datanode, around) for datanode in usable):
        return None
    taken = around.redundancy.occupied(trouble.held)
    free = [datanode for datanode in usable if datanode.datanode_id not in taken]
    if not free:
        return Why(f"no other datanode: {len(usable)} usable, {trouble.known.wanted} wanted")
    if trouble.condition is Condition.MIS_REPLICATED:
        free = [datanode for datanode in free if _spreads(trouble, datanode)]
        if not free:
            return Why("needs another rack, or another host, with room")
    roomy = [datanode for datanode in free if datanode.free_bytes >= block.length_bytes]
    if not roomy:
        most = max(free, key=lambda datanode: datanode.free_bytes)
        return Why(
            f"no target with room: it needs {block.length_bytes} bytes, and of {len(free)} possible"
            f" {_plural(len(free))} {most.address} has most, {max(0, most.free_bytes)}"
        )
    return _hindered(trouble, roomy, around)


def _is_open(trouble: Trouble, target: DatanodeState, around: Circumstances) -> bool:
    """Whether a copy could be ordered to this datanode now."""
    return (
        around.redundancy.is_free(trouble.block, target)
        and target.free_bytes >= trouble.block.length_bytes
        and target.datanode_id not in around.redundancy.occupied(trouble.held)
        and (trouble.condition is not Condition.MIS_REPLICATED or _spreads(trouble, target))
    )


def _spreads(trouble: Trouble, target: DatanodeState) -> bool:
    have = counting(trouble.held, trouble.block.block_id)
    hosts, racks = {d.host for d in have}, {d.rack for d in have}
    if len(hosts) < len(have):
        return target.host not in hosts
    return target.rack not in racks


def _hindered(trouble: Trouble, targets: Sequence[DatanodeState], around: Circumstances) -> Why:
    """Return why none of the datanodes that have room is asked now."""
    block, redundancy = trouble.block, around.redundancy
    turn_s = _turn_s(trouble, around)
    copy_s = block.length_bytes / redundancy.rate_bytes
    until_ms = {
        d.address: shunned_ms
        for d in targets
        if (shunned_ms := redundancy.shunned_until(block.block_id, d.datanode_id)) is not None
    }
    if len(until_ms) == len(targets):
        address, first_ms = min(until_ms.items(), key=lambda item: item[1])
        wait_s = max(0.0, (first_ms - around.now_ms) / 1000)
        return Why(
            f"the last copy failed: {address} is asked again in {wait_s:.0f} s", wait_s + copy_s
        )
    asked = [d for d in targets if d.address not in until_ms]
    if going := [d for d in asked if block.block_id in d.orders]:
        return Why(f"{_names(going)} must delete its old replica first", SOON_S + copy_s)
    if busy := [d for d in asked if d.transfers >= TRANSFERS_LIMIT]:
        busy_with = f"{TRANSFERS_LIMIT} copies are on their way to {_names(busy)}"
        return Why(f"target busy: {busy_with}", turn_s)
    rate = f"{redundancy.rate_bytes} bytes a second"
    return Why(f"throttle: {_names(asked)} receives as much as repair may, {rate}", turn_s)


def _turn(trouble: Trouble, around: Circumstances) -> Why:
    """Return what a block waits for that could be copied: bytes of the throttle, or its turn."""
    block, redundancy = trouble.block, around.redundancy
    sources = presence_of(trouble.held, block.block_id).readable
    throttle = redundancy.throttle
    expected_s = _turn_s(trouble, around)
    ahead = _ahead(trouble, around)
    if not any(throttle.allows(d.datanode_id, block.length_bytes) for d in sources):
        return Why(f"source busy: {_names(sources)} sends as much as repair may", expected_s)
    if throttle.exhausted():
        return Why("throttle: repair moves as much as it may", expected_s)
    if ahead > 1:
        return Why(f"waits its turn: {ahead - 1} other blocks are as urgent or more", expected_s)
    return Why("it is its turn now", expected_s)


def _ahead(trouble: Trouble, around: Circumstances) -> int:
    """Return how many blocks are repaired before this one, and itself."""
    return max(1, around.conditions.count(*_as_urgent(trouble.condition)))


def _turn_s(trouble: Trouble, around: Circumstances) -> float:
    """Return in how many seconds all that is as urgent is copied, this block being like them."""
    live = sum(datanode.liveness is Liveness.LIVE for datanode in around.datanodes)
    receiving = max(1, min(live // 2, len(around.datanodes.usable())))
    rate_bytes = around.redundancy.rate_bytes * receiving
    return SOON_S + _ahead(trouble, around) * trouble.block.length_bytes / rate_bytes


def _as_urgent(condition: Condition | None) -> tuple[Condition, ...]:
    """Return the conditions that are repaired before this one, and itself."""
    if condition not in UNDER_REPLICATED:
        return REPAIRED
    return UNDER_REPLICATED[: UNDER_REPLICATED.index(condition) + 1]


# ---------------------------------------------------------------- too many


def _excess(trouble: Trouble, around: Circumstances) -> Why:
    if (vanished := around.datanodes.vanished()) is not None:
        return Why(f"deletions wait: {vanished}", VANISHED_WINDOW_MS / 1000)
    if lacking := _lacking_proof(trouble, trouble.known.wanted + 1):
        return Why(f"deletions wait: {lacking}")
    return Why("the excess goes soon", SOON_S)


def _lacking_proof(trouble: Trouble, needed: int) -> str | None:
    """Return whose word is missing before a deletion; None if enough replicas are proven."""
    block_id = trouble.block.block_id
    if len(proven(trouble.held, block_id)) >= needed:
        return None
    unproven = [d for d in counting(trouble.held, block_id) if not d.proving]
    if not unproven:
        return "too few good replicas are proven"
    return f"{_names(unproven)} is silent, or has not reported in full yet"


# ---------------------------------------------------------------- words


def _known(datanode_ids: Iterable[str], around: Circumstances) -> list[DatanodeState]:
    found = (around.datanodes.get(datanode_id) for datanode_id in sorted(datanode_ids))
    return [datanode for datanode in found if datanode is not None]


def _names(datanodes: Sequence[DatanodeState], between: str = "and") -> str:
    """Return their addresses; the last ones of many are only counted."""
    names = [datanode.address for datanode in datanodes[:NAMED_LIMIT]]
    if more := len(datanodes) - len(names):
        names.append(f"{more} more")
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {between} {names[-1]}"


def _plural(count: int) -> str:
    return "datanode" if count == 1 else "datanodes"
