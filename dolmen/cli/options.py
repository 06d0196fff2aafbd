"""Many options as one value: a command with more than a few takes them as a struct."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Options = TypeVar("Options")


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
