"""A limit: messages to and fro over one aiohttp WebSocket, with nothing behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import aiohttp
from aiohttp import web


@dataclass(frozen=True)
class Lengths:
    """How long question and answer are: as those that they are compared with."""

    question_bytes: int
    answer_bytes: int


def serve(pipe: Connection, lengths: Lengths) -> None:
    """Answer each message with `answer_bytes`, whatever it is."""
    asyncio.run(_serve(pipe, lengths))


async def _serve(pipe: Connection, lengths: Lengths) -> None:
    answer = bytes(lengths.answer_bytes)

    async def talk(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        async for _ in websocket:
            await websocket.send_bytes(answer)
        return websocket

    application = web.Application()
    application.router.add_get("/", talk)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pipe.send(runner.addresses[0][1])
    await asyncio.Event().wait()


class Echo:
    """The side that asks."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, lengths: Lengths) -> None:
        self._websocket = websocket
        self._question = bytes(lengths.question_bytes)

    async def round_trips(self, in_flight: int, for_s: float) -> int:
        """Keep so many questions on their way for a while; return how many were answered."""
        answered, until_s = 0, time.perf_counter() + for_s
        for _ in range(in_flight):
            await self._websocket.send_bytes(self._question)
        while time.perf_counter() < until_s:
            await self._websocket.receive_bytes()
            answered += 1
            await self._websocket.send_bytes(self._question)
        for _ in range(in_flight):
            await self._websocket.receive_bytes()
        return answered + in_flight


@asynccontextmanager
async def connected(port: int, lengths: Lengths) -> AsyncIterator[Echo]:
    """Connect to `serve`."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/", compress=0) as websocket,
    ):
        yield Echo(websocket, lengths)
