"""Ports that are free, and stay out of the kernel's range."""

import itertools
import socket
from random import Random

from dolmen.cli.free_ports import HIGHEST_PORT, LOWEST_PORT, free_ports, is_free


def test_ports_are_distinct_and_below_the_kernels_range() -> None:
    ports = list(itertools.islice(free_ports("127.0.0.1", Random(1)), 50))
    assert len(set(ports)) == 50
    assert all(LOWEST_PORT <= port <= HIGHEST_PORT for port in ports)


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        assert not is_free("127.0.0.1", taken.getsockname()[1])
