"""What happened to each path and block, and what concerned all, in the order in which it did.

The trace keeps everything and only its end in words; here the last events of each subject stay,
however long ago they were, so that a failure can tell the story of what it is about.
"""

import logging
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

from dolmen.simulation.sim_process import current_process

FAULT = "fault"
"""The actor of what concerns everybody."""

EVENTS_OF_SUBJECT = 40
EVENTS_OF_ALL = 200
TOLD_BEFORE = 10
"""Of what concerns all, from before the first event of the story."""

SUBJECTS = 5_000
"""Paths and blocks with a story; the one least recently spoken of is forgotten first."""

BLOCK_ID = re.compile(r"\b[0-9a-f]{16}\b")


@dataclass(frozen=True)
class Event:
    """One line of a story."""

    number: int
    line: str


class Chronicle:
    """The stories of a run."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._numbers = count()
        self._of_all: deque[Event] = deque(maxlen=EVENTS_OF_ALL)
        self._by_subject: OrderedDict[str, deque[Event]] = OrderedDict()

    def tell(self, actor: str, event: str, about: Iterable[str] = ()) -> None:
        """Add an event; one about nothing in particular concerns every story."""
        told = Event(next(self._numbers), f"{self._now_s():12.6f} {actor:12} {event}")
        subjects = tuple(about)
        if not subjects:
            self._of_all.append(told)
        for subject in subjects:
            events = self._by_subject.setdefault(subject, deque(maxlen=EVENTS_OF_SUBJECT))
            events.append(told)
            self._by_subject.move_to_end(subject)
        while len(self._by_subject) > SUBJECTS:
            self._by_subject.popitem(last=False)

    def overhear(self, actor: str, event: str) -> None:
        """Keep what the trace says of faults and of blocks."""
        blocks = BLOCK_ID.findall(event)
        if blocks or actor == FAULT:
            self.tell(actor, event, blocks)

    def story(self, about: Iterable[str]) -> list[str]:
        """Return the events that concern these subjects, and those that concern all."""
        told = {
            event.number: event.line
            for subject in about
            for event in self._by_subject.get(subject, ())
        }
        first = min(told, default=0)
        before = [event for event in self._of_all if event.number < first][-TOLD_BEFORE:]
        since = [event for event in self._of_all if event.number >= first]
        told |= {event.number: event.line for event in (*before, *since)}
        return [told[number] for number in sorted(told)]


class ChronicleLog(logging.Handler):
    """Lets a chronicle hear what daemons log of blocks."""

    def __init__(self, chronicle: Chronicle) -> None:
        super().__init__(logging.INFO)
        self._chronicle = chronicle

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        blocks = BLOCK_ID.findall(message)
        if blocks:
            self._chronicle.tell(current_process() or record.name, message, blocks)
