"""A server in the foreground of its process: it logs, says when it is ready, stops when asked.

What it logs while it starts is held until it has: one that is refused says why, in one line, and
nothing else.
"""

import asyncio
import ipaddress
import logging
import logging.handlers
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Protocol

from dolmen.protocol.errors import StartRefused

LOG = logging.getLogger("dolmen")

#: A start that takes longer has much to recover: whoever waits wants to see what it does.
HELD_FOR_S = 3.0

#: More lines than any start writes in that time.
HELD_LINES_MAX = 10_000


class Node(Protocol):
    """What the two servers have in common."""

    address: str

    async def start(self) -> None: ...

    async def wait(self) -> None: ...

    async def stop(self) -> None: ...


def check_loopback(host: str, insecure: bool) -> None:
    """Clients are believed for now, so nobody from elsewhere may be one unless that was said."""
    if insecure:
        return
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartRefused(f"--host {host}: {error.strerror}") from None
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise StartRefused(
            f"{host} is not a loopback address, and clients are believed whoever they say they"
            " are: --insecure listens there all the same"
        )


def serve(role: str, make: Callable[[], Node]) -> None:
    held = _start_log()
    try:
        asyncio.run(_run_until_stopped(role, make, held))
    except StartRefused:
        held.buffer.clear()
        raise
    finally:
        _let_go(held)


def _start_log() -> logging.handlers.MemoryHandler:
    """Log to standard error by way of a handler that holds all but warnings."""
    stream = logging.StreamHandler(sys.stderr)
    line = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
    stream.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    logging.Formatter.converter = time.gmtime
    held = logging.handlers.MemoryHandler(HELD_LINES_MAX, logging.WARNING, stream)
    logging.basicConfig(level=logging.INFO, handlers=[held])
    # A line for each segment would be most of the log.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    return held


def _let_go(held: logging.handlers.MemoryHandler) -> None:
    """Write what is held, and from now on hold nothing."""
    held.flushLevel = logging.NOTSET
    held.flush()


async def _run_until_stopped(
    role: str, make: Callable[[], Node], held: logging.handlers.MemoryHandler
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(HELD_FOR_S, _let_go, held)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    node = make()
    stopping = asyncio.create_task(asked.wait())
    try:
        if await _ends_before(stopping, asyncio.create_task(node.start())):
            _let_go(held)
            LOG.info("%s ready at %s", role, _where(role, node.address))
            await _ends_before(stopping, asyncio.create_task(node.wait()))
        LOG.info("%s stops", role)
    finally:
        stopping.cancel()
        # Who asks once more does not want to wait for a clean end.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await node.stop()


async def _ends_before(stopping: "asyncio.Task[bool]", work: "asyncio.Task[None]") -> bool:
    """Whether `work` ended, and well, before it was asked to stop; its error is raised."""
    await asyncio.wait((stopping, work), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.wait((work,))
        return False
    work.result()
    return True


def _where(role: str, address: str) -> str:
    return f"dolmen://{address}" if role == "namenode" else f"http://{address}"
