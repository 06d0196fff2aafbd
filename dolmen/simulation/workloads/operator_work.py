"""What an operator does while clients work: one client's work, whose calls may all fail."""

from collections.abc import Awaitable
from typing import TypeVar

from dolmen.protocol.errors import AccessDenied, DolmenError, RequestRefused
from dolmen.simulation.finding import CheckFailed
from dolmen.simulation.recorded_client import RecordedClient
from dolmen.simulation.workloads.work import Work

T = TypeVar("T")


class OperatorWork(Work):
    """Calls that change no file."""

    FOR_ONE = True

    async def ask(self, client: RecordedClient, doing: Awaitable[T]) -> T | None:
        """Do one thing; None if nobody answered, or not now. A refusal is a finding, unless it is
        for the caller's former life, which is not forgotten yet."""
        try:
            answer = await doing
        except DolmenError as error:
            if isinstance(error, RequestRefused) and not isinstance(error, AccessDenied):
                raise CheckFailed(f"{self.NAME}: {type(error).__name__}: {error}") from error
            self.post.history.tell(client.name, f"{type(error).__name__}: {error}")
            self.post.history.failed[self.NAME] += 1
            return None
        self.post.history.acknowledged[self.NAME] += 1
        return answer
