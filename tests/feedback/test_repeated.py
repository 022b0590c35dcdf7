"""Which of a person's opinions counts, in whatever order they arrive."""

import itertools

import pytest

LATER = [("trim", 1), ("extract", 2), ("trim", 3)]


@pytest.mark.parametrize("order", itertools.permutations(LATER))
def test_what_was_said_last_counts_even_if_it_repeated_what_was_known(store, submit, order):
    photo_id = "ab" * 32
    for label, hour in order:
        opinion = {"head": "product", "verdict": "corrected", "label": label}
        at = f"2026-05-01T0{hour}:00:00Z"
        store.add(submit(opinions=[opinion], at=at, photo_id=photo_id, consent=False))
    (latest,) = store.opinions().to_dict("records")
    assert (latest["label"], latest["at"].hour) == ("trim", 3)
    history = store.opinions(history=True).sort_values("at")
    assert history["label"].tolist() == ["trim", "extract", "trim"]


def test_an_opinion_that_arrives_late_between_two_that_are_the_same_divides_them(store, submit):
    photo_id = "cd" * 32

    def say(label, hour):
        opinion = {"head": "product", "verdict": "corrected", "label": label}
        at = f"2026-05-01T0{hour}:00:00Z"
        return store.add(submit(opinions=[opinion], at=at, photo_id=photo_id, consent=False))

    assert say("trim", 1).taken == 1
    assert say("trim", 3).repeated == 1
    assert say("trim", 4).repeated == 1
    assert len(store.opinions(history=True)) == 1
    assert say("extract", 2).taken == 1
    history = store.opinions(history=True).sort_values("at")
    assert [(row.label, row.at.hour) for row in history.itertuples()] == [
        ("trim", 1),
        ("extract", 2),
        ("trim", 3),
    ]
    assert store.opinions()["label"].tolist() == ["trim"]
    assert store.summary().opinions == 1
