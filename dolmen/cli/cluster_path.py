"""A path of a cluster as it was typed: `/data/x`, or with its cluster `dolmen://host:port/data/x`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import click
from click.shell_completion import CompletionItem

from dolmen.cli.options import Command
from dolmen.client.url import SCHEME, Location, parse_location
from dolmen.protocol.errors import DolmenError, NameTooLong


@dataclass(frozen=True)
class ClusterPath:
    """`path` is canonical; what it lost on the way (URL, closing slash) is kept beside it."""

    path: str
    address: str | None  #: host:port if the text named the cluster
    prefix: str  #: what stands before the path in answers: all of the URL that was typed, or ""
    ends_with_slash: bool

    def shown(self, path: str) -> str:
        """`path` in the form in which this one was typed."""
        return self.prefix + path

    def at(self, path: str) -> "ClusterPath":
        """Another path of the same cluster."""
        return replace(self, path=path, ends_with_slash=False)


def parse_cluster_path(text: str) -> ClusterPath:
    """InvalidRequest, or NameTooLong, for what can be no path of a cluster."""
    location: Location = parse_location(text)
    prefix = ""
    if text.startswith(SCHEME):
        prefix = SCHEME + text.removeprefix(SCHEME).partition("/")[0]
    return ClusterPath(location.path, location.address, prefix, text.endswith("/"))


class ClusterPathType(click.ParamType[ClusterPath]):
    """Reads a parameter as a ClusterPath; what is none is a wrong use of the command."""

    name = "path"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> ClusterPath:
        if isinstance(value, ClusterPath):
            return value
        try:
            return parse_cluster_path(str(value))
        except NameTooLong:
            raise  # refused as the namenode would: it may come from a listing, not from typing
        except DolmenError as error:
            self.fail(error.message, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        # Here, because it loads the client, which parsing does not need.
        from dolmen.cli.path_completion import complete_path

        return complete_path(ctx, incomplete)


def path_arguments(name: str, *, required: bool = True) -> Callable[[Command], Command]:
    """Add the paths of a cluster as arguments, any number of them."""
    metavar = "PATH..." if required else "[PATH]..."
    return click.argument(
        name, nargs=-1, required=required, type=ClusterPathType(), metavar=metavar
    )
