"""What only real sockets do: they fill up, and a forked child inherits them."""

import asyncio
import os
from random import Random

from dolmen.runtime.unix_file_passing import CONNECTIONS_MAX, UnixFilePassing
from tests.contract.file_passing_worlds import Front, Mailbox, is_refused


def fresh_name() -> str:
    return f"unit-{Random().getrandbits(64):x}"


def test_who_does_not_take_what_he_is_sent_loses_the_connection() -> None:
    async def main() -> None:
        passing, name, front, near = UnixFilePassing(), fresh_name(), Front(), Mailbox()
        listener = await passing.listen(name, front)
        channel = await passing.connect(name, near)
        far = await front.next()
        for _ in range(10_000):  # the loop has no turn in between: nobody reads
            channel.send(bytes(1000))
        await near.gone()
        await far.gone()
        listener.close()

    asyncio.run(main())


def test_a_listener_has_a_bounded_number_of_connections() -> None:
    async def main() -> None:
        passing, name = UnixFilePassing(), fresh_name()
        listener = await passing.listen(name, Front())
        mailboxes = [Mailbox() for _ in range(CONNECTIONS_MAX + 1)]
        for mailbox in mailboxes:
            mailbox.channel = await passing.connect(name, mailbox)
            await asyncio.sleep(0)  # it is let in before its place in the queue is wanted
        await mailboxes[-1].gone()
        assert not any(mailbox.lost_times for mailbox in mailboxes[:-1])
        listener.close()
        for mailbox in mailboxes[:-1]:
            await mailbox.gone()

    asyncio.run(main())


def test_a_forked_child_keeps_no_name_and_no_connection() -> None:
    async def main() -> int:
        passing, name, front, near = UnixFilePassing(), fresh_name(), Front(), Mailbox()
        listener = await passing.listen(name, front)
        await passing.connect(name, near)
        await front.next()
        reads, writes = os.pipe()
        forked_reads, forked_writes = os.pipe()
        child = os.fork()
        if not child:
            os.close(writes)
            os.write(forked_writes, b".")  # what a fork does in the child is done
            os.read(reads, 1)  # until the parent closes its end
            os._exit(0)
        os.read(forked_reads, 1)
        os.close(forked_reads)
        os.close(forked_writes)
        listener.close()
        await near.gone()
        assert await is_refused(passing, name)
        os.close(writes)
        os.close(reads)
        return child

    os.waitpid(asyncio.run(main()), 0)
