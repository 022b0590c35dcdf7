"""No split sees another's subject, and no photo ever moves."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cannabis_ml.datasets.split_ledger import SplitLedgerDataset
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.split_ledger import empty_ledger
from cannabis_ml.photo_sets.splitting import SplitParams, split_photos
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b", "c"]}])
NO_HEADS_TO_LEARN = Taxonomy(
    heads=[{"name": "traits", "kind": "multilabel", "classes": ["wet", "old"]}]
)


def grouped(n, prefix="", **columns):
    """Rows as group_photos gives them."""
    ids = [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(n)]
    frame = pd.DataFrame({"path": [f"{prefix}{i}.jpg" for i in range(n)], "photo_id": ids})
    for name in ("group", "given_split", "defect", "detail", "kind"):
        frame[name] = pd.Series(columns.pop(name, [None] * n), dtype="str")
    for name in NO_HEADS_TO_LEARN.columns:
        frame[name] = pd.array([None] * n, dtype="Int8")
    frame["group"] = frame["group"].fillna(frame["photo_id"])
    frame["cluster"] = pd.array(columns.pop("cluster", [None] * n), dtype="Int64")
    return frame.assign(**columns)


def join(*tables):
    return pd.concat(tables, ignore_index=True)


def divide(photos, ledger=None, taxonomy=NO_HEADS_TO_LEARN, **params):
    ledger = empty_ledger() if ledger is None else ledger
    return split_photos(photos, ledger, taxonomy, SplitParams(**params))


def split_of(photos, ledger=None, taxonomy=NO_HEADS_TO_LEARN, **params):
    divided, _ = divide(photos, ledger, taxonomy, **params)
    return dict(zip(divided["path"], divided["split"], strict=True))


GROUPS = st.lists(st.sampled_from([None, "x", "y", "z"]), min_size=1, max_size=8)


class TestSplit:
    @pytest.mark.parametrize("seed", range(3))
    def test_fractions_are_reached_by_every_class(self, seed):
        # 80 photos of a class, 70/10/10/10: whatever the seed, 8 of them are test photos.
        photos = grouped(240, kind=["a", "b", "c"] * 80)
        divided, _ = divide(photos, taxonomy=TAXONOMY, seed=seed)
        counts = pd.crosstab(divided["kind"], divided["split"])[list(SPLITS)]
        assert counts.to_numpy().tolist() == [[56, 8, 8, 8]] * 3

    def test_fractions_are_reached_by_photos_of_no_class(self):
        counts = pd.Series(split_of(grouped(200))).value_counts()
        assert counts[list(SPLITS)].tolist() == [140, 20, 20, 20]

    def test_fractions_are_reached_by_every_head(self):
        photos = grouped(400, kind=["a", "b"] * 200)
        photos["traits.wet"] = pd.array([1, 1, 0, 0] * 100, dtype="Int8")  # crosses the kinds
        taxonomy = Taxonomy(heads=[*TAXONOMY.heads, *NO_HEADS_TO_LEARN.heads])
        divided, _ = divide(photos, taxonomy=taxonomy)
        for name in ("kind", "traits.wet"):
            counts = pd.crosstab(divided[name], divided["split"])[list(SPLITS)]
            np.testing.assert_allclose(counts, [[140, 20, 20, 20]] * 2, atol=1)

    def test_a_burst_does_not_fill_a_small_split(self):
        # 44 of 80 photos are one burst: it is for training, and the rest make up for it.
        groups = ["burst"] * 44 + [None] * 36
        photos = grouped(160, kind=["a"] * 80 + ["b"] * 80, group=groups + [None] * 80)
        divided, _ = divide(photos, taxonomy=TAXONOMY)
        counts = divided[divided["kind"] == "a"]["split"].value_counts()
        assert counts[list(SPLITS)].tolist() == [56, 8, 8, 8]

    def test_earlier_photos_count_towards_the_fractions(self):
        # The ledger has no test photo of 'c'; those that are added make up for that.
        old = grouped(200, kind=["a", "b"] * 80 + ["c"] * 40)
        _, ledger = divide(old, taxonomy=TAXONOMY)
        ledger.loc[ledger["photo_id"].isin(old["photo_id"][160:]), "split"] = "train"
        both = join(old, grouped(40, "new", kind=["c"] * 40))
        divided, _ = divide(both, ledger, TAXONOMY)
        counts = divided[divided["kind"] == "c"]["split"].value_counts()
        assert (divided["split"][160:200] == "train").all()
        # Asked for 56, 8, 8, 8 of 80.
        assert counts[list(SPLITS)].tolist() == [56, 8, 8, 8]

    def test_seed_divides_anew(self):
        assert split_of(grouped(300), seed=1) != split_of(grouped(300), seed=2)

    @given(groups=GROUPS, given_splits=st.data())
    @settings(max_examples=60, deadline=None)
    def test_burst_frames_share_a_split(self, groups, given_splits):
        rest = grouped(120)
        burst = grouped(
            len(groups),
            "burst",
            group=groups,
            given_split=[
                given_splits.draw(st.sampled_from([*SPLITS, None]), label="given") for _ in groups
            ],
        )
        photos = pd.concat([rest, burst], ignore_index=True)
        divided, _ = divide(photos)
        assert (divided.groupby("group")["split"].nunique() == 1).all()
        assert divided["group"].notna().all()

    @given(st.integers(1, 60), st.integers(0, 3), st.randoms(use_true_random=False))
    @settings(max_examples=40, deadline=None)
    def test_adding_photos_moves_none(self, more, seed, random):
        old = grouped(150)
        new = pd.concat([old, grouped(more, "new")], ignore_index=True)
        new = new.sample(frac=1, random_state=random.randint(0, 2**31), ignore_index=True)
        first, ledger = divide(old, seed=seed)
        before = dict(zip(first["path"], first["split"], strict=True))
        after = split_of(new, ledger, seed=seed)
        assert {path: after[path] for path in before} == before

    @given(st.integers(1, 60))
    @settings(max_examples=20, deadline=None)
    def test_adding_photos_moves_none_of_given_splits(self, more):
        old = grouped(200, given_split=["train"] * 150 + ["test"] * 50)
        added = grouped(
            more, "new", given_split=[("train", "test", None)[i % 3] for i in range(more)]
        )
        first, ledger = divide(old)
        before = dict(zip(first["path"], first["split"], strict=True))
        after = split_of(pd.concat([old, added], ignore_index=True), ledger)
        assert {path: after[path] for path in before} == before

    def test_given_splits_are_respected(self):
        given_split = ["train"] * 800 + ["test"] * 30 + ["validation"] * 20 + [None] * 100
        splits = divide(grouped(950, given_split=given_split))[0]["split"].tolist()
        assert set(splits[800:830]) == {"test"}
        assert set(splits[830:850]) == {"validation"}
        # Only calibration was not given: .1 / .8 of what was given as train.
        assert set(splits[:800]) == {"train", "calibration"}
        assert splits[:800].count("calibration") == pytest.approx(100, abs=3)
        # And .1 of what was not given at all.
        assert splits.count("calibration") == 110
        assert set(splits[850:]) == set(SPLITS)

    def test_given_train_twin_of_a_given_test_photo_is_set_aside(self, caplog):
        photos = grouped(100, given_split=["train"] * 90 + ["test"] * 10)
        photos.loc[[0, 95], "group"] = "one plant"
        photos.loc[[1, 96], ["group", "cluster"]] = ["another", 7]
        divided, ledger = divide(photos)
        twins = divided[divided["defect"] == "twin_of_test"]
        assert twins["detail"].to_dict() == {
            0: "Belongs with 95.jpg, which is in test.",
            1: "Shows the same as 96.jpg, which is in test.",
        }
        assert twins["split"].isna().all()
        assert divided["split"][[95, 96]].tolist() == ["test", "test"]
        assert "2 photos are near-duplicates of held-out photos" in caplog.text
        assert len(ledger) == 98

    def test_copies_in_all_given_splits_are_reported_with_the_remedy(self, caplog):
        # As where photos were augmented first and divided then: 100 photos, four times each.
        groups = [f"photo {i % 100}" for i in range(400)]
        photos = grouped(400, group=groups, given_split=["train"] * 300 + ["test"] * 100)
        with pytest.raises(SourceError, match="keep_splits: false") as caught:
            divide(photos)
        assert "300 of 300 photos given as train (100%)" in str(caught.value)
        assert "Bring more photos" not in str(caught.value)
        assert "300 of 300 photos given as train (100%)" in caplog.text
        # And the remedy works.
        divided, _ = divide(photos.assign(given_split=pd.Series([None] * 400, dtype="str")))
        assert divided["defect"].isna().all()
        assert divided["split"].value_counts()[list(SPLITS)].tolist() == [280, 40, 40, 40]

    def test_splits_that_are_left_out_later_are_forgotten(self):
        photos = grouped(200, given_split=["train"] * 150 + ["test"] * 50)
        _, ledger = divide(photos)
        anew = photos.assign(given_split=pd.Series([None] * 200, dtype="str"))
        counts = divide(anew, ledger)[0]["split"].value_counts()
        assert counts[list(SPLITS)].tolist() == [140, 20, 20, 20]

    def test_the_largest_group_is_reported_where_nothing_can_be_divided(self):
        photos = grouped(100, group=["one chain"] * 99 + [None])
        with pytest.raises(SourceError, match=r"2 groups; the largest holds 99\)"):
            divide(photos)

    def test_photo_of_no_split_joins_its_group(self):
        photos = grouped(100, given_split=[None] * 90 + ["test"] * 10)
        photos.loc[[0, 95], "group"] = "one plant"
        assert split_of(photos)["0.jpg"] == "test"

    def test_too_few_photos_are_reported(self):
        with pytest.raises(SourceError, match="no photo falls into") as caught:
            split_of(grouped(2))
        assert "2 photos (2 groups)" in str(caught.value)
        assert "parameters_ingestion.yml" in str(caught.value)

    def test_head_of_a_single_class_is_reported(self):
        with pytest.raises(SourceError, match="train shows only 'a' of the head 'kind'"):
            divide(grouped(200, kind=["a"] * 200), taxonomy=TAXONOMY)

    def test_photos_set_aside_have_no_split(self):
        photos = grouped(200, defect=["empty"] * 20 + [None] * 180)
        divided, ledger = divide(photos)
        assert divided["split"].isna().tolist() == [True] * 20 + [False] * 180
        assert set(ledger["photo_id"]) == set(photos["photo_id"][20:])


KINDS = st.lists(st.sampled_from(["a", "a", "a", "b", "c"]), min_size=0, max_size=12)


class TestEveryClassInEverySplit:
    @given(KINDS, st.integers(0, 5))
    @settings(max_examples=60, deadline=None)
    def test_class_of_four_groups_is_in_all(self, kinds, seed):
        photos = grouped(200 + len(kinds), kind=["a", "b"] * 100 + kinds)
        divided, _ = divide(photos, taxonomy=TAXONOMY, seed=seed)
        for kind, rows in divided.groupby("kind"):
            due = ["train", "test", "validation", "calibration"][: rows["group"].nunique()]
            assert set(due) <= set(rows["split"]), kind

    @given(KINDS, st.randoms(use_true_random=False))
    @settings(max_examples=20, deadline=None)
    def test_order_of_the_photos_does_not_matter(self, kinds, random):
        photos = grouped(80 + len(kinds), kind=["a", "b"] * 40 + kinds)
        shuffled = photos.iloc[random.sample(range(len(photos)), len(photos))]
        one, two = (divide(table, taxonomy=TAXONOMY) for table in (photos, shuffled))
        pd.testing.assert_frame_equal(one[0], two[0].sort_index())
        pd.testing.assert_frame_equal(one[1], two[1])

    def test_a_class_of_four_photos_is_in_all(self):
        photos = grouped(2000, kind=["a", "b"] * 998 + ["c"] * 4)
        with_c = split_of(photos, taxonomy=TAXONOMY)
        assert sorted(with_c[path] for path in photos["path"][-4:]) == sorted(SPLITS)

    def test_groups_move_whole(self):
        groups = [f"plant {i // 10}" for i in range(40)]
        photos = join(
            grouped(300, kind=["a", "b"] * 150), grouped(40, "c", kind=["c"] * 40, group=groups)
        )
        divided, _ = divide(photos, taxonomy=TAXONOMY)
        rows = divided[divided["kind"] == "c"]
        assert rows.groupby("group")["split"].nunique().tolist() == [1] * 4
        assert set(rows["split"]) == set(SPLITS)

    def test_attributes_count_as_classes(self):
        photos = grouped(300)
        photos["traits.wet"] = pd.array([1] * 5 + [0] * 295, dtype="Int8")
        assert set(divide(photos)[0]["split"][:5]) == set(SPLITS)

    def test_given_splits_are_filled_by_nobody_else(self):
        given_split = ["train"] * 200 + ["test"] * 20
        photos = grouped(
            220, kind=["a", "b"] * 95 + ["c"] * 10 + ["a", "b"] * 10, given_split=given_split
        )
        divided, _ = divide(photos, taxonomy=TAXONOMY)
        in_test = divided["split"] == "test"
        assert in_test.tolist() == [False] * 200 + [True] * 20
        assert set(divided.loc[190:199, "split"]) == {"train", "validation", "calibration"}


PHOTO = st.tuples(
    st.sampled_from(["a", "b", "c", None]),
    st.sampled_from([None, None, None, *SPLITS]),
    st.lists(st.integers(0, 30), max_size=2),  # earlier photos that it is tied to
)


class TestLedger:
    @given(st.lists(st.lists(PHOTO, min_size=1, max_size=8), min_size=1, max_size=3), st.data())
    @settings(max_examples=20, deadline=None)
    def test_whatever_is_added_no_photo_moves_and_no_split_leaks(self, batches, data):
        """Batches of photos, tied to earlier ones in any way, in any order."""
        photos, ledger = grouped(60, kind=["a", "b"] * 30), empty_ledger()
        divided, ledger = divide(photos, ledger, TAXONOMY)
        for number, batch in enumerate(batches):
            before = divided.set_index("photo_id")["split"].dropna()
            photos = join(photos, self._batch(batch, number))
            photos["group"] = self._groups(photos)
            order = data.draw(st.randoms(use_true_random=False)).sample(
                range(len(photos)), len(photos)
            )
            shuffled = photos.iloc[order].reset_index(drop=True)
            divided, longer = divide(shuffled, ledger, TAXONOMY)
            pd.testing.assert_frame_equal(longer.iloc[: len(ledger)], ledger)
            ledger = longer

            now = divided.set_index("photo_id")
            stayed = now.loc[before.index, "split"] == before
            assert (stayed | (now.loc[before.index, "defect"] == "twin_of_test")).all()
            kept = divided[divided["defect"].isna()]
            assert kept["split"].notna().all()
            assert (kept.groupby("group")["split"].nunique() == 1).all()
            held_out = kept["given_split"].isin(SPLITS[1:])
            assert (kept.loc[held_out, "split"] == kept.loc[held_out, "given_split"]).all()
            in_test = divided[divided["given_split"] == "test"]
            assert in_test["defect"].isna().all()

            again, same = divide(shuffled, ledger, TAXONOMY)
            pd.testing.assert_frame_equal(again, divided)
            pd.testing.assert_frame_equal(same, ledger)

    def _batch(self, batch, number):
        kinds, given_split, ties = zip(*batch, strict=True)
        return grouped(
            len(batch),
            f"batch {number} ",
            kind=list(kinds),
            given_split=list(given_split),
            ties=list(ties),
        )

    def _groups(self, photos):
        """The least id among all that hang together."""
        leader = list(range(len(photos)))

        def find(i):
            return i if leader[i] == i else find(leader[i])

        for i, ties in enumerate(photos.get("ties", [])):
            for other in ties if isinstance(ties, list) else []:
                leader[find(i)] = find(other)
        ids = photos["photo_id"]
        least = {}
        for i, name in enumerate(ids):
            least[find(i)] = min(name, least.get(find(i), name))
        return [least[find(i)] for i in range(len(photos))]

    def test_photos_added_later_do_not_undo_a_correction(self):
        first = grouped(204, kind=["a", "b"] * 100 + ["c"] * 4)
        divided, ledger = divide(first, taxonomy=TAXONOMY)
        later = join(first, grouped(50, "later", kind=["c"] * 50))
        after = split_of(later, ledger, TAXONOMY)
        assert {path: after[path] for path in first["path"]} == dict(
            zip(divided["path"], divided["split"], strict=True)
        )

    def test_photos_that_come_back_go_where_they_were(self):
        photos = grouped(300, kind=["a", "b", "c"] * 100)
        before = split_of(photos, taxonomy=TAXONOMY)
        _, ledger = divide(photos, taxonomy=TAXONOMY)
        _, ledger = divide(photos[:200], ledger, TAXONOMY)
        assert split_of(photos, ledger, TAXONOMY) == before

    def test_source_that_changes_its_mind_is_heard(self):
        photos = grouped(200)
        _, ledger = divide(photos)
        photos.loc[:3, "given_split"] = "test"
        divided, longer = divide(photos, ledger)
        assert divided["split"][:4].tolist() == ["test"] * 4
        assert len(longer) == len(ledger) + 4

    @pytest.mark.parametrize("change", [{"seed": 7}, {"train": 0.6, "test": 0.2}])
    def test_other_settings_divide_anew_and_back(self, change):
        photos = grouped(300)
        first, ledger = divide(photos)
        other, ledger = divide(photos, ledger, **change)
        fresh, _ = divide(photos, **change)
        pd.testing.assert_frame_equal(other, fresh)
        back, same = divide(photos, ledger)
        pd.testing.assert_frame_equal(back, first)
        assert len(same) == len(ledger) == 600

    def test_ledger_is_empty_until_it_is_written(self, tmp_path):
        dataset = SplitLedgerDataset(filepath=str(tmp_path / "new" / "ledger.parquet"))
        assert dataset.load().empty
        _, ledger = divide(grouped(100), dataset.load())
        dataset.save(ledger)
        pd.testing.assert_frame_equal(dataset.load(), ledger)
        assert len(list((tmp_path / "new").iterdir())) == 1
