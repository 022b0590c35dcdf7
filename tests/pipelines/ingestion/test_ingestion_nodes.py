"""Every photo is accounted for, and no split sees another's subject."""

import hashlib
import io
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cannabis_ml.datasets.photo_set import PhotoStream
from cannabis_ml.errors import SourceError, TaxonomyError
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.pipelines.ingestion.nodes import (
    index_photos,
    resolve_taxonomy,
    set_aside_defects,
    split_photos,
    store_photos,
)
from cannabis_ml.pipelines.ingestion.params import SPLITS, IndexParams, SplitParams, StoreParams
from cannabis_ml.taxonomy import Taxonomy, TaxonomySpec

TAXONOMY = Taxonomy(heads=[{"name": "kind", "classes": ["a", "b"]}])
NO_HEADS_TO_LEARN = Taxonomy(
    heads=[{"name": "traits", "kind": "multilabel", "classes": ["wet", "old"]}]
)


def source(paths, **columns):
    frame = pd.DataFrame({"path": [str(path) for path in paths]})
    for name in ("group", "given_split", "kind"):
        values = columns.pop(name, [None] * len(frame))
        frame[name] = pd.Series(values, dtype="str")
    return frame.assign(**columns)


def sound(n, prefix="", **columns):
    """Rows as set_aside_defects gives them."""
    ids = [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(n)]
    kinds = columns.pop("kind", [("a", "b")[i % 2] for i in range(n)])
    paths = [f"{prefix}{i}.jpg" for i in range(n)]
    return source(paths, photo_id=ids, kind=kinds, **columns)


def split_of(photos, **params):
    divided = split_photos(photos, NO_HEADS_TO_LEARN, SplitParams(**params))
    return dict(zip(divided["path"], divided["split"], strict=True))


class TestResolve:
    def test_classes_are_derived_from_the_labels(self):
        spec = TaxonomySpec(heads=[{"name": "kind", "classes": "derived"}])
        taxonomy = resolve_taxonomy(source("12", kind=["y", "x"]), spec)
        assert taxonomy["kind"].class_names == ["x", "y"]

    def test_unknown_labels_fail_before_any_photo_is_read(self):
        spec = TaxonomySpec(heads=[{"name": "kind", "classes": ["a", "b"]}])
        with pytest.raises(TaxonomyError, match="'c' \\(1 photo"):
            resolve_taxonomy(source(["nowhere.jpg"], kind=["c"]), spec)

    def test_head_called_like_a_column_is_refused(self):
        spec = TaxonomySpec(heads=[{"name": "format", "classes": ["a", "b"]}])
        with pytest.raises(TaxonomyError, match="'format'"):
            resolve_taxonomy(source("1"), spec)

    def test_source_of_another_taxonomy_is_told(self):
        spec = TaxonomySpec(heads=[{"name": "grade", "classes": ["a", "b"]}])
        with pytest.raises(TaxonomyError, match="The source labels 'kind'"):
            resolve_taxonomy(source("1", kind=["a"]), spec)


class TestIndex:
    def test_what_each_file_is(self, tmp_path, draw, encode):
        exif = Image.Exif()
        exif[0x0112] = 6
        (tmp_path / "lying.png").write_bytes(encode(draw(), "JPEG", exif=exif))
        (tmp_path / "empty.jpg").touch()
        paths = [tmp_path / "lying.png", tmp_path / "empty.jpg", tmp_path / "gone.jpg", tmp_path]
        index = index_photos(source(paths, kind=["a", "b", None, "a"]), TAXONOMY, IndexParams())
        lying = index.iloc[0]
        assert (lying["format"], lying["width"], lying["height"]) == ("JPEG", 40, 48)
        assert lying["photo_id"] == photo_id((tmp_path / "lying.png").read_bytes())
        assert lying["bytes"] == (tmp_path / "lying.png").stat().st_size
        assert index["defect"].fillna("-").tolist() == ["-", "empty", "missing", "unreadable"]
        assert index["detail"].notna().tolist() == [False, True, True, True]
        assert index["kind"].fillna("?").tolist() == ["a", "b", "?", "a"]

    def test_order_does_not_depend_on_threads(self, tmp_path, write_photo):
        paths = [write_photo(tmp_path / f"{i}.jpg", i) for i in range(20)]
        one, two = (
            index_photos(source(paths), TAXONOMY, IndexParams(workers=workers))
            for workers in (1, 2)
        )
        pd.testing.assert_frame_equal(one, two)

    def test_limits(self, tmp_path, write_photo):
        paths = [write_photo(tmp_path / "1.jpg", width=20, height=20)]
        for limits, defect in [
            ({"min_side": 21}, "too_small"),
            ({"max_pixels": 399}, "too_large"),
            ({"min_side": None}, None),
        ]:
            index = index_photos(source(paths), TAXONOMY, IndexParams(**limits))
            assert index["defect"].astype(object).where(index["defect"].notna(), None)[0] == defect
        with (tmp_path / "video.jpg").open("wb") as file:
            file.truncate(3_000_000)
        limits = IndexParams(max_megabytes=2)
        index = index_photos(source([tmp_path / "video.jpg"]), TAXONOMY, limits)
        assert index["defect"][0] == "too_large"
        assert pd.isna(index["photo_id"][0])

    def test_no_rows_give_an_empty_index(self):
        assert index_photos(source([]), TAXONOMY, IndexParams()).empty


