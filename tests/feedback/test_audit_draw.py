"""What is put up for audit: a uniform share, each photo with one chance that is known."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from cannabis_ml.feedback.audit import AuditParams, photos_needed
from cannabis_ml.feedback.audit_draw import draw_audits, to_judge, week_of
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.snapshot import FeedbackSnapshot

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
PARAMS = AuditParams(half_width=0.1)  # 62 answers a week
NEEDED = photos_needed(0.1, 0.8, 0.95)


def snapshot(per_week, marked=(), rates=None, opinions=()):
    """So many photos a week, all kept and answered."""
    rows = [
        (f"{100_000 * week + i:064x}", MONDAY + timedelta(weeks=week, hours=i % 160))
        for week, count in enumerate(per_week)
        for i in range(count)
    ]
    photos = pd.DataFrame(rows, columns=["photo_id", "received_at"]).assign(kept=True)
    answers = photos[["photo_id"]].assign(
        head="product", at=photos["received_at"], audit=photos["photo_id"].isin(list(marked))
    )
    paths = dict.fromkeys(photos["photo_id"], "/photo.jpg")
    return FeedbackSnapshot(
        opinions_table(opinions), answers, photos, paths=paths, audit_rates=rates or {}
    )


def test_as_many_are_put_up_as_the_interval_takes():
    draw = draw_audits(snapshot([2000, 2000]), MONDAY + timedelta(days=13), PARAMS)
    assert draw.rates["2026-03-09"] == pytest.approx(NEEDED / 2000)
    of_week = [week for week in draw.drawn.values() if week == "2026-03-09"]
    assert len(of_week) == pytest.approx(NEEDED, abs=4 * NEEDED**0.5)
    assert draw.plan.reason.startswith(f"±10 points with 95% take {NEEDED} answers a week")


def test_the_first_draw_of_a_week_fixes_its_rate():
    """Else a photo that was passed over would have another chance, and nobody would know which."""
    rates = {"2026-03-09": 0.25}
    draw = draw_audits(snapshot([2000, 400], rates=rates), MONDAY + timedelta(days=13), PARAMS)
    assert draw.rates["2026-03-09"] == 0.25
    assert draw.plan.rate == 0.25


def test_drawing_again_draws_the_same_and_nothing_twice():
    now = MONDAY + timedelta(days=6)
    first = draw_audits(snapshot([500]), now, PARAMS)
    again = draw_audits(snapshot([500], marked=first.drawn, rates=first.rates), now, PARAMS)
    assert first.drawn
    assert again.drawn == {}


def test_photos_without_an_answer_or_that_are_not_kept_are_not_drawn():
    whole = snapshot([40])
    photos = whole.photos.assign(kept=[i % 2 == 0 for i in range(40)])
    answers = whole.answers.iloc[:20]
    told = FeedbackSnapshot(whole.opinions, answers, photos, paths=whole.paths)
    draw = draw_audits(told, MONDAY + timedelta(days=6), AuditParams())
    assert set(draw.drawn) == set(photos["photo_id"].iloc[0:20:2])


def test_a_week_without_photos_fixes_no_rate():
    draw = draw_audits(snapshot([]), MONDAY, PARAMS)
    assert (draw.rates, draw.drawn, draw.plan.answers) == ({}, {}, 0)


def test_a_week_begins_on_monday_in_utc():
    assert week_of(datetime.fromisoformat("2026-03-09T01:00:00+02:00")) == "2026-03-02"
    assert week_of(datetime.fromisoformat("2026-03-09T00:00:00+00:00")) == "2026-03-09"


def judged(photo_id, **changed):
    fields = {
        "opinion_id": photo_id,
        "photo_id": photo_id,
        "person": "ann",
        "head": "product",
        "verdict": "corrected",
        "label": "trim",
        "at": MONDAY,
        "seen_answer": False,
    }
    return Opinion(**fields | changed)


def test_photos_wait_until_somebody_judged_them_without_the_answer():
    names = [f"{i:064x}" for i in range(4)]
    opinions = [judged(names[0]), judged(names[1], seen_answer=True)]
    told = snapshot([4], marked=names[:3], opinions=opinions)
    draw = draw_audits(told, MONDAY + timedelta(days=6), AuditParams())
    assert set(draw.drawn) == {names[3]}
    assert to_judge(told, draw, None) == names[1:]
    assert to_judge(told, draw, MONDAY + timedelta(hours=2)) == names[2:]


def test_photos_wait_where_the_only_judge_was_not_sure():
    names = [f"{i:064x}" for i in range(2)]
    opinions = [judged(names[0], verdict="unsure", label=None), judged(names[1])]
    given = snapshot([2], marked=names, opinions=opinions)
    draw = draw_audits(given, MONDAY + timedelta(days=6), AuditParams())
    assert to_judge(given, draw, None) == names[:1]


def test_the_store_marks_what_was_drawn_with_the_rate_that_counts(store, submit, encode, draw):
    ids = [store.add(submit(), encode(draw(i))).photo_id for i in range(3)]
    weeks = dict.fromkeys([ids[0], "f" * 64], "2026-04-27")  # one was erased meanwhile
    assert store.draw_audits({"2026-04-27": 0.2}, weeks) == 1
    assert store.audit_rates() == {"2026-04-27": 0.2}
    # Somebody drew with another rate at the same time: the first holds, the draw of it is dropped.
    assert store.draw_audits({"2026-04-27": 0.3}, {ids[1]: "2026-04-27"}) == 0
    answers = store.answers().drop_duplicates("photo_id").set_index("photo_id")
    assert answers.loc[ids[0], "audit_probability"] == 0.2
    assert answers["audit"].tolist() == [True, False, False]
