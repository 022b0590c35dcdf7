"""People, photos and weeks of a simulated season, for bench_season.py."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from cannabis_ml.feedback.opinions import Opinion, opinions_table

START = datetime(2026, 3, 2, tzinfo=UTC)
HEAD = "crop"
WEEKS = 12
LATE_WEEK = 5


@dataclass(frozen=True)
class Crowd:
    """Who tells something.

    Attributes:
        honest: People who are right 9 times in 10, and else choose any other class.
        contrary: People who never choose the right class.
        spammer: Share of all opinions that one more person sends: always one class, always sure.
        per_photo: Mean number of honest and contrary opinions on a photo that has any.
        audit: Share of photos drawn uniformly for audit.
        volunteers: How often a person tells of a right answer, of a wrong one always.
    """

    honest: int = 27
    contrary: int = 3
    spammer: float = 0.3
    per_photo: float = 2.0
    audit: float = 0.15
    volunteers: float = 0.6


def week_of_opinions(week, photos, answered, sure, known, crowd, seed):
    """Opinions on the photos of one week.

    Args:
        week: From 1.
        photos: `photo_id` and true class name of each.
        answered: Class that the model answered for each.
        sure: Its confidence.
        known: Classes that the model has; others are proposed.
        crowd: Who tells something.
        seed: Of everything that is drawn.
    """
    random = np.random.default_rng([seed, week])
    people = [f"honest{i}" for i in range(crowd.honest)]
    people += [f"contrary{i}" for i in range(crowd.contrary)]
    known = list(known)
    drafts = []
    audited = random.random(len(photos)) < crowd.audit
    for i, (photo_id, truth) in enumerate(photos):
        if not audited[i] and answered[i] == truth and random.random() > crowd.volunteers:
            continue
        count = 1 + random.poisson(crowd.per_photo - 1)
        for person in random.choice(people, min(count, len(people)), replace=False):
            right = not person.startswith("contrary") and random.random() < 0.9
            others = [name for name in known if name != truth]
            chosen = truth if right else str(random.choice(others))
            drafts.append((i, photo_id, person, chosen, random.uniform(0.6, 1.0)))
    spam = round(crowd.spammer / (1 - crowd.spammer) * len(drafts)) if crowd.spammer else 0
    spammed = random.permutation(len(photos))[:spam]
    drafts += [(int(i), photos[i][0], "spammer", known[0], 1.0) for i in spammed]
    told = []
    for number, (i, photo_id, person, chosen, confidence) in enumerate(drafts):
        verdict = (
            "proposed"
            if chosen not in known
            else "confirmed"
            if chosen == answered[i]
            else "corrected"
        )
        told.append(
            Opinion(
                opinion_id=f"{week}-{number}",
                photo_id=photo_id,
                person=str(person),
                head=HEAD,
                verdict=verdict,
                label=chosen,
                confidence=float(confidence),
                at=START + timedelta(days=7 * (week - 1) + 6 * random.random()),
                bundle_id="",
                tier="tier3",
                answered=answered[i],
                answered_confidence=float(sure[i]),
                audit=bool(audited[i]),
            )
        )
    return opinions_table(told)
