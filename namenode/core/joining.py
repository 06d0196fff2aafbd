"""Who may join as a datanode."""

from dolmen.protocol.datanode_messages import RegisterDatanode
from dolmen.protocol.errors import AccessDenied, WrongCluster
from namenode.core.datanodes import Datanodes, Liveness
from namenode.core.lookup import load_meta
from namenode.core.tables import View


def check_may_join(request: RegisterDatanode, datanodes: Datanodes, view: View) -> None:
    """Raise if this datanode has followed a newer namenode, or is connected already."""
    epoch = load_meta(view).epoch
    if request.highest_epoch > epoch:
        raise WrongCluster(
            f"this datanode has followed a namenode of epoch {request.highest_epoch} and this"
            f" one is of epoch {epoch}: it works on an old copy of the namespace; start the"
            " namenode on its newest directory"
        )
    known = datanodes.get(request.datanode_id)
    elsewhere = known and known.connected and known.address != request.address
    if known and elsewhere and known.liveness is Liveness.LIVE:
        raise AccessDenied(
            f"datanode {request.datanode_id} is connected already, from {known.address}:"
            " its directories have been copied, or two processes serve them; give a new"
            " datanode empty directories"
        )
