"""Taking opinions back: the person's former ones count again, as if these had never been given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from cannabis_ml.errors import UnknownSubmissionError
from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.repeated import without
from cannabis_ml.feedback.taking import earlier_opinions, given_opinion, write_replaced


@dataclass(frozen=True)
class Withdrawn:
    """What was taken back.

    Attributes:
        photo_id: Id of its photo in the store.
        opinions: How many; 0 where they had been taken back before.
    """

    photo_id: str
    opinions: int


def withdraw(connection: Connection, person: str, key: str, now: datetime) -> Withdrawn:
    """Delete the opinions of one submission; its key stays used, and its answer known.

    Args:
        connection: Of a transaction that writes.
        person: Pseudonym of whose it is.
        key: The submission's.
        now: Time of it.

    Raises:
        UnknownSubmissionError: If the person sent nothing under this key.
    """
    own = select(t.people.c.id).where(t.people.c.pseudonym == person)
    person_id = connection.execute(own.with_for_update()).scalar()
    row = connection.execute(
        select(t.submissions.c.id, t.submissions.c.photo_id).where(
            t.submissions.c.person_id == person_id, t.submissions.c.key == key
        )
    ).first()
    if row is None:
        raise UnknownSubmissionError("This person sent nothing under this key.")
    is_own = t.opinions.c.submission_id == row.id
    heads = list(connection.execute(select(t.opinions.c.head).where(is_own)).scalars())
    connection.execute(delete(t.opinions).where(is_own))
    for head in heads:
        count_former(connection, row.photo_id, int(person_id or 0), head)
    is_first = (t.submissions.c.id == row.id) & t.submissions.c.withdrawn_at.is_(None)
    connection.execute(update(t.submissions).where(is_first).values(withdrawn_at=now))
    return Withdrawn(row.photo_id, len(heads))


def count_former(connection: Connection, photo_id: str, person_id: int, head: str) -> None:
    """Let the person's other opinions on a head count as they do without the deleted ones."""
    place = {"photo_id": photo_id, "person_id": person_id}
    rest = [given_opinion(row) for row in earlier_opinions(connection, place, [head])]
    if rest:
        write_replaced(connection, without(rest))
