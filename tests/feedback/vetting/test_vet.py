from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cannabis_ml.feedback.vetting import (
    Evidence,
    VettingParams,
    changes,
    label_table,
    vet_opinions,
)
from cannabis_ml.feedback.vetting.archetypes import typical_density
from cannabis_ml.feedback.vetting.outliers import Embedded

START = datetime(2026, 3, 1, tzinfo=UTC)

PLANTS = ["plant", "flower", "hash"]


def vet(table, taxonomy, evidence=None, **params):
    return vet_opinions(table, taxonomy, VettingParams.model_validate(params), evidence)


@pytest.fixture(scope="module")
def crowd(opinions):
    """Nine people, right in 9 of 10 answers; one contrary, and a spammer who sends 30%."""
    random = np.random.default_rng(0)
    truth = {f"p{i:03}": PLANTS[i % 3] for i in range(240)}
    rows = []
    for photo, label in truth.items():
        others = [c for c in PLANTS if c != label]
        for person in random.choice(9, 2, replace=False):
            chosen = label if random.random() < 0.9 else others[random.integers(2)]
            rows.append((f"good{person}", photo, chosen))
        if random.random() < 0.4:
            rows.append(("contrary", photo, others[random.integers(2)]))
        if random.random() < 0.8:
            rows.append(("spammer", photo, PLANTS[random.integers(3)]))
    return truth, opinions(*rows)


@pytest.fixture(scope="module")
def vetted(crowd, taxonomy):
    return vet(crowd[1], taxonomy)


def test_the_spammer_and_the_contrary_are_quarantined_and_nobody_else(vetted):
    people = vetted.people.set_index("person")
    assert sorted(people.index[people["quarantined"]]) == ["contrary", "spammer"]
    assert people.loc["contrary", "high"] < 0.2
    good = people[~people["quarantined"]]
    assert good["accuracy"].between(0.8, 0.97).all()
    assert people.loc["spammer", "weight"] == 0
    assert "below 50%" in people.loc["spammer", "reason"]


def test_labels_are_right_as_often_as_they_promise(vetted, crowd):
    truth, _ = crowd
    accepted = vetted.photos[vetted.photos["status"] == "accepted"]
    right = accepted["label"] == accepted["photo_id"].map(truth)
    assert len(accepted) > 200
    assert right.mean() > 0.9
    assert accepted["confidence"].mean() == pytest.approx(right.mean(), abs=0.03)


def test_everything_has_its_reason(vetted, crowd):
    photos = vetted.photos
    assert not photos.duplicated(["photo_id", "head"]).any()
    assert set(photos["photo_id"]) == set(crowd[0])
    for table in (photos, vetted.people, vetted.opinions):
        assert table["reason"].str.len().min() > 0
    assert photos["reason"].str.contains("by Dawid-Skene").all()


def test_undoing_a_person_is_as_if_they_had_never_spoken(crowd, taxonomy):
    _, table = crowd
    aside = vet(table, taxonomy, people={"quarantined": ["good3"]})
    never = vet(table[table["person"] != "good3"], taxonomy)
    columns = ["photo_id", "label", "status"]
    both = aside.photos.merge(never.photos, on="photo_id", suffixes=("", "_never"))
    assert (both["confidence"] - both["confidence_never"]).abs().max() < 1e-9
    assert (both["status"] == both["status_never"]).all()
    lost = aside.photos[~aside.photos["photo_id"].isin(never.photos["photo_id"])]
    assert set(lost["status"]) <= {"quarantined"}
    moved = changes(vet(table, taxonomy), aside)
    assert 0 < len(moved) < 60
    assert moved["reason_before"].str.len().min() > 0
    back = vet(table, taxonomy, people={"quarantined": []})
    pd.testing.assert_frame_equal(back.photos[columns], vet(table, taxonomy).photos[columns])


def test_who_is_quarantined_by_configuration_has_no_say_in_who_else_is(opinions, taxonomy):
    """Two who always contradict ada would make her look bad, were they heard."""
    rows = [("ada", f"p{i}", "plant") for i in range(40)]
    rows += [(who, f"p{i}", "hash") for i in range(40) for who in ("eve", "mallory")]
    table = opinions(*rows)
    heard = vet(table, taxonomy).people.set_index("person")
    assert heard["quarantined"].to_dict() == {"ada": True, "eve": False, "mallory": False}
    aside = vet(table, taxonomy, people={"quarantined": ["eve", "mallory"]}).people
    assert aside["quarantined"].tolist() == [False, True, True]


def test_intervals_of_people_hold_how_often_they_were_right(vetted, crowd):
    truth, table = crowd
    right = (table["label"] == table["photo_id"].map(truth)).groupby(table["person"]).mean()
    people = vetted.people.set_index("person")
    held = right.between(people["low"] - 0.01, people["high"] + 0.01)
    assert held.sum() >= 10  # of 11


