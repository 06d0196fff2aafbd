"""`dolmen head` and `dolmen tail`: the beginning and the end of files, as coreutils have them."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import click

from dolmen.cli.cluster_path import ClusterPath, path_arguments
from dolmen.cli.ends import Part, head_pieces, parse_part, tail_pieces, tail_start
from dolmen.cli.formats import printable
from dolmen.cli.options import Command, gathered
from dolmen.cli.said import client_options
from dolmen.cli.session import Failures, Session, run
from dolmen.cli.sources import find_sources
from dolmen.cli.streams import to_standard_output
from dolmen.client.in_order import Ranges
from dolmen.protocol.checksums import Buffer

DEFAULT_LINES = Part(10)

Cut = Callable[[Ranges, Part], AsyncGenerator[Buffer, None]]


@dataclass(frozen=True)
class EndOptions:
    """What `head` or `tail` was asked for."""

    paths: tuple[ClusterPath, ...]
    lines: Part | None
    bytes_: Part | None
    quiet: bool
    verbose: bool
    follow: bool = False

    @property
    def part(self) -> Part:
        if self.lines and self.bytes_:
            raise click.UsageError("-n counts lines and -c bytes: give one of them")
        return self.bytes_ or self.lines or DEFAULT_LINES


class PartType(click.ParamType[Part]):
    """Reads a number of lines or bytes."""

    name = "number"

    def __init__(self, *, bytes_meant: bool) -> None:
        self._bytes_meant = bytes_meant

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Part:
        if isinstance(value, Part):
            return value
        part = parse_part(str(value), bytes_meant=self._bytes_meant)
        if part is None:
            self.fail(f"{value} is no number such as 10, +3, -3 or 64K", param, ctx)
        return part


class NumberedCommand(click.Command):
    """Takes `-5` as `-n 5`, where it is the first word, as everyone types it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and re.fullmatch("-[0-9]+", args[0]):
            args = ["-n", args[0][1:], *args[1:]]
        return super().parse_args(ctx, args)


def end_options(command: Command) -> Command:
    """Add -n, -c, -q and -v."""
    for option in (
        click.option("-v", "verbose", is_flag=True, help="A heading also for one file."),
        click.option("-q", "quiet", is_flag=True, help="No headings for several files."),
        click.option(
            "-c", "bytes_", metavar="N", type=PartType(bytes_meant=True), help="So many bytes."
        ),
        click.option(
            "-n",
            "lines",
            metavar="N",
            type=PartType(bytes_meant=False),
            help="So many lines [default: 10].",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=NumberedCommand)
@path_arguments("paths")
@end_options
@client_options
@gathered(EndOptions)
def head(options: EndOptions) -> None:
    """Write the first lines of files, or with -N all but the last N.

    \b
      dolmen head /data/flights.csv
      dolmen head -n 3 '/logs/*.csv'
      dolmen head -c 64K /data/flights.csv
    """
    part = options.part
    run(lambda session: _print_ends(session, options, head_pieces, part))


@click.command(cls=NumberedCommand)
@path_arguments("paths")
@click.option("-f", "follow", is_flag=True, help="Go on with what is flushed to one file, later.")
@end_options
@client_options
@gathered(EndOptions)
def tail(options: EndOptions) -> None:
    """Write the last lines of files, or with +N all from the Nth one on.

    \b
      dolmen tail /logs/today
      dolmen tail -n +2 /data/flights.csv    without its heading
      dolmen tail -c 1K '/logs/*'
      dolmen tail -f -n 0 /logs/today        what comes from now on
    """
    part = options.part
    if options.follow:
        run(lambda session: _follow(session, options, part))
        return
    run(lambda session: _print_ends(session, options, tail_pieces, part))


async def _follow(session: Session, options: EndOptions, part: Part) -> None:
    failures = Failures()
    entries = await find_sources(session, options.paths, failures)
    failures.end()
    if len(entries) != 1:
        raise click.UsageError("-f follows one file")
    [found] = entries
    if options.verbose:
        click.echo(f"==> {printable(found.shown)} <==")
    following = found.client.follow(found.file, lambda reader: tail_start(reader, part))
    async with aclosing(following) as pieces:
        await to_standard_output(pieces)


async def _print_ends(session: Session, options: EndOptions, cut: Cut, part: Part) -> None:
    failures = Failures()
    entries = await find_sources(session, options.paths, failures)
    several = len(options.paths) > 1 or len(entries) > 1
    headed = options.verbose or (several and not options.quiet)
    above = ""
    for found in entries:
        with failures.item():
            async with await found.client.open_reader(found.file) as reader:
                if headed:
                    click.echo(f"{above}==> {printable(found.shown)} <==")
                    above = "\n"
                async with aclosing(cut(reader, part)) as pieces:
                    await to_standard_output(pieces)
    failures.end()
