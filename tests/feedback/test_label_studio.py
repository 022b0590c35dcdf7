"""Tasks go to Label Studio, and what people answered there comes back."""

import json
from xml.etree import ElementTree

import pytest

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.label_studio import interface, tasks_of, write_tasks
from cannabis_ml.feedback.label_studio_import import import_tasks
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "product", "classes": ["hash", "trim", 'a "&" b']},
            {"name": "grade", "kind": "ordinal", "classes": ["A", "B"]},
            {"name": "look", "kind": "multilabel", "classes": ["sticky", "frosty"]},
        ]
    }
)


@pytest.fixture
def photo_id(store, submit, encode):
    """Of a photo with an answer: product hash (0.9), grade A (0.6)."""
    return store.add(submit(opinions=[]), encode()).photo_id


@pytest.fixture
def annotate(store, photo_id, tmp_path):
    """Import the exported tasks with an annotation by user 7 of Label Studio."""

    def annotate(choices, tasks=None, **changes):
        tasks = tasks or tasks_of(store, lambda address: f"/data/local-files/?d={address}")
        result = [
            {
                "id": "Dx_aB91ISN",
                "from_name": head,
                "to_name": "image",
                "type": "choices",
                "origin": "manual",
                "value": {"choices": chosen},
            }
            for head, chosen in choices.items()
        ]
        annotation = {
            "id": 1001,
            "completed_by": {"id": 7, "email": "someone@example.com", "first_name": "S"},
            "result": result,
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": "2026-05-01T10:00:00.749513Z",
            "updated_at": "2026-05-01T11:00:00.749513Z",
            "lead_time": 4.288,
        } | changes
        for number, task in enumerate(tasks):
            task |= {"id": number + 1, "project": 83, "annotations": [annotation]}
        file = tmp_path / "export.json"
        file.write_text(json.dumps(tasks), "utf-8")
        return import_tasks(store, file, TAXONOMY)

    return annotate


def test_the_interface_offers_every_class_and_two_ways_out():
    view = ElementTree.fromstring(interface(TAXONOMY))
    choices = {c.get("name"): [o.get("value") for o in c] for c in view.iter("Choices")}
    assert choices["product"] == ["hash", "trim", 'a "&" b', "(not sure)", "(none of these)"]
    kinds = {c.get("name"): (c.get("choice"), c.get("toName")) for c in view.iter("Choices")}
    assert kinds == {
        "product": ("single", "image"), "grade": ("single", "image"), "look": ("multiple", "image"),
    }  # fmt: skip
    assert view.find("Image").get("value") == "$image"


def test_a_task_carries_the_photo_and_what_was_answered(store, photo_id):
    (task,) = tasks_of(store, lambda address: f"s3://bucket/{address.rpartition('/')[2]}")
    assert task["data"]["image"] == f"s3://bucket/{photo_id}.jpg"
    assert task["data"]["photo_id"] == photo_id
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("bundle-1", 0.6)
    assert prediction["result"][0] == {
        "from_name": "product", "to_name": "image", "type": "choices",
        "value": {"choices": ["hash"]},
    }  # fmt: skip


def test_an_annotation_becomes_an_opinion_that_saw_the_answer(store, annotate, photo_id):
    imported = annotate({"product": ["trim"], "grade": ["A"], "look": ["sticky", "frosty"]})
    assert (imported.submissions, imported.opinions, imported.refused) == (1, 3, ())
    table = store.opinions().set_index("head")
    assert table["verdict"].to_dict() == {
        "product": "corrected", "grade": "confirmed", "look": "corrected",
    }  # fmt: skip
    assert table["label"].to_dict() == {
        "product": "trim",
        "grade": "A",
        "look": ["frosty", "sticky"],
    }
    row = table.loc["product"]
    assert (row["person"], row["photo_id"], row["bundle_id"]) == (
        "label-studio-7",
        photo_id,
        "bundle-1",
    )
    assert (row["answered"], row["answered_confidence"], row["tier"]) == ("hash", 0.9, "tier1")
    assert row["seen_answer"]
    assert row["at"].isoformat() == "2026-05-01T11:00:00.749513+00:00"