def test_who_is_released_is_not_quarantined(crowd, taxonomy):
    people = vet(crowd[1], taxonomy, people={"released": ["spammer"]}).people
    assert people.loc[people["quarantined"], "person"].tolist() == ["contrary"]


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_nothing(crowd, taxonomy, vetted, seed):
    _, table = crowd
    shuffled = table.sample(frac=1, random_state=seed)
    again = vet(shuffled, taxonomy)
    for name in ("photos", "people", "opinions", "heads"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(vetted, name))


def test_where_quarantined_people_alone_spoke_a_photo_is_quarantined(opinions, taxonomy):
    table = opinions(("eve", "p1", "hash"), ("eve", "p2", "hash"), ("ada", "p2", "plant"))
    vetted = vet(table, taxonomy, people={"quarantined": ["eve"]})
    photos = vetted.photos.set_index("photo_id")
    assert photos["status"].to_dict() == {"p1": "quarantined", "p2": "accepted"}
    assert "eve is quarantined by configuration" in photos.loc["p1", "reason"]
    assert vetted.opinions["status"].tolist() == ["quarantined", "quarantined", "counted"]


def gold(head, labels):
    photos = pd.Series(list(labels), dtype="str")
    return pd.DataFrame(
        {"photo_id": photos, "head": head, "label": pd.Series(list(labels.values()), dtype=object)}
    )


def test_gold_attributes_teach_too(opinions, taxonomy):
    rows = [(who, f"g{i}", there) for i in range(20) for who, there in SEEDS_OR_NOT.items()]
    known = gold("look", {f"g{i}": ["seeds"] for i in range(20)})
    people = vet(opinions(*rows, head="look"), taxonomy, Evidence(known=known)).people
    assert people.set_index("person")["accuracy"].between([0.9, 0.4], [1, 0.6]).all()


SEEDS_OR_NOT = {"ada": ["seeds"], "ben": ["seeds", "mould"]}
"""Of two attributes ben has one wrong."""


def test_gold_photos_teach_about_people_and_are_not_labelled_anew(opinions, taxonomy):
    rows = [("ada", f"g{i}", "plant") for i in range(20)]
    rows += [("eve", f"g{i}", "hash") for i in range(20)]
    rows += [("ada", "g20", None, {"verdict": "unsure"}), ("eve", "g21", "hash")]
    known = gold("kind", {f"g{i}": "plant" for i in range(22)})
    vetted = vet(opinions(*rows, gold=True), taxonomy, Evidence(known=known))
    people = vetted.people.set_index("person")
    assert people["gold"].tolist() == [20, 21]
    # By hand: the prior times a^20, and times (1 - a)^21.
    grid = np.linspace(0.0005, 0.9995, 1000)
    for person, likelihood in (("ada", grid**20), ("eve", (1 - grid) ** 21)):
        posterior = typical_density(grid) * likelihood
        expected = posterior @ grid / posterior.sum()
        assert people.loc[person, "accuracy"] == pytest.approx(expected, abs=0.005)
    assert people["quarantined"].tolist() == [False, True]
    assert vetted.photos.empty


def newcomer(opinions, count, minutes):
    rows = [("new", f"p{i:03}", "hash", {"at": START + i * minutes}) for i in range(count)]
    return opinions(*rows, confidence=0.8)


def test_on_one_person_alone_rest_no_more_labels_than_the_cap(opinions, taxonomy):
    table = newcomer(opinions, 100, timedelta(hours=1))
    photos = vet(table, taxonomy, caps={"person": 0.3, "burst": 1.0, "fewest": 5}).photos
    assert (photos["status"] == "accepted").sum() == 30
    held = photos[photos["status"] == "undecided"]
    assert held["reason"].str.endswith("one person already, until somebody else agrees").all()
    assert (
        vet(table, taxonomy, caps={"person": 1.0, "burst": 1.0}).photos["status"] == "accepted"
    ).all()


def test_on_one_burst_rest_no_more_labels_than_its_cap(opinions, taxonomy):
    quick, slow = timedelta(seconds=20), timedelta(minutes=11)
    caps = {"person": 1.0, "burst": 0.1, "fewest": 5}
    photos = vet(newcomer(opinions, 100, quick), taxonomy, caps=caps).photos
    assert (photos["status"] == "accepted").sum() == 10
    assert photos["reason"].str.contains("one burst of one person already").sum() == 90
    photos = vet(newcomer(opinions, 100, slow), taxonomy, caps=caps).photos
    assert (photos["status"] == "accepted").all()


