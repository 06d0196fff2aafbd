"""A whole cluster in virtual time: the real loops on simulated networks, disks and clocks."""