def test_the_same_export_twice_is_one_and_a_changed_annotation_replaces(store, annotate):
    annotate({"product": ["trim"]})
    assert annotate({"product": ["trim"]}).retries == 1
    annotate({"product": ["hash"]}, updated_at="2026-05-01T11:30:00Z")
    assert store.opinions()["verdict"].tolist() == ["confirmed"]
    assert len(store.opinions(history=True)) == 2


def test_ways_out_are_verdicts_and_skipped_tasks_are_nothing(store, annotate):
    annotate({"product": ["(not sure)"], "grade": ["(none of these)"]})
    verdicts = store.opinions().set_index("head")["verdict"].to_dict()
    assert verdicts == {"product": "unsure", "grade": "none_of_these"}
    assert annotate({"product": ["trim"]}, was_cancelled=True).submissions == 0


def test_without_a_prediction_nobody_had_seen_an_answer(store, annotate, photo_id):
    annotate({"product": ["trim"]}, tasks=[{"data": {"image": f"/data/upload/3/{photo_id}.jpg"}}])
    (row,) = store.opinions().to_dict("records")
    assert (row["seen_answer"], row["bundle_id"], row["verdict"]) == (False, "", "corrected")


def test_ground_truth_becomes_gold(store, annotate):
    annotate({"product": ["trim"], "grade": ["A"]}, ground_truth=True)
    gold = store.gold().set_index("head")["label"].to_dict()
    assert gold == {"product": "trim", "grade": "A"}
    assert store.opinions()["gold"].all()


@pytest.mark.parametrize(
    ("choices", "changes", "reason"),
    [
        ({"product": ["kief"]}, {}, "'kief' is not a class of 'product'"),
        ({"product": ["hash", "trim"]}, {}, "'product' has 2 choices, not one"),
        ({"color": ["red"]}, {}, "has no choice of a head of the taxonomy"),
        ({"product": ["<script>"]}, {}, "must not hold '<'"),
        ({"product": ["trim"]}, {"completed_by": None}, "completed_by: is missing"),
        ({"product": ["trim"]}, {"created_at": None, "updated_at": None}, "updated_at: is missing"),
        ({"product": ["trim"]}, {"updated_at": "2036-05-01T11:00:00Z"}, "is in the future"),
        ({"product": ["trim"]}, {"result": "x"}, "annotations.0.result"),
    ],
)
def test_a_bad_annotation_is_refused_with_its_place(store, annotate, choices, changes, reason):
    imported = annotate(choices, **changes)
    assert imported.submissions == 0
    ((where, why),) = imported.refused
    assert where.startswith("task 1")
    assert reason in why


@pytest.mark.parametrize("text", ["{", "{}", "3", "[" * 100_000], ids=["cut", "dict", "3", "deep"])
def test_another_file_is_refused(store, tmp_path, text):
    file = tmp_path / "export.json"
    file.write_text(text)
    with pytest.raises(FeedbackError, match=r"export\.json"):
        import_tasks(store, file, TAXONOMY)


def test_opinions_go_to_another_store_by_way_of_a_file(store, submit, encode, tmp_path):
    opinions = [
        {"head": "product", "verdict": "corrected", "label": "trim"},
        {"head": "grade", "verdict": "unsure"},
        {"head": "look", "verdict": "corrected", "label": ["frosty"]},
    ]
    for name in ("ann", "bob"):
        store.add(submit(person=name, opinions=opinions), encode())
    write_tasks(tasks_of(store, str), tmp_path / "tasks.json")
    with FeedbackStore(f"sqlite:///{tmp_path}/other.db", clock=store.clock) as other:
        imported = import_tasks(other, tmp_path / "tasks.json", TAXONOMY)
        assert (imported.opinions, imported.refused) == (6, ())
        columns = ["person", "head", "verdict", "answered", "photo_id"]
        before, after = (
            table.sort_values(["person", "head"])[columns].to_json(orient="records")
            for table in (store.opinions(), other.opinions())
        )
        assert before == after
