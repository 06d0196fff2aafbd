"""The group `dolmen`: which commands there are, and what becomes of their errors.

`dolmen --help` must answer at once, so the group knows of each command only its place and its
summary, and loads the file when the command is called. Errors are translated here and nowhere else:
one line on standard error that says what to do next, and an exit code that a script can tell apart.
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from dolmen import __version__
from dolmen.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, describe, exit_code_of
from dolmen.cli.said import Said, connection_options
from dolmen.cli.standard_streams import (
    forget_standard_output,
    is_of_standard_output,
    name_standard_output,
    take_up_closed_streams,
)
from dolmen.protocol.errors import DolmenError
from dolmen.runtime.setting import SettingsError


class Place(NamedTuple):
    """Where a command is found, as `module:name`, and its line in the list of commands."""

    path: str
    summary: str


SECTIONS: dict[str, dict[str, Place]] = {
    "Files": {
        "ls": Place("dolmen.cli.listing:ls", "List directories."),
        "find": Place("dolmen.cli.find:find", "List what is below directories and fits."),
        "tree": Place("dolmen.cli.outline:tree", "Draw what is below directories."),
        "put": Place("dolmen.cli.put:put", "Copy local files into the cluster."),
        "append": Place("dolmen.cli.growing:append", "Write local files behind a file's end."),
        "get": Place("dolmen.cli.get:get", "Copy files of the cluster to here."),
        "cat": Place("dolmen.cli.content:cat", "Write files to standard output."),
        "head": Place("dolmen.cli.head:head", "Write the first lines of files."),
        "tail": Place("dolmen.cli.head:tail", "Write the last lines of files."),
        "truncate": Place("dolmen.cli.growing:truncate", "Take away the end of files."),
        "concat": Place("dolmen.cli.growing:concat", "Join files, moving no bytes."),
        "recover-lease": Place(
            "dolmen.cli.growing:recover_lease", "Take the right to write files from others."
        ),
        "text": Place("dolmen.cli.text:text", "Write files to standard output, decompressed."),
        "touch": Place("dolmen.cli.touch:touch", "Make empty files, or set times."),
        "mkdir": Place("dolmen.cli.tree:mkdir", "Make directories."),
        "rm": Place("dolmen.cli.tree:rm", "Delete files and directories."),
        "rmdir": Place("dolmen.cli.tree:rmdir", "Delete empty directories."),
        "mv": Place("dolmen.cli.tree:mv", "Rename or move files and directories."),
        "cp": Place("dolmen.cli.copy:cp", "Copy files within a cluster or between two."),
        "du": Place("dolmen.cli.listing:du", "Show how much space files take."),
        "setrep": Place("dolmen.cli.replication:setrep", "Set how many replicas files have."),
        "locate": Place("dolmen.cli.locate:locate", "Show where the blocks of files are."),
        "test": Place("dolmen.cli.existence:test", "Ask about a path, for scripts."),
        "stat": Place("dolmen.cli.content:stat", "Show all that is known of a file."),
        "checksum": Place("dolmen.cli.content:checksum", "Print checksums as xxh128sum does."),
    },
    "Cluster on this machine": {
        "up": Place("dolmen.cli.local:up", "Start a cluster in the background."),
        "status": Place("dolmen.cli.local:status", "Show which of its processes run."),
        "down": Place("dolmen.cli.local:down", "Stop it; the data stays."),
        "drill": Place("dolmen.cli.drill:drill", "Break something in it, and watch it heal."),
        "quarantine": Place(
            "dolmen.cli.quarantine:quarantine", "List damaged replicas that were put aside."
        ),
    },
    "Without a cluster": {
        "simulate": Place("dolmen.cli.simulate:simulate", "Try one in virtual time, with faults."),
    },
    "Any cluster": {
        "report": Place("dolmen.cli.report:report", "Show a cluster's datanodes and health."),
        "fsck": Place("dolmen.cli.fsck:fsck", "Look for files whose blocks are not well."),
        "df": Place("dolmen.cli.space:df", "Show how much room clusters have."),
        "admin": Place("dolmen.cli.admin:admin", "Datanodes that leave or rest; checkpoints."),
        "safemode": Place("dolmen.cli.safemode:safemode", "Safe mode, by hand."),
        "namenode": Place("dolmen.cli.daemons:namenode", "Run a namenode."),
        "datanode": Place("dolmen.cli.daemons:datanode", "Run a datanode."),
    },
    "This shell": {
        "completion": Place("dolmen.cli.completion:completion", "Print what completes words."),
    },
}

PLACES = {name: place for section in SECTIONS.values() for name, place in section.items()}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in PLACES:
            return None
        module, _, name = PLACES[cmd_name].path.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        names = (name for name in PLACES if name.startswith(incomplete))
        items = [CompletionItem[Any](name, help=PLACES[name].summary) for name in names]
        # Not those of click.Group, which would load every command.
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, places in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, place.summary) for name, place in places.items()])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        take_up_closed_streams()
        name_standard_output()
        with _errors_told():  # --help prints already
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_told():
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        forget_standard_output()
        raise click.exceptions.Exit(EXIT_BROKEN_PIPE) from None
    except (DolmenError, SettingsError, OSError) as error:
        click.echo(f"dolmen: {describe(error)}", err=True)
        if is_of_standard_output(error):
            forget_standard_output()
        raise click.exceptions.Exit(exit_code_of(error)) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["--help"]})
@click.version_option(__version__, prog_name="dolmen", message="%(prog)s %(version)s")
@connection_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """A replicated distributed file store.

    A path is /data/x of the cluster named by --at, else by DOLMEN_URL, else of the one on
    127.0.0.1:9870; or a URL that names its cluster: dolmen://host:port/data/x.

    \b
      dolmen up                          start a cluster on this machine
      dolmen put flights.csv /data/      copy a file into it
      dolmen ls -l /data                 look
      dolmen report                      how are its datanodes?

    \b
    Exit codes: 0 done · 1 some items failed · 2 usage · 3 not found · 4 exists or refused
    5 permission · 6 cluster unreachable or timeout · 7 data damaged · 130 interrupted
    """
    # Here, because it loads the client, which --help does not need.
    from dolmen.cli.misspelt import misspelt_variables

    ctx.ensure_object(Said)
    for name, nearest in misspelt_variables(os.environ):
        click.echo(f"dolmen: {name} means nothing: was {nearest} meant?", err=True)
