"""The lifecycle of a replica is its table: everything else raises."""

import itertools

import pytest

from datanode.core.receiver import ReceivedChunks
from datanode.core.replicas import (
    TRANSITIONS,
    ImpossibleTransition,
    Replica,
    ReplicaEvent,
    next_state,
)
from dolmen.protocol.checksums import CHUNK_BYTES
from dolmen.protocol.datanode_messages import ReplicaReport, ReplicaState
from dolmen.protocol.errors import StaleGeneration

STATES = (None, *ReplicaState)
GAPS = [pair for pair in itertools.product(STATES, ReplicaEvent) if pair not in TRANSITIONS]


@pytest.mark.parametrize(("state", "event"), GAPS)
def test_what_the_table_lacks_raises(state: ReplicaState | None, event: ReplicaEvent) -> None:
    with pytest.raises(ImpossibleTransition, match=event.name):
        next_state(state, event)


@pytest.mark.parametrize("state", [state for state in ReplicaState if state.value < 5])
def test_every_replica_can_be_dropped_and_survives_a_restart_unless_it_was_a_mere_copy(
    state: ReplicaState,
) -> None:
    assert next_state(state, ReplicaEvent.DROPPED) is None
    survivor = next_state(state, ReplicaEvent.RESTARTED)
    assert (survivor is None) == (state is ReplicaState.TEMPORARY)
    assert survivor is not ReplicaState.BEING_WRITTEN


def test_a_finalized_replica_reports_its_digest_and_forgets_its_chunks() -> None:
    received = ReceivedChunks.of_whole(CHUNK_BYTES + 5, bytes(16))
    replica = Replica(16, 3, ReplicaState.BEING_WRITTEN, "volume", received)
    assert replica.report() == ReplicaReport(16, 3, CHUNK_BYTES + 5, ReplicaState.BEING_WRITTEN)
    replica.become_finalized(ReplicaEvent.WRITER_FINALIZED, CHUNK_BYTES + 5, b"d" * 16)
    assert replica.report() == ReplicaReport(
        16, 3, CHUNK_BYTES + 5, ReplicaState.FINALIZED, b"d" * 16
    )
    assert replica.occupied_bytes == CHUNK_BYTES + 5
    with pytest.raises(ImpossibleTransition):
        replica.chunks()


def test_only_the_stamp_it_has_reaches_a_replica() -> None:
    replica = Replica(16, 3, ReplicaState.FINALIZED, "volume")
    replica.check_stamp(3)
    for other in (2, 4):
        with pytest.raises(StaleGeneration, match=f"under stamp {other}"):
            replica.check_stamp(other)


def test_a_dropped_replica_has_no_state_to_go_on_in() -> None:
    replica = Replica(16, 3, ReplicaState.FINALIZED, "volume")
    with pytest.raises(ImpossibleTransition):
        replica.happened(ReplicaEvent.DROPPED)
