"""Whoever writes is told when a file goes on with fewer replicas than it should have."""

import logging

import pytest

from dolmen.client.written_file import WrittenFile


def test_each_replica_less_is_told_once_and_loudly_only_after_a_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    file = WrittenFile(1, "/a", 3)
    file.goes_on_with(3, "d1: it died")
    assert caplog.records == []
    file.goes_on_with(2, "d1: it died")
    file.goes_on_with(2, "d2: it died")
    file.goes_on_with(3, "")
    assert file.fewest_replicas == 2
    file.goes_on_with(1, "")
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.INFO], "a small cluster is no failure"
    assert caplog.messages[0] == (
        "/a goes on with 2 of 3 replicas, and no other datanode can take over (d1: it died);"
        " the namenode makes the others as soon as it can"
    )
