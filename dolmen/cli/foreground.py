"""A server in the foreground of its process: it logs, says when it is ready, stops when asked.

What it logs while it starts is held until it has: one that is refused says why, in one line, and
nothing else.
"""

import asyncio
import faulthandler
import gc
import ipaddress
import logging
import logging.handlers
import signal
import socket
from collections.abc import Callable
from typing import Protocol

from dolmen.cli.daemon_log import LogOptions, let_go, start_log
from dolmen.protocol.errors import StartRefused
from dolmen.runtime.descriptors import raise_descriptor_limit

LOG = logging.getLogger("dolmen")

#: A start that takes longer has much to recover: whoever waits wants to see what it does.
HELD_FOR_S = 3.0


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


def serve(role: str, make: Callable[[], Node], log: LogOptions) -> None:
    # Which thread did what when the process dies of a fault in a library.
    faulthandler.enable()
    held = start_log(log)
    raise_descriptor_limit()
    try:
        asyncio.run(_run_until_stopped(role, make, held))
    except StartRefused as error:
        if log.file is None:
            held.buffer.clear()
        else:
            LOG.error("%s does not start: %s", role, error.message)
        raise
    except Exception:
        if log.file is not None:
            LOG.critical("%s ends by an error", role, exc_info=True)
        raise
    finally:
        let_go(held)


async def _run_until_stopped(
    role: str, make: Callable[[], Node], held: logging.handlers.MemoryHandler
) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(HELD_FOR_S, let_go, held)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    node = make()
    stopping = asyncio.create_task(asked.wait())
    try:
        if await _ends_before(stopping, asyncio.create_task(node.start())):
            let_go(held)
            gc.freeze()  # what is here now stays: the collector would pause to look at it (40 ms)
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
