"""Jobs in the database of feedback: any replica may be asked, and any may answer a photo.

A process that takes a photo has it for a while (a lease). Who is killed loses the lease, and
another process takes the photo over; a photo that has ended so several processes is given up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, or_, select, update

from cannabis_ml.feedback import tables as t
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.serving.jobs.records import Claimed, NewPhoto, Result


class JobStore:
    """Rows of jobs.

    Args:
        store: Of feedback, whose database and clock are used.
    """

    def __init__(self, store: FeedbackStore) -> None:
        self._database = store.database
        self._clock = store.clock

    def add(
        self, job: str, owner: str, language: str, photos: Sequence[NewPhoto], keep: timedelta
    ) -> None:
        """Make a job whose files are there; it is seen whole or not at all.

        Args:
            job: A new id.
            owner: Who may ask for it.
            language: Of reports.
            photos: In order.
            keep: When it expires, from now on.
        """
        now = self._clock()
        at_once = sum(one.problem is not None for one in photos)
        row = {"id": job, "owner": owner, "language": language, "created_at": now}
        row |= {"expires_at": now + keep, "photos": len(photos), "done": at_once}
        places = itertools.count(1)
        rows: list[dict[str, Any]] = [
            {
                "job_id": job,
                "number": number,
                "name": one.name,
                "suffix": one.suffix,
                "tries": 0,
                "place": None if one.problem is None else next(places),
                "result": one.problem,
            }
            for number, one in enumerate(photos)
        ]

        def change(connection: Connection) -> None:
            connection.execute(t.jobs.insert(), row)
            connection.execute(t.job_photos.insert(), rows)

        self._database.write(change)

    def find(self, job: str, owner: str) -> Row[Any] | None:
        """A job; None if there is none of this id and owner, or it has expired."""
        wanted = (t.jobs.c.id == job, t.jobs.c.owner == owner, t.jobs.c.expires_at > self._clock())
        with self._database.reading() as connection:
            return connection.execute(select(t.jobs).where(*wanted)).first()

    def results(self, job: str, after: int, most: int) -> list[Result]:
        """Results in the order in which they came.

        Args:
            job: Its id.
            after: Place of the last one that is known.
            most: How many at a time.
        """
        p = t.job_photos.c
        query = select(p.place, p.number, p.name, p.result)
        query = query.where(p.job_id == job, p.place > after).order_by(p.place).limit(most)
        with self._database.reading() as connection:
            return [Result(*row) for row in connection.execute(query)]

    def waiting(self) -> int:
        """How many photos of all jobs have no result yet."""
        query = select(func.coalesce(func.sum(t.jobs.c.photos - t.jobs.c.done), 0))
        with self._database.reading() as connection:
            found = connection.execute(query.where(t.jobs.c.expires_at > self._clock()))
            return int(found.scalar_one())

    def claim(self, lease: timedelta) -> Claimed | None:
        """Take the next photo: the first of each job, then the second of each, and so on.

        Args:
            lease: How long nobody else takes it.
        """
        now = self._clock()
        p = t.job_photos.c
        is_free = or_(p.claimed_until.is_(None), p.claimed_until < now)
        query = (
            select(p.job_id, p.number, p.name, p.suffix, p.tries, t.jobs.c.language)
            .join(t.jobs)
            .where(p.place.is_(None), is_free, t.jobs.c.expires_at > now)
            .order_by(p.number, t.jobs.c.created_at)
            .limit(1)
        )
        with self._database.reading() as connection:  # mostly there is none: no need to write
            if connection.execute(query).first() is None:
                return None
        query = query.with_for_update(skip_locked=True, of=t.job_photos)

        def change(connection: Connection) -> Claimed | None:
            found = connection.execute(query).first()
            if found is None:
                return None
            own = update(t.job_photos).where(p.job_id == found.job_id, p.number == found.number)
            connection.execute(own.values(tries=found.tries + 1, claimed_until=now + lease))
            return Claimed(
                found.job_id,
                found.number,
                found.name,
                found.suffix,
                found.language,
                found.tries + 1,
            )

        return self._database.write(change)

    def finish(self, claimed: Claimed, content: str) -> bool:
        """Write a result.

        Returns:
            False if the photo has one already, or its job is gone.
        """
        p = t.job_photos.c
        own = (p.job_id == claimed.job, p.number == claimed.number, p.place.is_(None))

        def change(connection: Connection) -> bool:
            waiting = select(p.number).where(*own).with_for_update()
            if connection.execute(waiting).first() is None:
                return False
            one_more = update(t.jobs).where(t.jobs.c.id == claimed.job)
            one_more = one_more.values(done=t.jobs.c.done + 1).returning(t.jobs.c.done)
            place = connection.execute(one_more).scalar_one()
            values = {"place": place, "result": content, "suffix": None, "claimed_until": None}
            connection.execute(update(t.job_photos).where(*own).values(**values))
            return True

        return self._database.write(change)

    def release(self, claimed: Claimed) -> None:
        """Give a photo back that was not answered, and does not count as tried."""
        p = t.job_photos.c
        own = update(t.job_photos).where(
            p.job_id == claimed.job,
            p.number == claimed.number,
            p.place.is_(None),
            p.tries == claimed.tries,  # nobody else has taken it meanwhile
        )
        values = {"claimed_until": None, "tries": claimed.tries - 1}
        self._database.write(lambda connection: connection.execute(own.values(**values)))

    def delete(self, job: str) -> None:
        """Delete a job with its photos and results."""
        self._database.write(lambda connection: _delete(connection, [job]))

    def expire(self) -> list[str]:
        """Delete the jobs whose time is over; returns their ids."""
        old = select(t.jobs.c.id).where(t.jobs.c.expires_at <= self._clock())

        def change(connection: Connection) -> list[str]:
            jobs = list(connection.execute(old).scalars())
            _delete(connection, jobs)
            return jobs

        with self._database.reading() as connection:
            if connection.execute(old.limit(1)).first() is None:
                return []
        return self._database.write(change)

    def known(self, jobs: Iterable[str]) -> set[str]:
        """Those of the jobs that there are."""
        query = select(t.jobs.c.id).where(t.jobs.c.id.in_(list(jobs)))
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())


def _delete(connection: Connection, jobs: list[str]) -> None:
    connection.execute(delete(t.job_photos).where(t.job_photos.c.job_id.in_(jobs)))
    connection.execute(delete(t.jobs).where(t.jobs.c.id.in_(jobs)))
