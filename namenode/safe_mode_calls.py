"""Safe mode by hand: asked about, entered and left by an operator.

To leave it while replicas from the future are known is the decision that rule 25 asks for. It goes
through the one door: the numbers that the lost future has used are skipped from then on, so that
nothing new is taken for what is old, and such replicas are neither read nor deleted.
"""

import logging
from dataclasses import dataclass

from dolmen.protocol.client_messages import Done
from dolmen.protocol.control_messages import ClientCall
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.identifiers import BLOCK_NUMBER_LIMIT
from dolmen.protocol.operator_messages import ChangeSafeMode, SafeModeAction, SafeModeState
from namenode.core.edits import FutureGivenUp
from namenode.core.lookup import NUMBER_LIMIT, load_meta
from namenode.core.outcome import FutureForgotten, Outcome
from namenode.core.safe_mode import Future
from namenode.core.tables import View
from namenode.datanode_calls import Membership

log = logging.getLogger(__name__)

GIVEN_UP = (
    "what was written after this namespace's last change is given up; replicas of it are left where"
    " they are, and are neither read nor deleted"
)


@dataclass(frozen=True)
class SafeModeCalls:
    """Answers ChangeSafeMode."""

    membership: Membership

    async def answer(self, request: ChangeSafeMode, call: ClientCall) -> SafeModeState:
        """Return safe mode as it is then."""
        safe_mode = self.membership.cluster.safe_mode
        told = ""
        if request.action is SafeModeAction.ENTER:
            log.warning("safe mode is entered by hand by %s", call.user)
            safe_mode.enter(call.user)
        elif request.action is SafeModeAction.LEAVE:
            if (future := safe_mode.from_future) is not None:
                await self._give_up(future)
                log.warning("%s decided: %s", call.user, GIVEN_UP)
                told = GIVEN_UP
            log.warning("safe mode is left by hand by %s", call.user)
            safe_mode.leave()
        reason = safe_mode.reason()
        return SafeModeState(reason is not None, reason or told)

    async def _give_up(self, future: Future) -> None:
        if future.block_number >= BLOCK_NUMBER_LIMIT // 2 or future.stamp >= NUMBER_LIMIT // 2:
            raise InvalidRequest(
                f"{future.what}: half of all numbers would be lost with it, so it is damage and no"
                " lost future; take that datanode away and start the namenode again"
            )

        def decide(view: View, now_ms: int) -> Outcome:
            meta = load_meta(view)
            counters = (
                max(meta.next_block_number, future.block_number + 1),
                max(meta.next_stamp, future.stamp + 1),
            )
            return Outcome(Done(), (FutureGivenUp(*counters),), (FutureForgotten(*counters),))

        await self.membership.journal.submit(decide)
