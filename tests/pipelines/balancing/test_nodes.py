import hashlib
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.pipelines.balancing import create_pipeline
from cannabis_ml.pipelines.balancing.nodes import balance_classes, draw_balance
from cannabis_ml.pipelines.balancing.params import BalancingParams
from cannabis_ml.splits import Split
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        {"name": "kind", "classes": ["leaf", "root", "seed"]},
        {"name": "grade", "kind": "ordinal", "classes": ["A", "B"]},
        {"name": "look", "kind": "multilabel", "classes": ["red"]},
    ]
)


def photo_set(kinds, grades=None, splits=None):
    """Photos whose image column is no image: it must not be looked at."""
    count = len(kinds)
    frame = pd.DataFrame(
        {
            "photo_id": [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)],
            "image": ["not a photo"] * count,
            "split": splits or ["train"] * count,
            "kind": pd.array(kinds, dtype="string"),
            "grade": pd.array(grades or ["A"] * count, dtype="string"),
        }
    )
    return PhotoSet(Dataset.from_pandas(frame, preserve_index=False))


def balance(photos, **params):
    return balance_classes(photos, TAXONOMY, BalancingParams(**params))


def counts(rows, photos, head="kind"):
    return Counter(photos.arrow[head][row] for row in rows["row"])


def test_none_shows_every_training_photo_once():
    rows, weights = balance(photo_set(["leaf"] * 3 + ["root"]))
    assert rows["row"].tolist() == [0, 1, 2, 3]
    assert rows["weight"].tolist() == [1.0] * 4
    assert weights == {"kind": {"leaf": 1.0, "root": 1.0, "seed": 1.0}}
    assert rows.dtypes.astype(str).tolist() == ["int64", "float64"]


def test_oversampling_repeats_up_to_the_largest_class():
    photos = photo_set(["leaf"] * 5 + ["root"] * 2 + ["seed"])
    rows, weights = balance(photos, strategy="oversample")
    assert counts(rows, photos) == {"leaf": 5, "root": 5, "seed": 5}
    # 5 rows of 2 photos: one three times, the other twice.
    assert sorted(Counter(rows["row"][rows["row"].isin([5, 6])]).values()) == [2, 3]
    assert rows["row"].is_monotonic_increasing
    assert set(rows["weight"]) == {1.0}
    assert set(weights["kind"].values()) == {1.0}


def test_undersampling_leaves_out_down_to_the_smallest_class():
    photos = photo_set(["leaf"] * 5 + ["root"] * 2)
    rows, _ = balance(photos, strategy="undersample")
    assert counts(rows, photos) == {"leaf": 2, "root": 2}
    assert rows["row"].is_unique


def test_weights_are_total_over_classes_times_count():
    rows, weights = balance(photo_set(["leaf"] * 6 + ["root"] * 3 + ["seed"]), strategy="weighted")
    # 10 photos, 3 classes: 10/(3x6), 10/(3x3), 10/(3x1).
    expected = {"leaf": 10 / 18, "root": 10 / 9, "seed": 10 / 3}
    assert weights["kind"] == pytest.approx(expected, rel=1e-15)
    assert rows["weight"].tolist() == pytest.approx([10 / 18] * 6 + [10 / 9] * 3 + [10 / 3])
    assert rows["weight"].mean() == pytest.approx(1)


def test_effective_number_by_hand():
    photos = photo_set(["leaf"] * 3 + ["root"])
    rows, weights = balance(photos, strategy="effective_number", beta=0.5)
    # (1-0.5)/(1-0.5^3) = 0.571429 and (1-0.5)/(1-0.5) = 1, scaled to sum to 2: 8/11 and 14/11.
    assert weights["kind"] == pytest.approx({"leaf": 8 / 11, "root": 14 / 11, "seed": 1.0})
    assert rows["weight"].tolist() == pytest.approx([8 / 11] * 3 + [14 / 11])


def test_effective_number_goes_from_equal_to_inverse_frequency():
    photos = photo_set(["leaf"] * 30 + ["root"] * 10)
    _, equal = balance(photos, strategy="effective_number", beta=0)
    assert equal["kind"]["leaf"] == equal["kind"]["root"] == 1.0
    _, inverse = balance(photos, strategy="effective_number", beta=1 - 1e-12)
    assert inverse["kind"]["root"] / inverse["kind"]["leaf"] == pytest.approx(3)


def test_only_the_training_split_counts():
    photos = photo_set(
        ["leaf", "root", "leaf", "root", "root"], splits=["train", "test", "train", "train", "test"]
    )
    rows, weights = balance(photos, strategy="weighted")
    assert rows["row"].tolist() == [0, 2, 3]
    assert weights["kind"]["leaf"] == pytest.approx(3 / 4)
    assert weights["kind"]["root"] == pytest.approx(3 / 2)


@pytest.mark.parametrize("strategy", ["oversample", "undersample", "weighted", "effective_number"])
def test_photos_without_the_label_are_shown_once_with_weight_one(strategy):
    photos = photo_set([None, "leaf", "leaf", "root", None])
    rows, _ = balance(photos, strategy=strategy)
    unlabelled = rows[rows["row"].isin([0, 4])]
    assert unlabelled["row"].tolist() == [0, 4]
    assert unlabelled["weight"].tolist() == [1.0, 1.0]


