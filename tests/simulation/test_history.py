"""What a history allows: everything that may have happened, and nothing else."""

import pytest

from dolmen.protocol.errors import DirectoryNotEmpty, NoSuchPath, PathExists
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.history import (
    DIRECTORY,
    Change,
    Delete,
    DirectoryHistory,
    Register,
    Rename,
    State,
    Versions,
    Write,
)


def test_what_was_acknowledged_must_be_there() -> None:
    history = DirectoryHistory("/d")
    history.succeeded(Write("a", 1))
    history.succeeded(Rename("a", "b"))
    history.observed("a listing", lambda state: state == {"b": 1})
    with pytest.raises(CheckFailed, match="/d cannot be as it is seen"):
        history.observed("a listing", lambda state: state == {"a": 1})


@pytest.mark.parametrize("found", [{"a": 1}, {"a": 2}])
def test_an_operation_without_an_answer_may_have_happened_or_not(found: State) -> None:
    history = DirectoryHistory("/d")
    history.succeeded(Write("a", 1))
    history.left_open(Write("a", 2))
    assert not history.is_certain
    history.observed("a listing", lambda state: state == found)
    assert history.is_certain


def test_a_refusal_must_have_a_reason() -> None:
    history = DirectoryHistory("/d")
    history.refused(Delete("a"), NoSuchPath(""))
    history.succeeded(Write("a", 1))
    history.refused(Write("a", 2, exclusive=True), PathExists(""))
    with pytest.raises(CheckFailed):
        history.refused(Rename("a", "b"), NoSuchPath(""))


def test_a_refusal_settles_what_was_open() -> None:
    history = DirectoryHistory("/d")
    history.succeeded(Write("a", 1))
    history.left_open(Delete("a"))
    history.refused(Rename("a", "b"), NoSuchPath(""))
    history.observed("a listing", lambda state: state == {})


def test_directories_move_and_go_with_all_that_is_in_them() -> None:
    history = DirectoryHistory("/d")
    history.succeeded(Write("p/x", 1))
    history.succeeded(Write("q/y", 2))
    history.refused(Rename("p", "q"), DirectoryNotEmpty(""))
    history.refused(Rename("q/y", "r/y"), NoSuchPath(""))
    history.succeeded(Delete("q/y"))
    history.succeeded(Rename("p", "q"))
    history.succeeded(Change("q/x"))
    history.observed("a listing", lambda state: state == {"q": DIRECTORY, "q/x": 1})
    history.succeeded(Delete("q"))
    history.observed("a listing", lambda state: state == {})


def test_a_read_brings_nothing_that_was_replaced_before_it_began() -> None:
    register = Register("/x")
    register.check_read(None, 0.0)
    register.began(1, 1.0)
    register.succeeded(1, 2.0)
    register.began(2, 3.0)
    register.check_read(1, 3.5)
    register.check_read(2, 3.5)
    register.succeeded(2, 4.0)
    register.check_read(1, 3.9)
    with pytest.raises(CheckFailed, match="had replaced"):
        register.check_read(1, 4.1)
    with pytest.raises(CheckFailed, match="is gone"):
        register.check_read(None, 4.1)
    with pytest.raises(CheckFailed, match="never put there"):
        register.check_read(3, 4.1)


def test_concurrent_writes_may_end_in_any_order() -> None:
    register = Register("/x")
    register.began(1, 1.0)
    register.began(2, 1.5)
    register.succeeded(1, 2.0)
    register.succeeded(2, 2.0)
    register.check_read(1, 3.0)
    register.check_read(2, 3.0)


def test_contents_are_made_again_from_their_number() -> None:
    versions = Versions(seed=1)
    version, contents = versions.draw(1000)
    assert versions.contents(version.number) == contents
    assert versions.identify(contents) == version.number
    assert versions.identify(contents[:-1]) is None
