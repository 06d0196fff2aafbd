"""The options that put, get and cp share."""

import click

from dolmen.cli.options import Command

DEFAULT_JOBS = 4

#: Each has some megabytes on their way, and each takes connections to datanodes.
JOBS_MAX = 64


def transfer_options(command: Command) -> Command:
    """Add -r, -f, -j and -q."""
    for option in (
        click.option("-q", "quiet", is_flag=True, help="No progress bar."),
        click.option(
            "-j",
            "jobs",
            metavar="N",
            type=click.IntRange(1, JOBS_MAX),
            default=DEFAULT_JOBS,
            show_default=True,
            help="Files at once, with four streams for each.",
        ),
        click.option("-f", "force", is_flag=True, help="Replace files that exist."),
        click.option("-r", "recursive", is_flag=True, help="Directories with all below them."),
    ):
        command = option(command)
    return command
