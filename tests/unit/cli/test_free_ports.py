"""Ports that are free, and stay out of the kernel's range."""

import itertools
import socket
from random import Random

import pytest

from dolmen.cli.free_ports import (
    HIGHEST_PORT,
    LOWEST_PORT,
    PORTS_VARIABLE,
    free_ports,
    is_free,
)
from dolmen.runtime.setting import SettingsError


def test_ports_are_distinct_and_below_the_kernels_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PORTS_VARIABLE, raising=False)
    ports = list(itertools.islice(free_ports("127.0.0.1", Random(1)), 50))
    assert len(set(ports)) == 50
    assert all(LOWEST_PORT <= port <= HIGHEST_PORT for port in ports)


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        assert not is_free("127.0.0.1", taken.getsockname()[1])


def test_who_shares_a_machine_takes_ports_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, "31000-31009")
    assert set(free_ports("127.0.0.1", Random(1))) <= set(range(31000, 31010))


@pytest.mark.parametrize("text", ["31000", "2-1", "31009-31000", "0-9", "1-99999", "a-b", "-"])
def test_what_names_no_ports_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(PORTS_VARIABLE, text)
    with pytest.raises(SettingsError, match="20000-20999"):
        next(free_ports("127.0.0.1", Random(1)))
