"""The room of a volume against a file system that writers fill at the same time: never does a
promise that was given lead into the reserve, whenever the file system was measured."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from datanode.core.room import Promise, Room

CAPACITY = 1000
RESERVED = 40


class Writing:
    """Somebody who was promised room: how much of it is on the disk, and not settled yet."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.unsettled = 0


class RoomMachine(RuleBasedStateMachine):
    """Writers that are promised room, write, settle and give up; measurements that take a while;
    replicas that are deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(RESERVED)
        self.free = CAPACITY  # as the file system has it
        self.writers: list[Writing] = []
        self.begun: int | None = None
        self.seen = 0
        self.room.measured(self.room.begin_measuring(), CAPACITY, CAPACITY)

    @rule(length=st.integers(0, 300))
    def ask(self, length: int) -> None:
        if length <= self.room.left_bytes:
            self.writers.append(Writing(self.room.promise(length)))

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        length = data.draw(st.integers(0, writer.promise.left_bytes - writer.unsettled))
        writer.unsettled += length
        self.free -= length

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        writer.promise.settle(writer.unsettled)
        writer.unsettled = 0

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        writer.promise.settle(writer.unsettled)
        writer.promise.release()
        self.writers.remove(writer)

    @rule(length=st.integers(1, 300))
    def delete(self, length: int) -> None:
        held = CAPACITY - self.free - sum(writer.unsettled for writer in self.writers)
        self.free += min(length, held)

    @precondition(lambda self: self.begun is None)
    @rule()
    def ask_for_figures(self) -> None:
        self.begun = self.room.begin_measuring()

    @precondition(lambda self: self.begun is not None)
    @rule()
    def look(self) -> None:
        self.seen = self.free

    @precondition(lambda self: self.begun is not None)
    @rule(fresh=st.booleans())
    def take_figures(self, fresh: bool) -> None:
        assert self.begun is not None
        if fresh or not self.seen:
            self.seen = self.free
        self.room.measured(self.begun, CAPACITY, self.seen)
        self.begun, self.seen = None, 0

    @invariant()
    def what_is_promised_fits_before_the_reserve(self) -> None:
        still_to_come = sum(one.promise.left_bytes - one.unsettled for one in self.writers)
        assert self.free - still_to_come - self.room.left_bytes >= RESERVED or (
            self.room.left_bytes == 0
        )
        assert self.free - still_to_come >= RESERVED

    @invariant()
    def promises_are_counted(self) -> None:
        assert self.room.promised_bytes == sum(one.promise.left_bytes for one in self.writers)


TestRoom = RoomMachine.TestCase
TestRoom.settings = settings(max_examples=100, stateful_step_count=60)
