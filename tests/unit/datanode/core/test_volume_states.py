"""The table of a volume's states is whole, and says what the rules say."""

from itertools import product

from datanode.core.volume_states import TRANSITIONS, VolumeEvent, VolumeState


def after(state: VolumeState, *events: VolumeEvent) -> VolumeState:
    for event in events:
        state = TRANSITIONS[state, event]
    return state


def test_every_event_means_something_in_every_state() -> None:
    assert TRANSITIONS.keys() == set(product(VolumeState, VolumeEvent))


def test_a_volume_that_can_be_written_again_is_healthy_again() -> None:
    events = (VolumeEvent.WRITE_FAILED, VolumeEvent.WRITTEN_AGAIN)
    assert after(VolumeState.HEALTHY, *events) is VolumeState.HEALTHY


def test_a_failed_sync_is_final() -> None:
    for before in (VolumeState.HEALTHY, VolumeState.READ_ONLY):
        suspect = after(before, VolumeEvent.SYNC_FAILED)
        assert suspect is VolumeState.SUSPECT
        assert after(suspect, VolumeEvent.WRITTEN_AGAIN) is VolumeState.SUSPECT


def test_nothing_comes_back_from_failed() -> None:
    for state, event in product(VolumeState, VolumeEvent):
        failed = after(state, VolumeEvent.VANISHED, event)
        assert failed is VolumeState.FAILED