def test_who_has_proven_reliable_has_no_cap(opinions, taxonomy):
    rows = [("ada", f"g{i:02}", "plant") for i in range(60)]
    known = gold("kind", {f"g{i:02}": "plant" for i in range(60)})
    rows += [("ada", f"p{i}", "hash", {"confidence": 0.8}) for i in range(30)]
    caps = {"person": 0.0, "burst": 0.0, "fewest": 3}
    photos = vet(opinions(*rows), taxonomy, Evidence(known=known), caps=caps).photos
    assert (photos["status"] == "accepted").all()


def test_an_attribute_is_decided_by_itself(opinions, taxonomy):
    rows = [
        ("ada", "p1", ["seeds"]),
        ("ben", "p1", ["seeds", "mould"]),
        ("ada", "p2", []),
        ("ben", "p2", []),
    ]
    vetted = vet(opinions(*rows, head="look"), taxonomy, accept_from=0.8)
    attributes = vetted.attributes.set_index(["photo_id", "attribute"])
    assert attributes["label"].tolist()[0] == "present"
    assert attributes.loc[("p1", "seeds"), "status"] == "accepted"
    assert attributes.loc[("p1", "mould"), "status"] == "undecided"
    photos = vetted.photos.set_index("photo_id")
    assert photos["status"].to_dict() == {"p1": "undecided", "p2": "accepted"}
    assert photos.loc["p2", "label"] == []
    assert photos.loc["p1", "reason"].startswith("least sure: mould: ")
    labels = label_table(vetted, taxonomy).set_index("photo_id")
    assert labels.loc["p1", "look.seeds"] == 1
    assert labels["look.mould"].isna().tolist() == [True, False]
    assert labels["kind"].isna().all()


def test_a_label_that_the_parent_does_not_allow_is_refused(opinions, taxonomy):
    rows = [
        ("ada", "p1", "flower"),
        ("ada", "p1", "leaf", {"head": "part"}),
        ("ada", "p2", "flower"),
        ("ada", "p2", "bud", {"head": "part"}),
    ]
    photos = vet(opinions(*rows), taxonomy).photos.set_index(["photo_id", "head"])
    assert photos.loc[("p1", "part"), "status"] == "refused"
    assert "not possible where kind is 'flower'" in photos.loc[("p1", "part"), "reason"]
    assert photos.loc[("p1", "kind"), "status"] == "accepted"
    assert photos.loc[("p2", "part"), "status"] == "accepted"


def test_proposed_classes_are_counted(opinions, taxonomy):
    new = {"verdict": "proposed"}
    rows = [("ada", f"p{i}", "Rosin", new) for i in range(3)]
    rows += [("ben", f"p{i}", "rosin ", new) for i in range(1, 4)]
    rows += [("ben", "p9", "hash", new), ("eve", "p5", "kief", new)]
    table = opinions(*rows)
    vetted = vet(table, taxonomy, proposals={"photos": 4, "people": 2})
    first, second = (row for _, row in vetted.proposals.iterrows())
    assert (first["photos"], first["people"], first["enough"]) == (4, 2, True)
    assert first["photo_ids"] == ["p0", "p1", "p2", "p3"]
    assert (second["name"], second["photos"], second["enough"]) == ("kief", 1, False)
    photos = vetted.photos.set_index("photo_id")
    assert photos.loc["p9", ["label", "status"]].tolist() == ["hash", "accepted"]
    assert photos.loc["p1", ["label", "status"]].tolist() == [None, "undecided"]
    assert "'none of these'" in photos.loc["p1", "reason"]


def test_a_model_that_answered_speaks_too(opinions, taxonomy):
    """Two who disagree, and the model sides with one."""
    fields = {"answered": "plant", "answered_confidence": 0.8, "bundle_id": "b", "tier": "t"}
    rows = [("ada", "p1", "plant", fields), ("ben", "p1", "hash", fields)]
    table = opinions(*rows)
    photo = vet(table, taxonomy).photos.iloc[0]
    assert (photo["label"], photo["status"]) == ("plant", "accepted")
    assert "the model for 'plant' (0.80)" in photo["reason"]
    alone = vet(table, taxonomy, consensus={"model": False}).photos.iloc[0]
    assert alone["status"] == "undecided"
    answers = pd.DataFrame(
        {
            "photo_id": ["p1"],
            "head": ["kind"],
            "probs": [{"plant": 0.1, "flower": 0.0, "hash": 0.9}],
        }
    )
    told = vet(table, taxonomy, Evidence(answers=answers)).photos.iloc[0]
    assert told["label"] == "hash"


