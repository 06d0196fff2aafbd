"""A process that writes and reads more than it may keep, in many files at once, and tells its peak.

It says how many bytes its memory grew above what it had when it was connected.
"""

import asyncio
import sys
from pathlib import Path

from dolmen.client import Client, ClientOptions
from dolmen.client.in_order import read_in_order
from dolmen.runtime.real_machine import real_machine

MIB = 1 << 20
FILES = 36
FILE_BYTES = 8 * MIB


def peak_bytes() -> int:
    """Return the most memory that this process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


async def work(address: str) -> None:
    options = ClientOptions(namenode=address)
    async with Client(real_machine(), options) as client:
        await client.connect()
        before = peak_bytes()
        writers = [await client.open_writer(f"/m/{name}", replication=1) for name in range(FILES)]
        data = bytearray(MIB)
        for _ in range(0, FILE_BYTES, MIB):
            for writer in writers:
                await writer.write(data)
        for writer in writers:
            await writer.close()
        readers = [await client.open_reader(f"/m/{name}") for name in range(FILES)]
        left = [read_in_order(reader, 0, FILE_BYTES) for reader in readers]
        read_bytes = 0
        while left:
            for stream in list(left):
                piece = await anext(stream, None)
                if piece is None:
                    left.remove(stream)
                else:
                    read_bytes += len(piece)
        assert read_bytes == FILES * FILE_BYTES
        sys.stdout.write(f"{peak_bytes() - before}\n")


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
