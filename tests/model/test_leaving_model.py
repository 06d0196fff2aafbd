"""Datanodes that leave, rest and serve again amid everything else that happens to blocks.

Nobody has left while a block would be on fewer others than it can be; no order leaves a block with
fewer proven good replicas on datanodes in service than it wants; and in the end everybody who was
to leave has left, with every block of which a good replica is left on as many of the others as are
wanted, or on all of them.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from dolmen.protocol.datanode_messages import InvalidateReplica
from namenode.core.records import AdminState
from tests.model.test_block_map_model import DATANODES, INDEX, BlockMapMachine
from tests.unit.namenode.core.replica_world import block_number

ASKED = st.sampled_from([AdminState.IN_SERVICE, AdminState.DECOMMISSIONING, AdminState.MAINTENANCE])
STAYS_LAST = 0
"""This one always serves: blocks have somewhere to go."""


class LeavingMachine(BlockMapMachine):
    """Everything the block map bears, and operators too."""

    def __init__(self) -> None:
        super().__init__()
        self.states = dict.fromkeys(DATANODES, AdminState.IN_SERVICE)

    @rule(index=INDEX, state=ASKED)
    def set_admin_state(self, index: int, state: AdminState) -> None:
        here = self.states[index]
        leaving = here in (AdminState.DECOMMISSIONING, AdminState.DECOMMISSIONED)
        if index == STAYS_LAST or (leaving and state is not AdminState.IN_SERVICE):
            return
        self.states[index] = state
        self.world.set_admin_state(index, state)

    def what_happens_by_itself(self) -> None:
        for index in self.world.settle_admin_states():
            self.states[index] = AdminState.DECOMMISSIONED
            self._check_left(index)

    @rule(ticks=st.sampled_from([1, 2, 20, 60]))
    def pass_time(self, ticks: int) -> None:
        super().pass_time(ticks)
        if self.world.cluster.in_safe_mode() is None:
            self.what_happens_by_itself()

    # ------------------------------------------------------------ what must hold

    def _check_left(self, index: int) -> None:
        if index not in self.connected or len(self.connected) < len(DATANODES):
            return  # what those that are away have is believed, and may be lost
        for number in self._numbers():
            block_id = block_number(number)
            if self._is_good(index, block_id):
                wanted = self._wanted(block_id)
                assert wanted is not None
                others = self._serving_with(block_id)
                assert len(others) >= min(wanted, len(self._serving())), f"{index} needs {number}"

    def _check_order(self, index: int, order: InvalidateReplica) -> None:
        block_id = order.block_id
        repeated = (index, block_id) in self.ordered
        super()._check_order(index, order)
        wanted = self._wanted(block_id)
        if repeated or wanted is None or not self._is_good(index, block_id):
            return
        assert self.states[index] is AdminState.IN_SERVICE, f"{order} to {index}, which leaves"
        staying = [other for other in self._serving_with(block_id) if other in self.connected]
        assert len(staying) >= wanted, f"{order} to {index} leaves {staying} of {wanted}"

    def _serving(self) -> list[int]:
        return [i for i in DATANODES if self.states[i] is AdminState.IN_SERVICE]

    def _serving_with(self, block_id: int) -> list[int]:
        return [index for index in self._safe_on(block_id) if index in self._serving()]

    def teardown(self) -> None:
        if not self.replication:
            return
        for index in DATANODES:
            if index not in self.connected:
                self.join(index)
            self.report(index)
        for index in DATANODES:
            if self.states[index] is AdminState.MAINTENANCE:
                self.set_admin_state(index, AdminState.IN_SERVICE)
        left = {number: self._safe_on(block_number(number)) for number in self._numbers()}
        for _ in range(80):
            self.pass_time(4)
            for index in DATANODES:
                self.obey(index)
        self.what_is_noted_is_true()
        for number, before in left.items():
            self._check_end(number, bool(before))
        for index in DATANODES:
            assert self.states[index] is not AdminState.DECOMMISSIONING, f"{index} never leaves"

    def _check_end(self, number: int, alive: bool) -> None:
        block_id = block_number(number)
        wanted = self._wanted(block_id)
        assert wanted is not None
        found = self._serving_with(block_id)
        expected = min(wanted, len(self._serving())) if alive else 0
        assert len(found) == expected, f"block {number} is on {found}, {self.states}"


TestLeaving = LeavingMachine.TestCase
TestLeaving.settings = settings(max_examples=40, stateful_step_count=30)