def test_a_photo_unlike_its_class_needs_somebody_else(opinions, taxonomy):
    random = np.random.default_rng(0)
    values = random.normal(0, 0.1, (303, 16)) + np.eye(16)[0]
    values[302] = np.eye(16)[7]
    photos = pd.DataFrame({"photo_id": [f"t{i}" for i in range(300)], "kind": "hash"})
    reference = Embedded(photos, values[:300])
    found = Embedded(pd.DataFrame({"photo_id": ["p1", "p2", "p3"]}), values[[300, 301, 302]])
    rows = [("ada", p, "hash", {"confidence": 0.8}) for p in ("p1", "p2", "p3")]
    evidence = Evidence(embeddings=found, reference=reference)
    status = vet(opinions(*rows), taxonomy, evidence).photos.set_index("photo_id")
    assert status["status"].tolist() == ["accepted", "accepted", "undecided"]
    assert "unlike training photos of this class (p = 0.003)" in status.loc["p3", "reason"]
    rows += [("ben", "p3", "hash")]
    again = vet(opinions(*rows), taxonomy, evidence).photos.set_index("photo_id")
    assert again.loc["p3", "status"] == "accepted"


def test_a_language_model_may_be_called_as_a_person_and_say_nothing(opinions, taxonomy):
    rows = [
        ("ada", "p1", "hash"),
        ("ben", "p1", "hash"),
        ("ada", "p2", "plant"),
        ("ada", "p1", "hash"),
    ]
    table = opinions(*rows)
    table["opinion_id"] = [str(i) for i in range(len(table))]
    alone = vet(table, taxonomy)
    model = opinions(("ada", "p1", "hash"), ("ada", "p2", "plant"))
    model = model.assign(annotator="model", opinion_id=["a", "b"], verdict="confirmed")
    model["label"] = pd.Series(["hash", None], dtype=object)
    vetted = vet(pd.concat([table, model], ignore_index=True), taxonomy)
    assert vetted.people["person"].tolist() == ["ada", "ben", "ada"]
    assert vetted.photos["photo_id"].tolist() == alone.photos["photo_id"].tolist()
    assert vetted.photos["label"].tolist() == alone.photos["label"].tolist()


SOON = [phase for phase in Phase if phase is not Phase.explain]

WORDS = st.sampled_from(["plant", "hash", "A+", "seeds", "leaf", "", "<b>", "'; DROP TABLE x", "ä"])
LABELS = st.one_of(st.none(), WORDS, st.lists(WORDS, max_size=3))


@settings(max_examples=15, deadline=None, phases=SOON)
@given(data=st.data())
def test_whatever_was_sent_every_photo_and_head_gets_a_status_and_a_reason(taxonomy, data):
    count = data.draw(st.integers(1, 12))

    def column(values):
        return data.draw(st.lists(values, min_size=count, max_size=count))

    shares = st.one_of(st.just(float("nan")), st.floats(-1, 2))
    table = pd.DataFrame(
        {
            "opinion_id": [str(i) for i in range(count)],
            "photo_id": column(st.sampled_from(["p1", "p2", "p3"])),
            "person": column(st.sampled_from(["ada", "ben", "<script>"])),
            "annotator": column(st.sampled_from(["person", "person", "model"])),
            "head": column(st.sampled_from(["kind", "grade", "look", "part", "smell"])),
            "verdict": column(
                st.sampled_from(
                    ["confirmed", "corrected", "unsure", "none_of_these", "proposed", "x"]
                )
            ),
            "label": pd.Series(column(LABELS), dtype=object),
            "confidence": column(shares),
            "seen_answer": column(st.booleans()),
            "at": pd.to_datetime([START] * count),
            "bundle_id": "",
            "tier": column(st.sampled_from(["tier1", "tier2"])),
            "answered": pd.Series(column(LABELS), dtype=object),
            "answered_confidence": column(shares),
            "audit": False,
            "gold": False,
        }
    )
    vetted = vet(table, taxonomy)
    spoke = table[table["annotator"] == "person"]
    found = list(zip(vetted.photos["photo_id"], vetted.photos["head"], strict=True))
    assert len(set(found)) == len(found)
    assert set(zip(spoke["photo_id"], spoke["head"], strict=True)) <= set(found)
    assert set(found) <= set(zip(table["photo_id"], table["head"], strict=True))
    assert set(vetted.photos["status"]) <= {"accepted", "undecided", "refused", "quarantined"}
    for reasons in (vetted.photos["reason"], vetted.opinions["reason"]):
        assert (reasons.str.len() > 0).all()
    accepted = vetted.photos[vetted.photos["status"] == "accepted"]
    of_people = set(zip(spoke["photo_id"], spoke["head"], strict=True))
    assert set(zip(accepted["photo_id"], accepted["head"], strict=True)) <= of_people
    assert accepted["confidence"].between(0.6, 1).all()
    known = {name: set(taxonomy[name].class_names) for name in accepted["head"]}
    for head, label in zip(accepted["head"], accepted["label"], strict=True):
        assert set([label] if isinstance(label, str) else label) <= known[head]
    label_table(vetted, taxonomy)
