"""What operators ask of the namenode: answered from soft state and a snapshot of what is durable.

What changes the namespace's records goes through the one door like any other mutation.
"""

from dataclasses import dataclass

from dolmen.protocol.control_messages import Reply
from dolmen.protocol.errors import InvalidRequest
from dolmen.protocol.operator_messages import GetReport, OperatorRead
from namenode.datanode_calls import Membership


@dataclass(frozen=True)
class OperatorCalls:
    """Answers the calls of operators."""

    membership: Membership

    async def answer(self, request: OperatorRead) -> Reply:
        """Answer one call. Raises the DolmenError that refuses it."""
        match request:
            case GetReport():
                with self.membership.journal.snapshot() as view:
                    return self.membership.cluster.report(view)
            case _:
                raise InvalidRequest(f"{type(request).__name__} is not known here")
