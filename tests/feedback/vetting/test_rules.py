import pytest

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.vetting import VettingParams, vet_opinions

NAN = float("nan")


def one(opinions, taxonomy, label, **fields):
    vetted = vet_opinions(opinions(("ada", "p1", label, fields)), taxonomy, VettingParams())
    assert len(vetted.photos) == 1
    return vetted.photos.iloc[0]


@pytest.mark.parametrize(
    ("verdict", "model", "person", "worth"),
    [
        ("confirmed", 0.99, NAN, 0.95),
        ("confirmed", 0.5, 0.3, 0.95),
        ("corrected", 0.96, 0.69, 0.4),
        ("corrected", 0.95, 0.69, 0.69),  # the model is not above 0.95
        ("corrected", 0.81, 0.91, 0.7),
        ("corrected", 0.99, 0.91, 0.7),
        ("corrected", 0.8, 0.91, 0.85),
        ("corrected", 0.99, 0.8, 0.8),
        ("corrected", NAN, 0.2, 0.2),
        ("corrected", NAN, NAN, 0.75),
    ],
)
def test_a_lone_opinion_is_worth_what_the_rules_say(
    opinions, taxonomy, verdict, model, person, worth
):
    answered = "plant" if verdict == "confirmed" else "hash"
    photo = one(
        opinions,
        taxonomy,
        "plant",
        verdict=verdict,
        answered=answered,
        answered_confidence=model,
        confidence=person,
    )
    assert photo["confidence"] == pytest.approx(worth)
    assert photo["label"] == "plant"
    assert photo["status"] == ("accepted" if worth >= 0.6 else "undecided")
    assert "one person of whom little is known" in photo["reason"]


@pytest.mark.parametrize(
    ("label", "fields", "reason"),
    [
        ("plants", {}, "'plants' is not a class of 'kind'; did you mean 'plant'?"),
        ("A+", {"head": "smell"}, "the taxonomy has no head 'smell'"),
        (["plant"], {}, "'kind' takes one class"),
        ("seeds", {"head": "look"}, "'look' takes a list of classes"),
        ("x<script>", {}, "'x<script>' is not a class of 'kind'"),
    ],
)
def test_what_cannot_be_used_is_refused_and_costs_no_other(
    opinions, taxonomy, label, fields, reason
):
    table = opinions(("ada", "p1", label, fields), ("ben", "p2", "hash", {"confidence": 0.8}))
    vetted = vet_opinions(table, taxonomy, VettingParams())
    refused = vetted.opinions.set_index("person").loc["ada"]
    assert (refused["status"], refused["reason"]) == ("refused", reason)
    photos = vetted.photos.set_index("photo_id")
    assert photos.loc["p1", "status"] == "refused"
    assert photos.loc["p2", ["status", "label"]].tolist() == ["accepted", "hash"]


def test_an_unknown_verdict_is_refused(opinions, taxonomy):
    table = opinions(("ada", "p1", "hash"))
    table["verdict"] = "applauded"
    vetted = vet_opinions(table, taxonomy, VettingParams())
    assert vetted.photos["status"].tolist() == ["refused"]
    assert "the verdict 'applauded' is not one of confirmed" in vetted.opinions.loc[0, "reason"]


def test_a_confidence_beyond_one_is_refused(opinions, taxonomy):
    table = opinions(("ada", "p1", "hash"))
    table["confidence"] = 7.0
    assert vet_opinions(table, taxonomy, VettingParams()).photos["status"].tolist() == ["refused"]


def test_who_is_unsure_leaves_a_photo_undecided(opinions, taxonomy):
    photo = one(opinions, taxonomy, None, verdict="unsure")
    assert (photo["status"], photo["reason"]) == ("undecided", "does not know")


def test_the_latest_opinion_of_a_person_counts(opinions, taxonomy):
    table = opinions(("ada", "p1", "hash"), ("ada", "p1", "plant"), ("ada", "p1", "flower"))
    vetted = vet_opinions(table.iloc[::-1], taxonomy, VettingParams())
    assert vetted.photos["label"].tolist() == ["flower"]
    assert vetted.photos["opinions"].tolist() == [1]
    assert vetted.opinions["status"].tolist() == ["superseded", "superseded", "counted"]


def test_a_table_without_its_columns_is_refused(opinions, taxonomy):
    table = opinions(("ada", "p1", "hash")).drop(columns=["verdict", "at"])
    with pytest.raises(FeedbackError, match="lacks 2 columns: verdict, at"):
        vet_opinions(table, taxonomy, VettingParams())


def test_of_no_opinion_nothing_follows(opinions, taxonomy):
    vetted = vet_opinions(opinions(), taxonomy, VettingParams())
    assert [len(t) for t in (vetted.photos, vetted.people, vetted.proposals)] == [0, 0, 0]
