"""Keeps the answers to calls for their repetitions (rule 7), and forgets them.

The answers to some consecutive calls of one client are one record: a client that makes thousands of
calls a second has hundreds in one batch, and a record for each, with one more to find it by its
age, cost a third of a change (decision 0015). A record is filed by the age of an answer in it, of
its last one in the end: when its time has come and it has younger ones it is filed anew.
"""

from namenode.core import tables
from namenode.core.change import Change, Handlers
from namenode.core.edits import CallAnswered
from namenode.core.records import Answer, Answers
from namenode.core.sheet import ANSWERED
from namenode.core.tables import ANSWERS_PER_RECORD

ANSWERED_PER_CLIENT_LIMIT = 8192
"""Answers kept for one client: more than it lets its calls run ahead of one that has no answer yet
(`dolmen.client.core.call_numbers`)."""

LOOKED_AT_PER_RECORD = 4
"""Old records that go, or are filed anew, with each new one: more than one, so that a backlog
shrinks."""


def _answer(change: Change, edit: CallAnswered) -> None:
    key = tables.answers_key(edit.client_id, edit.number)
    answer = Answer(edit.number, edit.time_ms, edit.reply)
    known = change.writer.find(ANSWERED, key)
    if known is not None:
        change.writer.set(ANSWERED, key, Answers(known.filed_ms, (*known.answers, answer)))
        return
    outdated = edit.number - ANSWERED_PER_CLIENT_LIMIT - ANSWERS_PER_RECORD
    if outdated > 0:
        _forget_number(change, tables.answers_key(edit.client_id, outdated))
    _look_at_old(change, edit.forget_before_ms)
    change.writer.set(ANSWERED, key, Answers(edit.time_ms, (answer,)))
    change.writer.put(tables.ANSWERS_BY_AGE, tables.answers_age_key(edit.time_ms, key), b"")


def _forget_number(change: Change, key: bytes) -> None:
    known = change.writer.find(ANSWERED, key)
    if known is not None:
        change.writer.set(ANSWERED, key, None)
        age_key = tables.answers_age_key(known.filed_ms, key)
        change.writer.delete(tables.ANSWERS_BY_AGE, age_key)


def _look_at_old(change: Change, before_ms: int) -> None:
    """Forget the oldest records if all in them is old."""
    writer, end = change.writer, tables.number_key(before_ms)
    old: list[bytes] = []
    for age_key, _ in writer.scan(tables.ANSWERS_BY_AGE):
        if age_key >= end or len(old) == LOOKED_AT_PER_RECORD:
            break
        old.append(age_key)
    for age_key in old:
        writer.delete(tables.ANSWERS_BY_AGE, age_key)
        key = age_key[8:]
        known = writer.find(ANSWERED, key)
        if known is None:
            continue
        last_ms = max(answer.time_ms for answer in known.answers)
        if last_ms < before_ms:
            writer.set(ANSWERED, key, None)
        else:
            writer.set(ANSWERED, key, Answers(last_ms, known.answers))
            writer.put(tables.ANSWERS_BY_AGE, tables.answers_age_key(last_ms, key), b"")


HANDLERS: Handlers = {CallAnswered: _answer}
