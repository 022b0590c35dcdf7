"""Opinions that are taken back do not count, and what was before them does again."""

import pytest

from cannabis_ml.errors import FeedbackRefusedError, UnknownSubmissionError

PHOTO = "ab" * 32


def say(submit, label, key, **changes):
    opinion = {"head": "product", "verdict": "corrected", "label": label}
    given = {"photo_id": PHOTO, "consent": False, "answered": None, "key": key}
    return submit(**given | {"opinions": [opinion]} | changes)


def labels(store):
    return store.opinions()["label"].tolist()


def test_a_withdrawn_opinion_does_not_count(store, submit):
    store.add(say(submit, "trim", "k-1"))
    found = store.withdraw("ann", "k-1")
    assert (found.photo_id, found.opinions) == (PHOTO, 1)
    assert labels(store) == []
    assert store.opinions(history=True).empty
    assert store.summary().opinions == store.summary().submissions == 0


def test_withdrawing_twice_is_once(store, submit):
    store.add(say(submit, "trim", "k-1"))
    store.withdraw("ann", "k-1")
    assert store.withdraw("ann", "k-1").opinions == 0


def test_the_former_opinion_counts_again(store, submit):
    store.add(say(submit, "trim", "k-1", at="2026-04-01T12:00:00Z"))
    store.add(say(submit, "rosin", "k-2", at="2026-04-02T12:00:00Z"))
    store.withdraw("ann", "k-2")
    assert labels(store) == ["trim"]


def test_the_later_opinion_still_counts(store, submit):
    store.add(say(submit, "trim", "k-1", at="2026-04-01T12:00:00Z"))
    store.add(say(submit, "rosin", "k-2", at="2026-04-02T12:00:00Z"))
    store.withdraw("ann", "k-1")
    assert labels(store) == ["rosin"]
    assert store.opinions(history=True)["label"].tolist() == ["rosin"]


def test_a_repeated_opinion_counts_once_its_twin_is_withdrawn(store, submit):
    store.add(say(submit, "trim", "k-1", at="2026-04-01T12:00:00Z"))
    assert store.add(say(submit, "trim", "k-2", at="2026-04-02T12:00:00Z")).repeated == 1
    store.withdraw("ann", "k-1")
    assert labels(store) == ["trim"]
    store.withdraw("ann", "k-2")
    assert labels(store) == []


def test_a_retry_does_not_bring_a_withdrawn_opinion_back(store, submit):
    given = say(submit, "trim", "k-1")
    store.add(given)
    store.withdraw("ann", "k-1")
    assert store.add(given).is_retry
    assert labels(store) == []
    with pytest.raises(FeedbackRefusedError, match="another submission"):
        store.add(say(submit, "rosin", "k-1"))


def test_nobody_withdraws_for_another(store, submit):
    store.add(say(submit, "trim", "k-1"))
    store.add(say(submit, "trim", "k-2", person="bob"))
    for person, key in (("bob", "k-1"), ("ann", "k-9"), ("carl", "k-1")):
        with pytest.raises(UnknownSubmissionError):
            store.withdraw(person, key)
    assert labels(store) == ["trim", "trim"]


def test_the_answer_stays(store, submit):
    store.add(submit(photo_id=PHOTO, consent=False, key="k-1"))
    store.withdraw("ann", "k-1")
    assert labels(store) == []
    assert set(store.answers()["head"]) == {"product", "grade"}
    assert store.summary().submissions == 1
