"""The command line `dolmen`: one file per family of commands, loaded when one of them is called."""

from dolmen.cli.entry import main

__all__ = ["main"]
