"""What readers and writers reach the cluster through: the parts of a client that they share."""

from dataclasses import dataclass

from dolmen.client.bulk import Datanodes
from dolmen.client.byte_budget import ByteBudget
from dolmen.client.connection import NamenodeConnection
from dolmen.client.core.byte_shares import ByteShares
from dolmen.client.hedging import Hedging
from dolmen.client.hints import Hints
from dolmen.client.leases import LeaseKeeper
from dolmen.client.local_replicas import LocalReplicas
from dolmen.client.options import ClientOptions
from dolmen.client.patience import Patience
from dolmen.runtime.machine import Machine


@dataclass(frozen=True)
class Links:
    """The parts of one client."""

    machine: Machine
    options: ClientOptions
    namenode: NamenodeConnection
    datanodes: Datanodes
    hedging: Hedging
    local: LocalReplicas
    """The replicas on our own host."""
    leases: LeaseKeeper
    hints: Hints
    read_memory: ByteShares
    """For what readers fetch before it is asked for."""
    write_memory: ByteBudget
    """For what writers have not sent yet, or not had acknowledged."""
    host: str
    """The label of the host we are on."""

    def patience(self) -> Patience:
        """How long, from now on, what may pass is borne: `retry_for`."""
        return Patience(self.machine.random, self.namenode.retry_for_s)
