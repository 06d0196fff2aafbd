"""What happened in the cluster, for the log of the process: a core does not log."""

NEWS_LIMIT = 10_000
"""Lines that nobody takes: some seconds of a thousand datanodes that all fail."""


class News:
    """Lines for the log, until somebody takes them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._waiting: dict[str, str | None] = {}

    def say(self, line: str) -> None:
        """Something happened."""
        if len(self._lines) < NEWS_LIMIT:
            self._lines.append(line)

    def note(self, what: str, why: str | None) -> str | None:
        """Say once why something waits, and once that it does not any more; return `why`."""
        if self._waiting.get(what) != why:
            self.say(f"{what}: {why}" if why else f"{what}: no more")
            self._waiting[what] = why
        return why

    def take(self) -> list[str]:
        """Return what was said since the last call."""
        lines, self._lines = self._lines, []
        return lines
