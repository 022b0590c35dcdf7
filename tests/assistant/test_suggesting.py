"""Suggestions in the store: opinions of a model, put before people, and never labels."""

import json
from datetime import UTC, datetime

import pytest
from model_server import example_of

from cannabis_ml.assistant.outgoing import photos_in
from cannabis_ml.assistant.params import SuggestParams
from cannabis_ml.assistant.suggesting import label_questions, read_all, to_store
from cannabis_ml.errors import ConfigError
from cannabis_ml.feedback.label_studio import tasks_of
from cannabis_ml.feedback.store import FeedbackStore
from cannabis_ml.feedback.submission import read_submission
from cannabis_ml.feedback.vetting import VettingParams, vet_opinions
from cannabis_ml.taxonomy import Taxonomy

PARAMS = SuggestParams()


@pytest.fixture
def store(tmp_path):
    with FeedbackStore(f"sqlite:///{tmp_path}/feedback.db") as opened:
        yield opened


def answer(asked):
    return example_of(asked.schema) | {
        "product": {"label": "hash", "confidence": 0.8},
        "grade": {"label": "(not sure)", "confidence": 0.3},
        "look": {"label": ["stems"], "confidence": 0.7},
        "symptoms": ["white <b>powder</b>"],
    }


@pytest.fixture
def suggested(server, runner, store, taxonomy):
    """Ask about a folder and keep what is suggested."""
    server.answer = answer

    def suggest(photos):
        made = runner()
        result = made.run(label_questions(photos_in(photos), taxonomy, PARAMS))
        return to_store(store, read_all(result.outcomes, taxonomy, PARAMS), "org/m 1")

    return suggest


def test_suggestions_are_opinions_of_a_model(suggested, store, folder, taxonomy):
    photos = folder(3)
    assert suggested(photos) == []
    assert suggested(photos) == []  # twice is once
    opinions = store.opinions(history=True)
    assert len(opinions) == 9
    assert set(opinions["annotator"]) == {"model"}
    assert set(opinions["person"]) == {"assistant:org-m-1"}
    first = opinions[opinions["photo_id"] == opinions["photo_id"].iloc[0]].set_index("head")
    assert first.loc["product", ["label", "confidence", "verdict"]].tolist() == [
        "hash",
        0.8,
        "corrected",
    ]
    assert first.loc["grade", "verdict"] == "unsure"
    assert first.loc["look", "label"] == ["stems"]
    (notes,) = {json.dumps(m, sort_keys=True) for m in store.photos()["metadata"]}
    assert json.loads(notes)["symptoms"] == "white b powder /b"


def test_nothing_is_accepted_that_no_person_spoke_on(suggested, store, folder, taxonomy):
    suggested(folder(3))
    vetted = vet_opinions(store.opinions(), taxonomy, VettingParams())
    assert set(vetted.photos["status"]) == {"undecided"}
    mine = vetted.photos[vetted.photos["head"] == "product"]
    assert set(mine["reason"]) == {"suggested by a language model alone: waits for a person"}
    assert set(mine["opinions"]) == {0}


def test_they_wait_for_people_with_the_suggestion_and_what_people_say_counts(
    suggested, store, folder, taxonomy
):
    suggested(folder(3))
    count, waiting = store.waiting("ada", 1, 10)
    assert count == 3
    (one, *_) = waiting
    assert one.suggestion.heads["product"].label == "hash"
    assert "grade" not in one.suggestion.heads
    assert one.reason == "suggested by a language model; it sees: white b powder /b"
    submission = read_submission(
        {
            "key": "k1",
            "person": "ada",
            "at": datetime.now(UTC).isoformat(),
            "photo_id": one.photo_id,
            "answered": one.suggestion.model_dump(mode="json"),
            "opinions": [{"head": "product", "verdict": "confirmed"}],
        }
    )
    store.add(submission)
    assert store.waiting("ada", 1, 10)[0] == 2
    assert store.answers().empty  # what a language model suggests is no bundle's answer
    opinions = store.opinions()
    own = opinions[opinions["person"] == "ada"].iloc[0]
    assert (own["label"], own["answered"], own["bundle_id"]) == ("hash", None, "")
    vetted = vet_opinions(opinions, taxonomy, VettingParams())
    photo = vetted.photos.set_index(["photo_id", "head"]).loc[(one.photo_id, "product")]
    assert (photo["label"], photo["status"], photo["opinions"]) == ("hash", "accepted", 1)
    assert photo["reason"] == "one person of whom little is known: confirmed: 0.95"


def test_a_second_folder_leaves_the_first_in_the_queue(suggested, store, folder, tmp_path):
    suggested(folder(3))
    more = tmp_path / "more"
    more.mkdir()
    for number, file in enumerate(sorted(folder(5).iterdir())[3:]):
        file.rename(more / f"{number}.jpg")
    suggested(more)
    count, waiting = store.waiting("ada", 1, 10)
    assert count == 5
    assert {one.suggestion.heads["product"].label for one in waiting} == {"hash"}


def test_label_studio_shows_them_as_pre_annotations_and_not_as_peoples(suggested, store, folder):
    suggested(folder(2))
    for task in tasks_of(store, str):
        assert "annotations" not in task
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "assistant:org-m-1"
        assert prediction["score"] == 0.7
        choices = {r["from_name"]: r["value"]["choices"] for r in prediction["result"]}
        assert choices == {"product": ["hash"], "look": ["stems"]}


def test_what_contradicts_the_taxonomy_is_left_out_and_needs_review(server, runner, folder):
    taxonomy = Taxonomy.model_validate(
        {
            "heads": [
                {"name": "crop", "classes": ["apple", "maize"]},
                {
                    "name": "disease",
                    "classes": ["scab", "rust"],
                    "parent": "crop",
                    "allowed": {"apple": ["scab"], "maize": ["rust"]},
                },
            ]
        }
    )
    server.answer = lambda asked: (
        example_of(asked.schema)
        | {
            "crop": {"label": "apple", "confidence": 0.9},
            "disease": {"label": "rust", "confidence": 0.9},
        }
    )
    result = runner().run(label_questions(photos_in(folder(1)), taxonomy, PARAMS))
    (one,) = read_all(result.outcomes, taxonomy, PARAMS)
    assert one.heads["crop"].label == "apple"
    assert one.heads["disease"].label is None
    assert one.needs_review


def test_an_unknown_head_is_named(taxonomy, folder):
    with pytest.raises(ConfigError, match="heads are product, grade, look"):
        label_questions(photos_in(folder(1)), taxonomy, SuggestParams(heads=("smell",)))
