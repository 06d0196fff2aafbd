"""The calls of `fsck`: pages put together slice by slice, with a turn for everybody in between."""

import asyncio
from dataclasses import dataclass

import msgspec

from dolmen.protocol.identifiers import LISTING_LIMIT
from dolmen.protocol.operator_messages import (
    Inspection,
    InspectTree,
    Problem,
    Verification,
    VerifyBlocks,
)
from namenode.core.checks import Check, ChecksSlice, problem_of, take_checks
from namenode.core.inspection import NOTHING, check_limit, inspect_slice, is_full, join
from namenode.core.verification import PAGE_CHECKS, Page
from namenode.datanode_calls import Membership

PATIENCE_LIMIT_S = 5.0
"""Below the time after which a client gives up a namenode that is silent."""

LOOK_EVERY_S = 0.02
"""How often somebody who waits looks whether all have answered: short against a round trip of a
person, and a thousandth of the processor."""


@dataclass(frozen=True)
class InspectionCalls:
    """Answers InspectTree and VerifyBlocks."""

    membership: Membership

    async def inspect(self, request: InspectTree) -> Inspection:
        """Return a page. NoSuchPath, InvalidRequest."""
        page, after = NOTHING, request.after
        while True:
            with self.membership.journal.snapshot() as view:
                here = msgspec.structs.replace(request, after=after)
                with self.membership.cluster.sight(view, _now_ms()) as sight:
                    page = join(page, inspect_slice(sight, here))
            if is_full(page, request.limit):
                return page
            after = page.after
            await asyncio.sleep(0)

    async def verify(self, request: VerifyBlocks, caller: bytes) -> Verification:
        """Return how far a page is when it has ended, or when the caller's patience has."""
        check_limit(request.limit)
        verifier = self.membership.cluster.verifier
        key = (request.path, request.after, request.limit)
        page = verifier.join(key, caller, _now_ms())
        if page is None:
            found = await self._collect(request)
            page = verifier.join(key, caller, _now_ms())  # somebody may have begun it meanwhile
            if page is None:
                page = Page(found.after, found.more, _now_ms(), {caller})
                verifier.begin(key, page, found.checks)
                self.membership.deliver(self.membership.cluster.next_checks(_now_ms()))
        patience_s = min(max(request.patience_ms, 0) / 1000, PATIENCE_LIMIT_S)
        end_ms = _now_ms() + patience_s * 1000
        while page.pending and _now_ms() < end_ms:  # noqa: ASYNC110 a core has no events
            await asyncio.sleep(LOOK_EVERY_S)
        told = verifier.tell(key, page, caller)
        if told.pending or not page.findings:
            return told
        return msgspec.structs.replace(told, findings=self._problems(page))

    def _problems(self, page: Page) -> tuple[Problem, ...]:
        cluster = self.membership.cluster
        with (
            self.membership.journal.snapshot() as view,
            cluster.sight(view, _now_ms()) as sight,
        ):
            return tuple(problem_of(sight, finding) for finding in page.findings)

    async def _collect(self, request: VerifyBlocks) -> ChecksSlice:
        files, after, more = 0, request.after, True
        checks: list[Check] = []
        while more and files < min(request.limit, LISTING_LIMIT) and len(checks) < PAGE_CHECKS:
            with self.membership.journal.snapshot() as view:
                here = msgspec.structs.replace(request, after=after)
                with self.membership.cluster.sight(view, _now_ms()) as sight:
                    found = take_checks(sight, here)
            checks += found.checks
            files, after, more = files + found.files, found.after, found.more
            await asyncio.sleep(0)
        return ChecksSlice(files, tuple(checks), after, more)


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
