"""A bundle looks at photos; the list, the sheet and the tasks follow from what it sees."""

import sys
from datetime import UTC, datetime

import datasets
import numpy as np
import pandas as pd
import pytest

from cannabis_ml.feedback.label_next.params import LabelNextParams
from cannabis_ml.feedback.label_next.sheet import PhotoAdvice
from cannabis_ml.feedback.opinions import Opinion, opinions_table
from cannabis_ml.feedback.snapshot import FeedbackSnapshot
from cannabis_ml.inference.outputs import EMBEDDING
from cannabis_ml.photo_sets.feedback_source import empty_feedback_photos
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.label_next import create_pipeline
from cannabis_ml.pipelines.label_next.nodes import (
    draw_contact_sheet,
    list_label_studio_tasks,
    look_at_photos,
    put_up_for_review,
    rank,
)
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "product", "classes": ["red", "blue"]}]})
SETTINGS = LabelNextParams(count=8, uniform_share=0.25, disagreement_share=0.25)


class Answered:
    def __init__(self, probs):
        self.probs = probs
        self.decided = TAXONOMY["product"].class_names[int(probs.argmax())]


class Eye:
    """Tells red from blue by the mean color; `contrary` answers the opposite."""

    def __init__(self, contrary=False):
        self.contrary, self.looked = contrary, 0

    def outputs(self, photos):
        self.looked += len(photos)
        means = np.array([photo.mean(axis=(0, 1)) / 255 for photo in photos], np.float32)
        return {EMBEDDING: means}

    def answer(self, outputs, row):
        red, _, blue = outputs[EMBEDDING][row]
        probs = np.array([red, blue]) / (red + blue)
        return {"product": Answered(probs[::-1] if self.contrary else probs)}


class FakeBundle:
    taxonomy = TAXONOMY
    tiers = ("tier1", "tier3")

    def __init__(self, contrary=False):
        self.eyes = {"tier1": Eye(contrary), "tier3": Eye()}

    def predictor(self, tier):
        return self.eyes[tier]

    @property
    def manifest(self):
        return type("Manifest", (), {"content_sha256": "b" * 64})


def color(seed):
    random = np.random.default_rng(seed)
    photo = random.integers(0, 90, (24, 24, 3), dtype=np.uint8)
    photo[..., 0 if seed % 2 else 2] += np.uint8(60 + seed)
    return photo


@pytest.fixture(scope="module")
def photo_set():
    """40 training photos, 30 of them labelled, and 10 test photos that nobody may look at."""
    names = [["blue", "red"][i % 2] if i < 30 or i >= 40 else None for i in range(50)]
    table = {
        "photo_id": [f"{i:064x}" for i in range(50)],
        "path": [f"/photos/{i}.png" for i in range(50)],
        "group": [f"g{i}" for i in range(50)],
        "split": ["train"] * 40 + ["test"] * 10,
        "product": names,
        "image": [color(i) for i in range(50)],
    }
    features = {n: datasets.Value("string") for n in table if n != "image"}
    kinds = datasets.Features({**features, "image": datasets.Image()})
    return PhotoSet(datasets.Dataset.from_dict(table, features=kinds))


@pytest.fixture
def store(tmp_path, encode):
    """4 photos: one accepted, one in the photo set under another hash, one unreadable, one new."""
    from PIL import Image

    paths = {}
    for i, name in enumerate(["accepted", "known", "broken", "new"]):
        path = tmp_path / f"{name}.png"
        path.write_bytes(encode(Image.fromarray(color(60 + i)), "PNG"))
        paths[name * 8] = str(path)
    (tmp_path / "broken.png").write_bytes(b"oops")
    sent = [[], [f"{3:064x}"], [], []]
    photos = pd.DataFrame({"photo_id": list(paths), "sent_sha256": sent})
    return FeedbackSnapshot(photos=photos, paths=paths)


@pytest.fixture
def accepted():
    table = {"photo_id": ["accepted" * 8], "path": ["/x"], "sent_as": [""], "product": ["red"]}
    return pd.DataFrame(table, dtype="str")


def test_training_photos_and_those_of_feedback_are_looked_at(photo_set, store, accepted):
    bundle = FakeBundle()
    seen = look_at_photos(bundle, photo_set, store, accepted, SETTINGS)
    assert len(seen) == 42
    ids = set(seen["photo_id"])
    assert {"accepted" * 8, "new" * 8} <= ids
    assert not {"known" * 8, "broken" * 8, f"{45:064x}"} & ids
    by_id = seen.set_index("photo_id")
    assert by_id.loc["accepted" * 8, "label"] == "red"
    assert seen["label"].isna().sum() == 11
    assert bundle.eyes["tier3"].looked == 42
    assert bundle.eyes["tier1"].looked == 11  # only those without a label


def test_held_out_photos_are_never_put_up(photo_set, store):
    seen = look_at_photos(FakeBundle(), photo_set, store, empty_feedback_photos(), SETTINGS)
    assert not {f"{i:064x}" for i in range(40, 50)} & set(seen["photo_id"])


def test_photos_on_which_tiers_disagree_are_on_the_list(photo_set):
    bundle = FakeBundle(contrary=True)
    seen = look_at_photos(bundle, photo_set, FeedbackSnapshot(), empty_feedback_photos(), SETTINGS)
    found = rank(seen, bundle, SETTINGS)
    assert found["kind"].value_counts().to_dict() == {"margin": 4, "disagreement": 2, "uniform": 2}


