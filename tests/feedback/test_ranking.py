import numpy as np
import pandas as pd
import pytest

from cannabis_ml.errors import FeedbackError
from cannabis_ml.feedback.label_next.params import LabelNextParams
from cannabis_ml.feedback.label_next.pool import head_to_label
from cannabis_ml.feedback.label_next.ranking import (
    LIST_COLUMNS,
    advise_photos,
    list_label_errors,
    rank_photos,
)
from cannabis_ml.feedback.label_next.sheet import PhotoAdvice, render_sheet
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy.model_validate(
    {
        "heads": [
            {"name": "look", "kind": "multilabel", "classes": ["mould"]},
            {"name": "product", "classes": ["plant", "trim", "hash"]},
        ]
    }
)
HEAD = TAXONOMY["product"]


@pytest.fixture
def seen():
    """240 photos of 3 classes, every fourth labelled; 2 k and 2 k + 1 of one group from 200 on."""
    random = np.random.default_rng(0)
    number = np.arange(240)
    truth = number % 3
    names = np.array(HEAD.class_names, object)
    table = pd.DataFrame(
        {
            "photo_id": [f"{i:064x}" for i in number],
            "path": [f"/photos/{i}.jpg" for i in number],
            "group": [f"g{i // 2 if i >= 200 else i + 1000}" for i in number],
            "label": [names[k] if i % 4 == 0 else None for i, k in enumerate(truth)],
            "answered": names[truth],
            "confidence": random.uniform(0.5, 1, 240),
            "embedding": list(4 * np.eye(3, 8)[truth] + random.normal(size=(240, 8))),
            "answered.tier1": [None if i % 4 == 0 else names[k] for i, k in enumerate(truth)],
            "answered.tier3": [None if i % 4 == 0 else names[k] for i, k in enumerate(truth)],
        }
    )
    table.loc[[1, 2, 3], "answered.tier1"] = "hash"  # photo 2 shows hash: no disagreement
    return table


PARAMS = LabelNextParams(count=40, uniform_share=0.1, disagreement_share=0.1)


def test_the_list_has_every_kind_with_its_reason(seen):
    found = rank_photos(seen, HEAD, PARAMS)
    assert list(found) == list(LIST_COLUMNS)
    assert found["rank"].tolist() == list(range(1, 41))
    assert found["kind"].value_counts().to_dict() == {"margin": 34, "uniform": 4, "disagreement": 2}
    assert set(found.loc[found["kind"] == "disagreement", "photo_id"]) <= {
        f"{i:064x}" for i in (1, 3)
    }
    reason = found.loc[found["kind"] == "disagreement", "reason"].iloc[0]
    assert reason.startswith("tiers disagree: tier1 answers 'hash', tier3 answers")
    assert (found["audit"] == (found["kind"] == "uniform")).all()


def test_no_two_photos_of_a_group_and_none_with_a_label(seen):
    found = rank_photos(seen, HEAD, PARAMS)
    rows = seen.set_index("photo_id").loc[found["photo_id"]]
    assert rows["label"].isna().all()
    assert rows["group"].is_unique


def test_photos_drawn_uniformly_are_spread_over_the_list(seen):
    ranks = rank_photos(seen, HEAD, PARAMS).query("kind == 'uniform'")["rank"].tolist()
    assert ranks == [6, 16, 26, 36]  # in the middle of each ten


def test_without_labels_typical_photos_are_asked_for(seen):
    found = rank_photos(seen.assign(label=None), HEAD, PARAMS)
    assert set(found["kind"]) == {"typical", "uniform", "disagreement"}


def test_the_list_ends_with_the_photos(seen):
    few = seen[:8]
    assert len(rank_photos(few, HEAD, PARAMS)) == 6
    none = rank_photos(seen[seen["label"].notna()], HEAD, PARAMS)
    assert list(none) == list(LIST_COLUMNS)
    assert none.empty
    assert rank_photos(seen[:0], HEAD, PARAMS).empty


def test_the_same_seed_gives_the_same_list(seen):
    pd.testing.assert_frame_equal(rank_photos(seen, HEAD, PARAMS), rank_photos(seen, HEAD, PARAMS))


def test_wrong_labels_of_training_photos_are_listed(seen):
    pytest.importorskip("cleanlab", reason="cleanlab is in the extra `feedback`")
    seen.loc[0, "label"] = "trim"  # shows plant
    found = list_label_errors(seen, HEAD, PARAMS)
    assert found["path"].iloc[0] == "/photos/0.jpg"
    assert found["reason"].iloc[0].startswith("labelled 'trim' (")
    assert "looks like 'plant'" in found["reason"].iloc[0]
    assert list_label_errors(seen[:1], HEAD, PARAMS).empty


def test_advice_is_for_all_classes_and_for_those_most_often_missed(seen):
    params = LabelNextParams(most_classes=2, curves={"target": 0.9})
    found = advise_photos(seen, HEAD, params)
    assert [one.class_name is None for one in found] == [True, False, False]
    assert all(one.head == "product" for one in found)
    assert advise_photos(seen[:4], HEAD, params) == []


def test_the_head_is_one_that_has_single_classes():
    assert head_to_label(TAXONOMY, None).name == "product"
    with pytest.raises(FeedbackError, match=r"'look'.*are 'product'"):
        head_to_label(TAXONOMY, "look")


def test_the_sheet_shows_names_and_never_obeys_them(seen):
    found = rank_photos(seen, HEAD, PARAMS).assign(reason="<img src=x onerror=alert(1)>")
    errors = pd.DataFrame({"path": ["/none.jpg"], "label": ["<b>"], "reason": ["looks like 'x'"]})
    page = render_sheet(found, errors, PhotoAdvice(advice=[]))
    assert "<img src=x" not in page
    assert page.count("<figure>") == 41
    assert "labelled &lt;b&gt;" in page
