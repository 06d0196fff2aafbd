"""All contents of a run.

Every version of a file has contents of its own, drawn from its number: what a read brings is one
version's bytes, or bytes that nobody wrote. Versions too short to differ are one version.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from random import Random

import xxhash

HELD_BYTES = 16 * 1024 * 1024
"""Contents kept at hand; others are made again."""


@dataclass(frozen=True)
class Version:
    """One content that somebody wrote."""

    number: int
    length_bytes: int
    content_hash: bytes


class Versions:
    """The versions, by number and by what they contain."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.grown: dict[int, bytes] = {}
        """What files that grow have in the end, by inode."""
        self._numbers = count(1)
        self._versions: dict[int, Version] = {}
        self._by_hash: dict[bytes, int] = {}
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._held_bytes = 0

    def draw(self, length_bytes: int) -> tuple[Version, bytes]:
        """Return a new version and its contents; an old one, if it is the same."""
        number = next(self._numbers)
        contents = self._make(number, length_bytes)
        version = Version(number, length_bytes, xxhash.xxh3_128_digest(contents))
        same = self._by_hash.setdefault(version.content_hash, number)
        self._versions.setdefault(same, version)
        return self._versions[same], contents

    def get(self, number: int) -> Version:
        """Return a version by its number."""
        return self._versions[number]

    def contents(self, number: int) -> bytes:
        """Return the contents of a version."""
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = self._make(number, self._versions[number].length_bytes)
            self._held_bytes += len(held)
            while self._held_bytes > HELD_BYTES:
                _, dropped = self._held.popitem(last=False)
                self._held_bytes -= len(dropped)
        return held

    def number_of(self, content_hash: bytes) -> int | None:
        """Return the number of the version with this hash; None if nobody wrote it."""
        return self._by_hash.get(content_hash)

    def _make(self, number: int, length_bytes: int) -> bytes:
        return Random(f"{self._seed} {number}").randbytes(length_bytes)
