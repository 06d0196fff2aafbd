"""How many files and sockets this process may have open."""

import logging
import resource

WANTED = 16_384
"""Ten thousand connections, the files of the replicas being written, and room to spare."""

logger = logging.getLogger(__name__)


def descriptor_limit() -> int:
    """Return how many descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the system allows without privileges; say if they are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = descriptor_limit()
    if allowed < WANTED:
        logger.warning(
            "only %d files and sockets may be open at a time; a busy server wants %d:"
            " raise it with `ulimit -n` or LimitNOFILE=",
            allowed,
            WANTED,
        )
