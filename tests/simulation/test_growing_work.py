"""Files that grow and shrink under faults: what the model of them allows, and that the store keeps
to it."""

import pytest

from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.growing_model import (
    Content,
    Cut,
    Extend,
    Join,
    Measure,
    Start,
    content_at,
)
from dolmen.simulation.namespace_history import Call, NamespaceHistory
from dolmen.simulation.namespace_model import DONE, Look, Node, Operation, State
from dolmen.simulation.plan import Plan
from dolmen.simulation.plan_maker import make_plan
from dolmen.simulation.plan_shapes import GROWING_KINDS
from dolmen.simulation.run import simulate
from dolmen.simulation.work_plan import Work

PATH = "/grown-here/a"
OTHER = "/grown-here/b"


class Story:
    """A history in which the file is there, empty."""

    def __init__(self) -> None:
        self.history = NamespaceHistory(lambda: 0.0, flat=("/grown-here",))
        self.do(Start(PATH, 3), DONE)

    def do(self, operation: Operation, answer: object) -> None:
        self.begin(operation).answered(answer)

    def begin(self, operation: Operation) -> Call:
        return self.history.begin(operation)

    def sees(self, data: bytes, path: str = PATH) -> None:
        self.do(Look(path), Node(Content.of(data), 3))


def test_what_is_flushed_is_read_whole() -> None:
    story = Story()
    story.do(Extend(PATH, 0, Content.of(b"one ")), DONE)
    story.do(Extend(PATH, 4, Content.of(b"two")), DONE)
    story.do(Measure(PATH), 7)
    story.sees(b"one two")
    with pytest.raises(CheckFailed):
        story.sees(b"one ")


def test_two_writers_are_not_both_acknowledged_for_one_position() -> None:
    story = Story()
    one, two = (story.begin(Extend(PATH, 0, Content.of(data))) for data in (b"one", b"two"))
    one.answered(DONE)
    with pytest.raises(CheckFailed):
        two.answered(DONE)


@pytest.mark.parametrize("data", [b"", b"lost"])
def test_what_was_not_acknowledged_is_there_or_not(data: bytes) -> None:
    story = Story()
    story.begin(Extend(PATH, 0, Content.of(b"lost"))).lost()
    story.sees(data)


def test_what_was_not_acknowledged_is_there_wholly_or_not_at_all() -> None:
    story = Story()
    story.begin(Extend(PATH, 0, Content.of(b"lost"))).lost()
    with pytest.raises(CheckFailed):
        story.sees(b"lo")


def test_a_writer_that_was_refused_has_changed_nothing() -> None:
    story = Story()
    story.begin(Extend(PATH, 0, Content.of(b"fenced"))).not_done()
    with pytest.raises(CheckFailed):
        story.sees(b"fenced")


def test_what_is_cut_is_gone_and_what_is_joined_vanishes() -> None:
    story = Story()
    story.do(Extend(PATH, 0, Content.of(b"one two")), DONE)
    story.do(Cut(PATH, 8), "InvalidRequest")
    story.do(Cut(PATH, 3), DONE)
    story.do(Start(OTHER, 2), DONE)
    story.do(Extend(OTHER, 0, Content.of(b"...")), DONE)
    story.do(Join(PATH, (PATH,)), "InvalidRequest")
    story.do(Join(PATH, (OTHER,)), DONE)
    story.sees(b"one...")
    story.do(Look(OTHER), "NoSuchPath")
    story.do(Join(PATH, (OTHER,)), "NoSuchPath")


def test_what_is_cut_within_a_piece_is_cut_there() -> None:
    story = Story()
    story.do(Extend(PATH, 0, Content.of(b"one ")), DONE)
    story.do(Extend(PATH, 4, Content.of(b"two")), DONE)
    story.do(Cut(PATH, 5), DONE)
    story.sees(b"one t")
    story.do(Cut(PATH, 4), DONE)
    story.do(Extend(PATH, 4, Content.of(b"more")), DONE)
    story.sees(b"one more")


def test_the_states_that_are_possible_share_the_bytes_of_a_file() -> None:
    written = bytes(100_000)
    before: State = {PATH: Node(Content(), 3)}
    after, _ = Extend(PATH, 0, Content.of(written)).apply(before, "/grown-here")
    longer, _ = Extend(PATH, 100_000, Content.of(b"more")).apply(after, "/grown-here")
    (first, more) = content_at(longer, PATH).pieces
    assert first is written
    assert more == b"more"


def test_files_grow_shrink_and_are_followed_without_faults_and_nothing_fails() -> None:
    work = Work(kinds=GROWING_KINDS, pause_ms=1_000, may_fail=False)
    result = simulate(Plan(seed=1, seconds=25, clients=2, work=work))
    assert result.failed == {}
    assert result.acknowledged.keys() >= {"Cut", "Extend", "Follow", "Join", "Measure", "Start"}


def test_files_grow_shrink_and_are_followed_under_faults() -> None:
    plan = make_plan(13, seconds=100)
    work = Work(kinds=GROWING_KINDS, pause_ms=2_000)
    result = simulate(Plan(13, 100, plan.datanodes, 2, faults=plan.faults, work=work))
    assert result.faults_in_growth > 40
    assert result.acknowledged["Extend"] > 50
