"""From the store through vetting to accuracy after release."""

import shutil

import pytest

from cannabis_ml.feedback.audit import AuditParams
from cannabis_ml.feedback.release_accuracy import accuracy_after_release, audited_answers
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.vetting import Evidence, VettingParams, label_table, vet_opinions
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        {"name": "product", "classes": ["hash", "trim", "plant"]},
        {"name": "grade", "kind": "ordinal", "classes": ["A", "B", "F"]},
    ]
)


@pytest.fixture
def store(empty_sqlite, tmp_path):
    path = tmp_path / "feedback.db"
    shutil.copy(empty_sqlite, path)
    with FeedbackStore(f"sqlite:///{path}", str(tmp_path / "photos")) as opened:
        yield opened


def test_what_the_store_gives_is_vetted_and_audited(store, submit, encode, draw):
    confirmed = [{"head": head, "verdict": "confirmed"} for head in ("product", "grade")]
    corrected = [
        {"head": "product", "verdict": "corrected", "label": "trim", "confidence": 0.9},
        {"head": "grade", "verdict": "unsure"},
    ]
    first, second, gold = (encode(draw(seed=seed)) for seed in range(3))
    ids = {}
    for person, photo, opinions in [
        ("ann", first, confirmed),
        ("ben", first, confirmed),
        ("ann", second, corrected),
        ("ann", gold, confirmed),
    ]:
        sent = submit(person=person, opinions=opinions, seen_answer=False)
        ids[photo] = store.add(sent, photo).photo_id
    store.mark_audit([ids[first], ids[second]], 0.5)
    store.mark_gold({(ids[gold], "product"): "hash"})

    evidence = Evidence(known=store.gold(), answers=store.answers())
    vetted = vet_opinions(store.opinions(), TAXONOMY, VettingParams(), evidence)
    labels = label_table(vetted, TAXONOMY).set_index("photo_id")
    assert labels.loc[ids[first]].tolist() == ["hash", "A"]
    assert labels.loc[ids[second], "product"] == "trim"
    assert (ids[gold], "product") not in zip(
        vetted.photos["photo_id"], vetted.photos["head"], strict=True
    )
    assert vetted.people.set_index("person")["gold"].to_dict() == {"ann": 1, "ben": 0}

    params = AuditParams(correct_for_people=False)
    audited = audited_answers(store.opinions(), store.answers(), vetted.people, params)
    found = accuracy_after_release(audited, store.answers(), TAXONOMY, params).set_index("head")
    assert found["accuracy"].to_dict() == {"product": 0.5, "grade": 1.0}
    assert found["photos"].to_dict() == {"product": 2, "grade": 1}
    assert found.loc["product", "expected"] == pytest.approx(0.9)
