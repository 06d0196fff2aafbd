"""Ports for the datanodes of a cluster on one machine, which it keeps over restarts.

They lie below the range from which the kernel takes the local ports of outgoing connections. In
that range a client that tries a dead datanode again and again is at some point given that very port
as its own, connects to itself, and the datanode cannot have it back.

A port whose daemon is down looks free to whoever else makes a cluster on this machine. Those that
share one each take theirs from ports of their own: DOLMEN_PORTS=20000-20999.
"""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

from dolmen.runtime.setting import SettingsError

PORTS_VARIABLE = "DOLMEN_PORTS"
LOWEST_PORT = 20000  #: above the ports of well-known services
HIGHEST_PORT = 32767  #: below the kernel's default range


def free_ports(host: str, random: Random) -> Iterator[int]:
    """Ports of `host` on which nothing listens, in random order, each once."""
    ports = list(_wanted_ports(os.environ.get(PORTS_VARIABLE)))
    random.shuffle(ports)
    for port in ports:
        if is_free(host, port):
            yield port


def is_free(host: str, port: int) -> bool:
    """Whether a process could listen there now, as a daemon does (with SO_REUSEADDR)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _wanted_ports(text: str | None) -> range:
    if not text:
        return range(LOWEST_PORT, min(HIGHEST_PORT + 1, _first_outgoing_port()))
    if found := re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text):
        first, last = map(int, found.groups())
        if 1024 <= first <= last <= 65535:
            return range(first, last + 1)
    raise SettingsError(f"{PORTS_VARIABLE}={text!r} is not two ports such as 20000-20999")


def _first_outgoing_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return HIGHEST_PORT + 1
    first = int(text.split()[0])
    # A machine that gives nearly all ports out leaves no room below: any port is as good there.
    return first if first > LOWEST_PORT + 1000 else HIGHEST_PORT + 1
