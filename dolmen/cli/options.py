"""Decorators of commands: many options as one value, so that a command takes them as a struct."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Options = TypeVar("Options")

#: A command, or the function that becomes one.
Command = TypeVar("Command", bound=Callable[..., object])


def gathered(
    kind: Callable[..., Options],
) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Make the parameters that click hands to a command into one `kind`, field by name."""

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def gather(**values: Any) -> None:
            command(kind(**values))

        return gather

    return decorate
