"""Every photo is accounted for, and no split sees another's subject."""

import hashlib
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml.errors import SourceError, TaxonomyError
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.fingerprint import photo_id
from cannabis_ml.photos.phash import perceptual_hash
from cannabis_ml.pipelines.ingestion.nodes import (
    index_photos,
    resolve_taxonomy,
    set_aside_copies,
    store_photos,
)
from cannabis_ml.pipelines.ingestion.params import IndexParams
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.taxonomy_spec import TaxonomySpec

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
    """Rows as set_aside_copies gives them."""
    ids = [hashlib.sha256(f"{prefix}{i}".encode()).hexdigest() for i in range(n)]
    kinds = columns.pop("kind", [("a", "b")[i % 2] for i in range(n)])
    paths = [f"{prefix}{i}.jpg" for i in range(n)]
    return source(paths, photo_id=ids, kind=kinds, **columns)


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

    def test_source_of_another_taxonomy_is_reported(self):
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
        index = index_photos(
            source(paths, kind=["a", "b", None, "a"]), TAXONOMY, IndexParams(), DefectParams()
        )
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
            index_photos(source(paths), TAXONOMY, IndexParams(workers=workers), DefectParams())
            for workers in (1, 2)
        )
        pd.testing.assert_frame_equal(one, two)

    def test_limits(self, tmp_path, write_photo):
        paths = [write_photo(tmp_path / "1.jpg", width=20, height=20)]
        for limits, defect in [
            ({"too_small_side": 21}, "too_small"),
            ({"too_large_pixels": 399}, "too_large"),
            ({"too_small_side": 20}, None),
        ]:
            index = index_photos(source(paths), TAXONOMY, IndexParams(), DefectParams(**limits))
            assert index["defect"].astype(object).where(index["defect"].notna(), None)[0] == defect
        with (tmp_path / "video.jpg").open("wb") as file:
            file.truncate(3_000_000)
        limits = DefectParams(too_large_megabytes=2)
        index = index_photos(source([tmp_path / "video.jpg"]), TAXONOMY, IndexParams(), limits)
        assert index["defect"][0] == "too_large"
        assert pd.isna(index["photo_id"][0])

    def test_large_hashes_are_kept_to_the_bit(self, tmp_path, write_photo):
        paths = [write_photo(tmp_path / f"{i}.png", i, width=80, height=80) for i in range(30)]
        index = index_photos(
            source([*paths, tmp_path / "gone"]), TAXONOMY, IndexParams(), DefectParams()
        )
        hashes = [perceptual_hash(decode(path.read_bytes())) for path in paths]
        assert index["phash"][:30].tolist() == hashes
        assert max(hashes) > 2**63  # which neither int64 nor float64 holds
        index.to_parquet(tmp_path / "index.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "index.parquet"), index)

    def test_columns_do_not_depend_on_what_was_found(self, tmp_path, write_photo):
        good = source([write_photo(tmp_path / "1.jpg")])
        bad = source([tmp_path / "gone.jpg"])
        one, two = (index_photos(s, TAXONOMY, IndexParams(), DefectParams()) for s in (good, bad))
        assert one.dtypes.astype(str).to_dict() == two.dtypes.astype(str).to_dict()

    def test_no_rows_give_an_empty_index(self):
        assert index_photos(source([]), TAXONOMY, IndexParams(), DefectParams()).empty


class TestCopies:
    def checked(self, **columns):
        index = source(["b.jpg", "a.jpg", "c.jpg"], **columns).assign(
            photo_id="same", defect=None, detail=None
        )
        return set_aside_copies(index, TAXONOMY).set_index("path")

    def test_first_by_path_is_kept(self):
        photos = self.checked(kind=["a", "a", None])
        assert photos["defect"].fillna("-").to_dict() == {
            "b.jpg": "exact_duplicate",
            "a.jpg": "-",
            "c.jpg": "exact_duplicate",
        }
        assert photos["duplicate_of"].dropna().tolist() == ["a.jpg", "a.jpg"]
        assert photos.loc["b.jpg", "detail"] == "The same file as a.jpg."

    @pytest.mark.parametrize("other", ["train", "validation", "calibration", None])
    def test_given_test_photo_is_kept_before_others(self, other):
        photos = self.checked(given_split=[other, other, "test"])
        assert pd.isna(photos.loc["c.jpg", "defect"])
        expected = "twin_of_test" if other == "train" else "exact_duplicate"
        assert photos.loc[["a.jpg", "b.jpg"], "defect"].tolist() == [expected] * 2

    def test_given_train_photo_is_kept_before_photos_of_no_split(self):
        photos = self.checked(given_split=[None, None, "train"])
        assert photos["duplicate_of"].dropna().tolist() == ["c.jpg", "c.jpg"]

    def test_copies_under_different_labels_are_all_set_aside(self):
        copies = {"path": ["d.jpg", "e.jpg"], "photo_id": "other", "kind": ["a", "b"]}
        index = pd.concat([sound(4), pd.DataFrame(copies)], ignore_index=True)
        photos = set_aside_copies(index.assign(defect=None, detail=None), TAXONOMY)
        told = photos[photos["defect"] == "conflicting_duplicate"]
        assert told["path"].tolist() == ["d.jpg", "e.jpg"]
        assert told["detail"].iloc[0].endswith("kind is 'a' (d.jpg) or 'b' (e.jpg).")

    def test_labels_of_copies_are_merged_head_by_head(self):
        taxonomy = Taxonomy(
            heads=[*TAXONOMY.model_dump()["heads"], *NO_HEADS_TO_LEARN.model_dump()["heads"]]
        )
        index = source(["a.jpg", "b.jpg"], kind=[None, "b"]).assign(
            photo_id="same", defect=None, detail=None
        )
        index["traits.wet"] = pd.array([1, None], dtype="Int8")
        index["traits.old"] = pd.array([None, 0], dtype="Int8")
        kept = set_aside_copies(index, taxonomy).iloc[0]
        assert (kept["kind"], kept["traits.wet"], kept["traits.old"]) == ("b", 1, 0)
        assert pd.isna(kept["defect"])

    def test_no_photo_left_is_reported(self):
        index = source(["a.jpg"]).assign(photo_id="x", defect="empty", detail="No bytes.")
        with pytest.raises(SourceError, match="1 empty") as caught:
            set_aside_copies(index, TAXONOMY)
        assert "a.jpg: No bytes." in str(caught.value)


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

    def test_photo_that_changed_meanwhile_is_reported(self, tmp_path, encode):
        (tmp_path / "x.jpg").write_bytes(encode())
        photos = source([tmp_path / "x.jpg"], photo_id=["0" * 64], kind=["a"])
        stream = store_photos(photos.assign(split="train"), TAXONOMY, StoreParams())
        with pytest.raises(SourceError, match="changed since"):
            stream.encode(stream.rows.iloc[0].to_dict())
        (tmp_path / "x.jpg").unlink()
        with pytest.raises(SourceError, match="cannot be read now"):
            stream.encode(stream.rows.iloc[0].to_dict())
