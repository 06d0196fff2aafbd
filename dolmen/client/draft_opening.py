"""Opens the draft of a file, and leaves none behind if the caller is cancelled meanwhile."""

import asyncio
import contextlib

from dolmen.client.cutting import ABANDON_PATIENCE_S
from dolmen.client.links import Links
from dolmen.protocol.client_messages import AbandonFile, Done
from dolmen.protocol.draft_messages import DraftOpened, OpenDraft
from dolmen.protocol.errors import DolmenError


async def open_draft(links: Links, path: str, inode_id: int) -> DraftOpened:
    """Become the one writer of the file at `path`, which must be `inode_id` if that is not 0."""
    request = OpenDraft(path, inode_id, links.host)
    opening = asyncio.create_task(links.namenode.call(request, DraftOpened))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await _undo(links, opening)
        raise


async def _undo(links: Links, opening: asyncio.Task[DraftOpened]) -> None:
    """End a draft that was just asked for: others would wait for it until the soft limit."""
    with contextlib.suppress(DolmenError, TimeoutError):
        async with asyncio.timeout(ABANDON_PATIENCE_S):
            draft_id = (await opening).draft_id
            await links.namenode.call(AbandonFile(draft_id), Done)
