"""A server whose answers a test makes by hand, and a transport that asks it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from dolmen.runtime.http_transport import HttpTransport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def with_hand_made_peer(
    handler: Handler, scenario: Callable[[HttpTransport, str], Coroutine[Any, Any, None]]
) -> None:
    """Run a scenario with a server that treats each connection as `handler` says."""
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        transport = HttpTransport()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            await scenario(transport, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            await transport.close()
            server.close()
            await asyncio.wait(served, timeout=60)

    asyncio.run(main())
