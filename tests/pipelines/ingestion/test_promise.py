"""Accepted, repaired and set aside add up to found, whatever lies in the folder."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.checks.registry import SetCheckParams
from cannabis_ml.photo_sets.groups import GroupParams, group_photos
from cannabis_ml.photo_sets.split_ledger import empty_ledger
from cannabis_ml.photo_sets.splitting import SplitParams, split_photos
from cannabis_ml.photo_sets.store_params import StoreParams
from cannabis_ml.photos.checks import FLAGGED, REPAIRED, SET_ASIDE
from cannabis_ml.photos.checks.params import DefectParams
from cannabis_ml.pipelines.ingestion.nodes import (
    build_ingestion_report,
    draw_ingestion_page,
    index_photos,
    keep_sound_photos,
    resolve_taxonomy,
    set_aside_copies,
    store_photos,
)
from cannabis_ml.pipelines.ingestion.params import IndexParams
from cannabis_ml.splits import SPLITS
from cannabis_ml.taxonomy_spec import TaxonomySpec

DERIVED = TaxonomySpec(heads=[{"name": "label", "classes": "derived"}])
INDEX = IndexParams(workers=2)


def bomb(side):
    """A PNG that claims side x side pixels, and has them."""

    def chunk(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    rows = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def divide(source_photos, split=None, **defects):
    """All but the storing: the taxonomy, and a row per photo found."""
    taxonomy = resolve_taxonomy(source_photos, DERIVED)
    photos = index_photos(source_photos, taxonomy, INDEX, DefectParams(**defects))
    grouped = group_photos(set_aside_copies(photos, taxonomy), GroupParams())
    divided, _ = split_photos(grouped, empty_ledger(), taxonomy, split or SplitParams())
    return taxonomy, divided


def folder(path):
    return SourcePhotosDataset(source={"kind": "folder", "path": str(path)}).load()


def outcome(divided):
    """Name -> what became of it: the defect, or what was repaired."""
    told = divided["defect"].fillna(divided["repairs"]).fillna("fine")
    return {Path(path).name: what for path, what in zip(divided["path"], told, strict=True)}


def report_on(taxonomy, divided):
    report = build_ingestion_report(divided, taxonomy, SplitParams(), SetCheckParams())
    return report, draw_ingestion_page(report, divided, INDEX)


@pytest.fixture
def corpus(tmp_path, draw, encode, write_photo):
    """40 good photos in two classes beside everything that goes wrong; name -> expected outcome."""
    root = tmp_path / "photos"
    for i in range(40):
        write_photo(root / "ab"[i % 2] / f"good {i}.jpg", 100 + i)
    expected = {f"good {i}.jpg": "fine" for i in range(40)}
    photo = iter(range(1000))

    def add(name, data, outcome):
        (root / "a" / name).write_bytes(data)
        expected[name] = outcome

    def image():
        return draw(next(photo))

    gray_16 = np.random.default_rng(0).integers(0, 65536, (48, 48), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 8
    frames = [image() for _ in range(3)]
    heic = struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1") + bytes(100)

    add("cmyk.jpg", encode(image().convert("CMYK")), "cmyk")
    add("16 bit.png", encode(Image.fromarray(gray_16), "PNG"), "sixteen_bit;grayscale")
    add("16 bit.tiff", encode(Image.fromarray(gray_16.T.copy()), "TIFF"), "sixteen_bit;grayscale")
    add("palette.png", encode(image().convert("P"), "PNG", transparency=3), "palette;alpha")
    add("grey.jpg", encode(image().convert("L")), "grayscale")
    moving = {"save_all": True, "append_images": frames}
    add("moving.gif", encode(frames[0], "GIF", **moving), "palette;animated")
    add("moving.webp", encode(frames[1], "WEBP", **moving), "animated")
    add("scan.TIF", encode(image(), "TIFF"), "fine")
    add("lying.jpg", encode(image(), exif=exif), "exif_rotated")
    add("png.jpg", encode(image(), "PNG"), "wrong_suffix")
    add("profile.jpg", encode(image(), icc_profile=b"x" * 200), "broken_icc")
    for name in ("ein Blatt.jpg", "лист 🌿.jpg", "a?b&c=d#e%20.jpg", "two\nlines.jpg", "'\";.jpg"):
        add(name, encode(image()), "fine")

    add("bomb.png", bomb(30_000), "too_large")
    add("drawing.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>", "not_an_image")
    add("phone.heic", heic, "unreadable")
    add("nothing.jpg", b"", "empty")
    add("text.jpg", b"hello, photo\n", "not_an_image")
    add("pointer.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "lfs_pointer")
    add("icon.png", encode(draw(1, 16, 16), "PNG"), "too_small")
    add("half.jpg", encode(draw(2, 300, 300))[:3000], "truncated")
    add("again.jpg", encode(draw(100)), "exact_duplicate")
    add("one label.jpg", encode(draw(990)), "conflicting_duplicate")
    (root / "b" / "other label.jpg").write_bytes(encode(draw(990)))
    expected["other label.jpg"] = "conflicting_duplicate"
    (root / "a" / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    expected["nowhere.jpg"] = "missing"
    (root / "a" / "loop.jpg").symlink_to("loop.jpg")
    expected["loop.jpg"] = "unreadable"
    (root / "a" / "round").symlink_to(root)
    add("locked.jpg", encode(image()), "unreadable")
    return root, expected


@pytest.fixture
def locked(monkeypatch):
    """Files called `locked` may not be read, not even by root."""
    read = Path.read_bytes

    def refuse(path):
        if path.name.startswith("locked"):
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)


@pytest.mark.usefixtures("locked")
def test_everything_that_goes_wrong(corpus):
    root, expected = corpus
    taxonomy, divided = divide(folder(root), blurred_below=0)
    found = outcome(divided)
    # Of two copies the first by path is kept.
    assert found.pop("good 0.jpg") == "exact_duplicate"
    assert found.pop("again.jpg") == "fine"
    expected = {k: v for k, v in expected.items() if k not in ("good 0.jpg", "again.jpg")}
    assert found == expected

    ledger = pd.DataFrame({"photo_id": divided["photo_id"].dropna().unique(), "ingestion": "1"})
    photos = keep_sound_photos(divided, ledger)
    assert len(photos) + divided["defect"].notna().sum() == len(divided) == len(expected) + 2
    report, page = report_on(taxonomy, divided)
    assert report["totals"]["found"] == report["totals"]["kept"] + report["totals"]["set_aside"]
    assert (
        sum(d["count"] for d in report["defects"] if d["kind"] == "set_aside")
        == (report["totals"]["set_aside"])
    )
    assert "Permission denied" in page

    stream = store_photos(photos, taxonomy, StoreParams())
    for row in stream.rows.to_dict("records"):
        with Image.open(io.BytesIO(stream.encode(row))) as stored:
            stored.load()
            assert stored.mode == "RGB"


@pytest.mark.parametrize("hidden", ["stat", "read_bytes"])
def test_any_error_of_the_system_sets_one_photo_aside(hidden, tmp_path, write_photo, monkeypatch):
    for i in range(40):
        write_photo(tmp_path / "ab"[i % 2] / f"{i}.jpg", i)
    source_photos = folder(tmp_path)
    real = getattr(Path, hidden)

    def fail(path, **options):
        if path.name == "7.jpg":
            raise OSError(5, "Input/output error")
        return real(path, **options)

    monkeypatch.setattr(Path, hidden, fail)
    taxonomy = resolve_taxonomy(source_photos, DERIVED)
    index = index_photos(source_photos, taxonomy, INDEX, DefectParams())
    bad = index[index["defect"].notna()]
    assert [Path(path).name for path in bad["path"]] == ["7.jpg"]
    assert "Input/output error" in bad["detail"].item()


STATES = ["photo", "empty", "cut", "text", "gone", "grey", "gif", "tiny", "noise"]
FILES = st.lists(
    st.tuples(
        st.sampled_from(STATES),
        st.integers(0, 3),
        st.sampled_from(["a", "b", None]),
        st.sampled_from([*SPLITS, None]),
    ),
    max_size=12,
)


@given(files=FILES)
@settings(max_examples=25, deadline=None)
def test_accepted_repaired_and_set_aside_are_all_that_was_found(files, good_photos, draw, encode):
    root = Path(tempfile.mkdtemp(dir=Path(good_photos[0][0]).parent))
    rows = list(good_photos)
    for i, (state, seed, kind, given_split) in enumerate(files):
        path = root / f"{i}.jpg"
        if state != "gone":
            path.write_bytes(_content(state, seed, draw, encode))
        rows.append((str(path), kind, given_split))
    photos = pd.DataFrame(rows, columns=["path", "label", "given_split"], dtype="str")
    photos["group"] = pd.Series(None, index=photos.index, dtype="str")
    _, divided = divide(photos)

    assert divided["path"].tolist() == photos["path"].tolist()
    is_sound = divided["defect"].isna()
    assert divided["detail"].notna().equals(~is_sound)
    assert divided["split"].notna().equals(is_sound)
    kept = divided[is_sound]
    assert kept["photo_id"].is_unique
    assert (kept.groupby("group")["split"].nunique() == 1).all()
    repaired = kept["repairs"].notna()
    assert (~repaired).sum() + repaired.sum() + (~is_sound).sum() == len(photos)
    names = {check.name for check in (*REPAIRED, *FLAGGED)} | {"near_duplicate"}
    for column in ("repairs", "flags"):
        assert set(divided[column].dropna().str.split(";").explode()) <= names
    by_file = {check.name for check in SET_ASIDE}
    copies = {"exact_duplicate", "conflicting_duplicate", "twin_of_test"}
    assert set(divided["defect"].dropna()) <= by_file | copies
    # What is in some file and not contradicted is kept once, unless its twin is held out.
    decoded = divided[~divided["defect"].isin(by_file)]
    contradicted = decoded.loc[decoded["defect"] == "conflicting_duplicate", "photo_id"]
    twins = decoded.loc[decoded["defect"] == "twin_of_test", "photo_id"]
    lost = set(decoded["photo_id"]) - set(kept["photo_id"])
    assert set(contradicted) <= lost <= set(contradicted) | set(twins)


@pytest.fixture(scope="module")
def good_photos(tmp_path_factory, write_photo):
    root = tmp_path_factory.mktemp("good")
    return [(str(write_photo(root / f"{i}.jpg", 500 + i)), "ab"[i % 2], None) for i in range(24)]


def _content(state, seed, draw, encode):
    data = encode(draw(seed))
    return {
        "photo": lambda: data,
        "empty": lambda: b"",
        "cut": lambda: data[: len(data) // 2],
        "text": lambda: b"hello",
        "grey": lambda: encode(draw(seed).convert("L")),
        "gif": lambda: encode(draw(seed), "GIF"),
        "tiny": lambda: encode(draw(seed, 8, 8)),
        "noise": lambda: np.random.default_rng(seed).bytes(500),
    }[state]()


def test_nothing_usable_is_reported(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").touch()
    with pytest.raises(SourceError, match="2 empty"):
        divide(folder(tmp_path))


VERDICTS = {
    "zero_byte/grapes_h001.JPG": "empty",
    "zero_byte/grapes_h003.JPG": "empty",
    "lfs_pointer/000146ff-92a4-4db6-90ad-8fce2ae4fddd___GH_HL Leaf 259.1.JPG": "lfs_pointer",
    "lfs_pointer/0031da2a-8edd-468f-a8b1-106657717a32___RS_HL 0105.JPG": "lfs_pointer",
    "truncated_256KiB/apple_d001.JPG": "truncated",
    "truncated_256KiB/apple_d003.JPG": "truncated",
    "truncated_256KiB/apple_d005.JPG": "truncated",
    "exif_rotated/20130610_110514.jpg": "exif_rotated",
    "exif_rotated/e33155.jpg": "exif_rotated",
    "tiny/Tomato-Mosaic-1wdr2jx-300x225.jpg": "fine",  # 130 x 69: small, not unusable
    "huge/RARZ4.jpg": "fine",  # 24 megapixels
    "stray_and_odd_ext/42f083e2-272d-4f83-ad9a-573ee90e50ec___Screen Shot 2015-05-06 at 4.01.13"
    " PM.png": "alpha",
    "stray_and_odd_ext/svn-r6Yb5c": "empty",
}


def test_files_found_in_published_sets(real_photos):
    root = real_photos / "naturally_bad"
    if not root.is_dir():
        pytest.skip(f"no naturally bad photos in {real_photos}")
    paths = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    photos = pd.DataFrame({"path": [str(root / path) for path in paths]}, dtype="str")
    photos["group"] = photos["given_split"] = pd.Series(None, index=photos.index, dtype="str")
    photos["label"] = [path.partition(os.sep)[0] for path in paths]
    taxonomy = resolve_taxonomy(photos, DERIVED)
    index = index_photos(photos, taxonomy, INDEX, DefectParams())
    told = index["defect"].fillna(index["repairs"]).fillna("fine")
    assert dict(zip(paths, told, strict=True)) == VERDICTS
    assert index["flags"].isna().all()