def test_several_heads_are_balanced_jointly():
    kinds = ["leaf"] * 4 + ["root"] * 3
    grades = ["A", "A", "A", "B", "A", "B", "B"]
    photos = photo_set(kinds, grades)
    rows, _ = balance(photos, strategy="oversample", heads=["kind", "grade"])
    joint = Counter((kinds[row], grades[row]) for row in rows["row"])
    assert set(joint.values()) == {3}
    assert len(joint) == 4
    rows, weights = balance(photos, strategy="weighted", heads=["kind", "grade"])
    # 7 photos in 4 combinations of 3, 1, 1 and 2; per head 7/(2x4), 7/(2x3).
    assert rows["weight"].tolist() == pytest.approx([7 / 12] * 3 + [7 / 4] * 2 + [7 / 8] * 2)
    assert weights["kind"]["leaf"] == pytest.approx(7 / 8)
    assert weights["grade"]["B"] == pytest.approx(7 / 6)


def test_a_seed_chooses_other_photos():
    photos = photo_set(["leaf"] * 50 + ["root"] * 5)
    chosen = [
        tuple(balance(photos, strategy="undersample", seed=seed)[0]["row"]) for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_added_photos_leave_earlier_choices_nearly_alone():
    before = photo_set(["leaf"] * 400 + ["root"] * 100)
    after = photo_set(["leaf"] * 400 + ["root"] * 100 + ["leaf"] * 4)
    first, second = (
        set(balance(photos, strategy="undersample")[0]["row"]) for photos in (before, after)
    )
    assert len(first - second) <= 4


def test_ties_are_broken_evenly():
    photos = photo_set(["leaf"] * 4000 + ["root"] * 1000)
    rows, _ = balance(photos, strategy="undersample")
    leaves = rows["row"][rows["row"] < 4000]
    # 1,000 of 4,000 drawn evenly: the mean position is 2,000 with a standard error of 32.
    assert abs(leaves.mean() - 2000) < 160


def test_an_empty_class_is_reported_and_weighs_one(caplog):
    _, weights = balance(photo_set(["leaf", "root"]), strategy="weighted")
    assert weights["kind"]["seed"] == 1.0
    assert "No training photo of kind: seed" in caplog.text


def test_no_label_at_all_and_no_training_photo():
    for photos in (photo_set([None, None]), photo_set(["leaf"], splits=["test"])):
        for strategy in ("oversample", "undersample", "weighted", "effective_number"):
            rows, weights = balance(photos, strategy=strategy)
            assert len(rows) == len(photos.rows_of(Split.TRAIN))
            assert set(weights["kind"].values()) == {1.0}


@pytest.mark.parametrize(
    ("heads", "said"),
    [("knid", "did you mean 'kind'?"), (["look"], "multilabel"), (["kind", "size"], "'size'")],
)
def test_heads_that_cannot_be_balanced_are_refused(heads, said):
    with pytest.raises(TaxonomyError, match=r"balancing\.heads") as error:
        balance(photo_set(["leaf"]), heads=heads)
    assert said in str(error.value)


labels = st.lists(st.sampled_from(["leaf", "root", "seed", None]), min_size=1, max_size=60)


@given(labels, st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_resampled_classes_are_equal_and_fair(kinds, seed):
    photos, had = photo_set(kinds), Counter(kind for kind in kinds if kind)
    for strategy, wanted in (("oversample", max), ("undersample", min)):
        rows, _ = balance(photos, strategy=strategy, seed=seed)
        got = Counter(kinds[row] for row in rows["row"])
        for kind in had:
            assert got[kind] == wanted(had.values())
            times = np.bincount(rows["row"], minlength=len(kinds))[np.array(kinds) == kind]
            assert times.max() - times.min() <= 1
        assert got[None] == kinds.count(None)


@given(labels)
@settings(max_examples=60, deadline=None)
def test_weighted_classes_have_equal_shares(kinds):
    rows, _ = balance(photo_set(kinds), strategy="weighted")
    shares = rows["weight"].groupby([kinds[row] or "-" for row in rows["row"]]).sum()
    shares = shares.drop("-", errors="ignore")
    assert np.ptp(shares.to_numpy()) < 1e-9 if len(shares) else True


def test_the_pipeline_runs_in_memory():
    photos = photo_set(["leaf"] * 6 + ["root"] * 2 + [None])
    catalog = DataCatalog(
        {
            "photo_set": MemoryDataset(photos, copy_mode="assign"),
            "taxonomy": MemoryDataset(TAXONOMY),
            "params:balancing": MemoryDataset(BalancingParams(strategy="oversample")),
            **{
                name: MemoryDataset(copy_mode="assign")
                for name in ("balanced_rows", "class_weights", "balance_figure")
            },
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    axes = catalog.load("balance_figure").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("leaf", "root", "seed", "(unlabelled)")
    ]
    assert [bar.get_width() for bar in axes.patches] == [6, 2, 0, 1, 6, 6, 0, 1]


def test_the_figure_weighs_rows():
    photos = photo_set(["leaf"] * 3 + ["root"])
    params = BalancingParams(strategy="weighted")
    rows, _ = balance_classes(photos, TAXONOMY, params)
    axes = draw_balance(photos, TAXONOMY, rows, params).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([3, 1, 0, 2, 2, 0])
