"""The datanode: keeps replicas of blocks on its volumes, and serves them."""

from datanode.node import Datanode
from datanode.options import DatanodeOptions

__all__ = ["Datanode", "DatanodeOptions"]