ERRORS = pd.DataFrame(
    {
        "photo_id": ["e" * 64],
        "path": ["/photos/e.png"],
        "label": ["red"],
        "suggested": ["blue"],
        "suggested_prob": [0.9],
        "reason": ["labelled 'red' (5%), looks like 'blue' (90%)"],
    }
)


def test_both_lists_are_put_up_for_review(photo_set):
    bundle = FakeBundle()
    seen = look_at_photos(bundle, photo_set, FeedbackSnapshot(), empty_feedback_photos(), SETTINGS)
    listed = rank(seen, bundle, SETTINGS)
    *photos, error = put_up_for_review(listed, ERRORS, bundle, SETTINGS).entries
    assert [one.photo_id for one in photos] == listed["photo_id"].tolist()
    assert [one.rank for one in photos] == list(range(1, 9))
    assert [one.blind for one in photos] == listed["audit"].tolist()
    answered = [one.suggestion.heads["product"].label for one in photos]
    assert answered == listed["answered"].tolist()
    assert {(one.suggestion.bundle_id, one.suggestion.tier) for one in photos} == {
        ("b" * 64, "tier3")
    }
    assert (error.source, error.kind, error.path) == ("label_error", "label_error", "/photos/e.png")
    assert error.suggestion.heads["product"].label == "blue"
    assert error.reason == ERRORS["reason"][0]


def test_empty_lists_put_nothing_up(photo_set):
    bundle = FakeBundle()
    seen = look_at_photos(bundle, photo_set, FeedbackSnapshot(), empty_feedback_photos(), SETTINGS)
    listed = rank(seen, bundle, SETTINGS)
    found = put_up_for_review(listed[:0], ERRORS[:0], bundle, SETTINGS)
    assert (found.sources, found.entries) == (("label_next", "label_error"), ())


def test_tasks_hide_the_answer_where_accuracy_is_measured(photo_set):
    bundle = FakeBundle()
    seen = look_at_photos(bundle, photo_set, FeedbackSnapshot(), empty_feedback_photos(), SETTINGS)
    listed = rank(seen, bundle, SETTINGS)
    settings = SETTINGS.model_copy(update={"image_prefix": "/data/local-files/?d=x"})
    tasks = list_label_studio_tasks(listed, ERRORS, bundle, FeedbackSnapshot(), settings)
    assert len(tasks) == 9
    for task, audit in zip(tasks, listed["audit"], strict=False):
        assert ("predictions" in task) != audit
        assert task["data"]["image"].startswith("/data/local-files/?d=x/photos/")
        assert task["data"]["reason"]
    choice = tasks[-1]["predictions"][0]["result"][0]["value"]["choices"]
    assert choice == ["blue"]
    page = draw_contact_sheet(listed, ERRORS, PhotoAdvice(advice=[]), FeedbackSnapshot())
    assert page.count("<figure>") == 9


def test_what_a_language_model_suggests_stands_beside_the_models_answer(photo_set, store):
    """On the sheet and in the tasks, but not where accuracy is measured or a person spoke."""
    bundle = FakeBundle()
    seen = look_at_photos(bundle, photo_set, FeedbackSnapshot(), empty_feedback_photos(), SETTINGS)
    listed = rank(seen, bundle, SETTINGS)
    audited = dict(zip(listed["photo_id"], listed["audit"], strict=True))
    known = {name * 8: [] for name in ("new", "judged")} | {
        f"s{n}": [p] for n, p in enumerate(audited)
    }
    rows = [(photo, "model") for photo in known] + [("judged" * 8, "person")]
    opinions = opinions_table(
        Opinion(
            opinion_id=f"{photo}{annotator}",
            photo_id=photo,
            person="assistant:m",
            annotator=annotator,
            head="product",
            verdict="corrected",
            label="<b>",
            confidence=0.7,
            at=datetime(2026, 5, 1, tzinfo=UTC),
        )
        for photo, annotator in rows
    )
    photos = pd.DataFrame({"photo_id": list(known), "sent_sha256": list(known.values())})
    given = FeedbackSnapshot(opinions=opinions, photos=photos, paths=store.paths)
    tasks = list_label_studio_tasks(listed, ERRORS, bundle, given, SETTINGS)
    for task in tasks[:-1]:
        versions = [each["model_version"] for each in task.get("predictions", ())]
        if audited[task["data"]["photo_id"]]:
            assert versions == []
        else:
            assert versions == ["b" * 64, "assistant:m"]
            assert task["predictions"][1]["score"] == 0.7
    page = draw_contact_sheet(listed, ERRORS, PhotoAdvice(advice=[]), given)
    shown = "product: &lt;b&gt; (70%)"
    assert page.count(f"a language model suggests {shown}") == sum(
        not one for one in audited.values()
    )
    hidden = sum(audited.values())
    assert hidden > 0
    assert f"{len(audited) - hidden + 1} photos that nobody has judged yet" in page
    assert "<b>" not in page.replace("<b><bdi>", "")


def test_the_pipeline_names_no_training_framework():
    for node in create_pipeline().nodes:
        module = sys.modules[node.func.__module__]
        assert not {"torch", "lightning", "timm"} & set(vars(module))