FILES = st.lists(
    st.tuples(
        st.sampled_from(["photo", "empty", "cut", "text", "gone"]),
        st.integers(0, 3),
        st.sampled_from(["a", "b", None]),
        st.sampled_from([*SPLITS, None]),
    ),
    min_size=1,
    max_size=12,
)


@given(files=FILES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_found_is_kept_and_set_aside_and_good_photos_survive(
    files, tmp_path_factory, draw, encode, caplog
):
    caplog.set_level(logging.CRITICAL)
    folder = tmp_path_factory.mktemp("photos")
    for i, (state, seed, _, _) in enumerate(files):
        data = encode(draw(seed))
        content = {"photo": data, "empty": b"", "cut": data[: len(data) // 2], "text": b"hello"}
        if state != "gone":
            (folder / f"{i}.jpg").write_bytes(content[state])
    paths = [folder / f"{i}.jpg" for i in range(len(files))]
    columns = {"kind": [f[2] for f in files], "given_split": [f[3] for f in files]}
    index = index_photos(source(paths, **columns), TAXONOMY, IndexParams(workers=2))
    good = {seed for state, seed, _, _ in files if state == "photo"}
    if not good:
        with pytest.raises(SourceError, match="can be used"):
            set_aside_defects(index, TAXONOMY)
        return
    kept, report = set_aside_defects(index, TAXONOMY)
    assert report["found"] == report["kept"] + report["set_aside"] == len(files)
    assert sum(report["defects"].values()) == report["set_aside"]
    assert len(report["photos_set_aside"]) == report["set_aside"]
    assert set(kept["photo_id"]) == {photo_id(encode(draw(seed))) for seed in good}
    assert sum(report["classes"]["kind"].values()) == len(kept)
    listed = {photo["path"] for photo in report["photos_set_aside"]}
    assert listed | set(kept["path"]) == {str(path) for path in paths}


class TestDuplicates:
    def kept(self, **columns):
        index = source(["b.jpg", "a.jpg", "c.jpg"], **columns).assign(
            photo_id="same", format="JPEG", defect=None, detail=None
        )
        photos, report = set_aside_defects(index, TAXONOMY)
        assert report["defects"] == {"exact_duplicate": 2}
        return photos["path"].item(), report["photos_set_aside"]

    def test_first_by_path_is_kept(self):
        path, aside = self.kept(kind=["a", "a", "b"])
        assert path == "a.jpg"
        assert [photo["detail"] for photo in aside] == [
            "The same file as a.jpg.",
            "The same file as a.jpg, under another label.",
        ]

    @pytest.mark.parametrize("other", ["train", "validation", "calibration", None])
    def test_given_test_photo_is_kept_before_others(self, other):
        assert self.kept(given_split=[other, other, "test"])[0] == "c.jpg"

    def test_given_train_photo_is_kept_before_photos_of_no_split(self):
        assert self.kept(given_split=[None, None, "train"])[0] == "c.jpg"


GROUPS = st.lists(st.sampled_from([None, "x", "y", "z"]), min_size=1, max_size=8)


class TestSplit:
    def test_hash_of_seed_and_group_decides(self):
        # SHA-256("0:<id>") / 2**256 against the bounds .7, .8, .9, worked out by hand in Python.
        photos = sound(300)
        splits = split_of(photos, seed=0)
        for path, name in zip(photos["path"], photos["photo_id"], strict=True):
            position = int(hashlib.sha256(f"0:{name}".encode()).hexdigest(), 16) / 2**256
            expected = SPLITS[sum(position >= bound for bound in (0.7, 0.8, 0.9))]
            assert splits[path] == expected

    def test_fractions_are_reached(self):
        counts = pd.Series(split_of(sound(4000))).value_counts(normalize=True)
        np.testing.assert_allclose(counts[list(SPLITS)], [0.7, 0.1, 0.1, 0.1], atol=0.02)

    def test_seed_divides_anew(self):
        assert split_of(sound(300), seed=1) != split_of(sound(300), seed=2)

    @given(groups=GROUPS, given_splits=st.data())
    @settings(max_examples=60, deadline=None)
    def test_burst_frames_share_a_split(self, groups, given_splits):
        rest = sound(120)
        burst = sound(
            len(groups),
            "burst",
            group=groups,
            given_split=[
                given_splits.draw(st.sampled_from([*SPLITS, None]), label="given") for _ in groups
            ],
        )
        photos = pd.concat([rest, burst], ignore_index=True)
        divided = split_photos(photos, NO_HEADS_TO_LEARN, SplitParams())
        assert (divided.groupby("group")["split"].nunique() == 1).all()
        assert divided["group"].notna().all()

    @given(st.integers(1, 60), st.integers(0, 3), st.randoms(use_true_random=False))
    @settings(max_examples=40, deadline=None)
    def test_adding_photos_moves_none(self, more, seed, random):
        old = sound(150)
        new = pd.concat([old, sound(more, "new")], ignore_index=True)
        new = new.sample(frac=1, random_state=random.randint(0, 2**31), ignore_index=True)
        before, after = split_of(old, seed=seed), split_of(new, seed=seed)
        assert {path: after[path] for path in before} == before

    @given(st.integers(1, 60))
    @settings(max_examples=20, deadline=None)
    def test_adding_photos_moves_none_of_given_splits(self, more):
        old = sound(200, given_split=["train"] * 150 + ["test"] * 50)
        added = sound(
            more, "new", given_split=[("train", "test", None)[i % 3] for i in range(more)]
        )
        before = split_of(old)
        after = split_of(pd.concat([old, added], ignore_index=True))
        assert {path: after[path] for path in before} == before

    def test_given_splits_are_respected(self):
        given_split = ["train"] * 800 + ["test"] * 30 + ["validation"] * 20 + [None] * 100
        divided = split_photos(
            sound(950, given_split=given_split), NO_HEADS_TO_LEARN, SplitParams()
        )
        splits = divided["split"].tolist()
        assert set(splits[800:830]) == {"test"}
        assert set(splits[830:850]) == {"validation"}
        # Only calibration was not given: .1 / .8 of what was given as train.
        assert set(splits[:800]) == {"train", "calibration"}
        assert splits[:800].count("calibration") / 800 == pytest.approx(0.125, abs=0.04)
        assert set(splits[850:]) == set(SPLITS)

    def test_group_across_given_splits_is_not_learnt_from(self, caplog):
        photos = sound(100, given_split=["train"] * 90 + ["test"] * 10)
        photos.loc[[0, 95], "group"] = "one plant"
        divided = split_photos(photos, NO_HEADS_TO_LEARN, SplitParams())
        assert divided["split"][0] == "test"
        assert "1 photos leave" in caplog.text

    def test_too_few_photos_are_told(self):
        with pytest.raises(SourceError, match="no photo falls into") as caught:
            split_of(sound(2))
        assert "2 photos (2 groups)" in str(caught.value)
        assert "parameters_ingestion.yml" in str(caught.value)

    def test_head_of_a_single_class_is_told(self):
        with pytest.raises(SourceError, match="train shows only 'a' of the head 'kind'"):
            split_photos(sound(200, kind=["a"] * 200), TAXONOMY, SplitParams())


class TestStore:
    @pytest.fixture
    def store(self, tmp_path):
        def store(data, **params):
            (tmp_path / "x.jpg").write_bytes(data)
            photos = source([tmp_path / "x.jpg"], photo_id=[photo_id(data)], kind=["a"])
            photos = photos.assign(group="g", split="train", width=1)
            stream = store_photos(photos, TAXONOMY, StoreParams(**params))
            assert isinstance(stream, PhotoStream)
            assert list(stream.rows) == ["photo_id", "path", "group", "split", "kind"]
            return stream.encode(stream.rows.iloc[0].to_dict())

        return store

    def test_small_plain_jpeg_is_kept_byte_for_byte(self, store, encode):
        data = encode(quality=60)
        assert store(data) == data

    def test_large_photo_is_brought_to_its_short_side(self, store, draw, encode):
        stored = decode(store(encode(draw(width=400, height=300)), short_side=96))
        assert stored.shape == (96, 128, 3)

    def test_stored_photo_looks_like_the_original(self, store, draw, encode):
        image = draw(width=512, height=384)
        stored = decode(store(encode(image, "PNG"), short_side=96)).astype(int)
        # Averages over areas of 4x4, as Pillow's reduce.
        assert np.abs(stored - np.asarray(image.reduce(4))).mean() < 2

    @pytest.mark.parametrize("kind", ["lying", "grey", "alpha", "profile"])
    def test_what_is_not_plain_is_encoded_anew(self, kind, store, draw, encode):
        exif = Image.Exif()
        exif[0x0112] = 6
        data = {
            "lying": lambda: encode(draw(), exif=exif),
            "grey": lambda: encode(draw().convert("L")),
            "alpha": lambda: encode(draw().convert("RGBA"), "PNG"),
            "profile": lambda: encode(draw(), icc_profile=b"x" * 200),
        }[kind]()
        stored = Image.open(io.BytesIO(store(data)))
        assert stored.format == "JPEG"
        assert stored.mode == "RGB"
        assert not stored.getexif()
        assert stored.size == ((40, 48) if kind == "lying" else (48, 40))

    def test_photo_that_changed_meanwhile_is_told(self, tmp_path, encode):
        (tmp_path / "x.jpg").write_bytes(encode())
        photos = source([tmp_path / "x.jpg"], photo_id=["0" * 64], kind=["a"])
        stream = store_photos(photos.assign(split="train"), TAXONOMY, StoreParams())
        with pytest.raises(SourceError, match="changed since"):
            stream.encode(stream.rows.iloc[0].to_dict())
        (tmp_path / "x.jpg").unlink()
        with pytest.raises(SourceError, match="cannot be read now"):
            stream.encode(stream.rows.iloc[0].to_dict())
