"""The asynchronous client: files and directories of a cluster, read and written as streams."""

from dolmen.client.append_writer import AppendWriter
from dolmen.client.client import Client
from dolmen.client.options import ClientOptions
from dolmen.client.reader import Reader
from dolmen.client.writer import Writer
from dolmen.runtime.lines import loop_of_this_thread, run_here

__all__ = [
    "AppendWriter",
    "Client",
    "ClientOptions",
    "Reader",
    "Writer",
    "loop_of_this_thread",
    "run_here",
]
