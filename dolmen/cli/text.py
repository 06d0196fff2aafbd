"""`dolmen text`: files as `cat` writes them, but decompressed."""

from contextlib import aclosing

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.decompression import MARK_BYTES, decompressed, decompressor_of
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import Found, find_sources
from dolmen.cli.streams import fetch_to_standard_output, to_standard_output
from dolmen.client.in_order import read_in_order
from dolmen.protocol.errors import DataDamaged, RequestRefused


@click.command()
@path_arguments("paths")
@client_options
def text(paths: tuple[ClusterPath, ...]) -> None:
    """Write files to standard output, those in gzip, bzip2 or xz decompressed.

    What a file begins with decides, not its name.

    \b
      dolmen text /logs/2013-01-01.gz | head
    """

    async def work(session: Session) -> None:
        failures = Failures()
        for found in await find_sources(session, paths, failures):
            with failures.item():
                await _print_text(found)
        failures.end()

    run(work)


async def _print_text(found: Found) -> None:
    path = found.file
    async with await found.client.open_reader(path) as reader:
        try:
            machine = decompressor_of(bytes(await reader.read_at(0, MARK_BYTES)))
            if machine is not None:
                pieces = read_in_order(reader, 0, reader.length_bytes)
                async with aclosing(pieces), aclosing(decompressed(pieces, machine)) as plain:
                    await to_standard_output(plain)
                return
        except (DataDamaged, RequestRefused) as error:
            raise type(error)(error.message, error.path or path) from None
    await fetch_to_standard_output(found.client, path)
