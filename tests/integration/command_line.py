"""The command `dolmen` as a shell has it: words in, output and exit code out."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from dolmen.cli.free_ports import PORTS_VARIABLE

#: Longer than any command here takes, also `up` that gives up; it ends what hangs.
COMMAND_WITHIN_S = 180.0


@dataclass(frozen=True)
class Shell:
    """Runs `dolmen` with what was exported."""

    exported: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: object, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.words(*words),
            input=given,
            capture_output=True,
            env=self.environment,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )

    def output(self, *words: object, given: bytes = b"") -> str:
        """What the command prints; it must succeed."""
        done = self(*words, given=given)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start(self, *words: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.words(*words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )

    def words(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "dolmen", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: text
            for name, text in os.environ.items()
            if not name.startswith("DOLMEN_") or name == PORTS_VARIABLE
        }
        return {**kept, **self.exported}
