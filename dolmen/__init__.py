"""Dolmen: a replicated distributed file store in Python.

This package holds what all roles share: the protocol, the runtime's ports, the client, the command
line, the local cluster and the simulation. The servers are the packages `namenode` and `datanode`.
"""

__version__ = "0.1.0"
