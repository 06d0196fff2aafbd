"""Where copies go, for put, get and cp alike.

    source           target does not exist     target/ does not exist    target is a directory
    file f           target                    target/f                  target/f
    directory d      target/…                  target/d/…                target/d/…
    directory d/     target/…                  target/…                  target/…

A closing slash on the source means what is in it. Several sources, or a pattern, go into the
target, which is then a directory whether or not it exists.
"""

from dataclasses import dataclass

from dolmen.protocol.errors import IsADirectory, NotADirectory


@dataclass(frozen=True)
class Source:
    """One thing to copy; `contents` says that what is in the directory is meant."""

    path: str
    name: str
    is_directory: bool
    contents: bool = False


@dataclass(frozen=True)
class Destination:
    """The target as it was named and as it is found."""

    path: str
    is_directory: bool
    exists: bool
    ends_with_slash: bool
    several: bool = False

    @property
    def takes_inside(self) -> bool:
        return self.is_directory or self.ends_with_slash or self.several


def place(source: Source, target: Destination, *, recursive: bool) -> str:
    """The path that `source` is copied to."""
    if source.is_directory and not recursive:
        raise IsADirectory("is a directory: -r copies it with all that is below", source.path)
    if target.exists and not target.is_directory and (source.is_directory or target.takes_inside):
        raise NotADirectory("exists and is no directory to copy into", target.path)
    if target.takes_inside and not source.contents:
        return below(target.path, source.name)
    return target.path


def below(directory: str, relative: str) -> str:
    return f"{directory.rstrip('/')}/{relative}" if relative else directory
