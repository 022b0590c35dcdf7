"""The sample photos: honest labels, visible attributes, the same bytes every time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from cannabis_ml import sample_photos as sample
from cannabis_ml.errors import SourceError
from cannabis_ml.sample_photos import draw_labels, draw_photo, write_sample_photos
from cannabis_ml.sample_photos.lots import ATTRIBUTES, GRADES, PRODUCT_TYPES, Lot, lot_of

TAXONOMY = Path(__file__).parents[2] / "conf/base/parameters_taxonomy.yml"
SEED = 7


@pytest.fixture(scope="module")
def taxonomy() -> dict[str, list[str]]:
    heads = yaml.safe_load(TAXONOMY.read_text(encoding="utf-8"))["taxonomy"]["heads"]
    return {head["name"]: [next(iter(c)) for c in head["classes"]] for head in heads}


@pytest.fixture(scope="module")
def lots() -> list[Lot]:
    return [lot_of(index, SEED) for index in range(3000)]


def test_classes_are_those_of_the_default_taxonomy(taxonomy: dict[str, list[str]]) -> None:
    assert taxonomy == {
        "product_type": list(PRODUCT_TYPES),
        "quality_grade": list(GRADES),
        "appearance": list(ATTRIBUTES),
    }


def test_label_columns_are_those_of_the_taxonomy(taxonomy: dict[str, list[str]]) -> None:
    labels, _ = draw_labels(0, SEED)
    attributes = [f"appearance.{name}" for name in taxonomy["appearance"]]
    assert list(labels) == ["product_type", "quality_grade", *attributes]


def test_every_class_and_attribute_occurs_in_300_photos(taxonomy: dict[str, list[str]]) -> None:
    drawn = [draw_labels(index, SEED)[0] for index in range(300)]
    for head in ("product_type", "quality_grade"):
        assert {labels[head] for labels in drawn} == {None, *taxonomy[head]}
    for name in taxonomy["appearance"]:
        assert {labels[f"appearance.{name}"] for labels in drawn} == {None, 0, 1}


def test_no_attribute_is_rare_or_everywhere(lots: list[Lot]) -> None:
    counts = Counter(name for lot in lots for name in lot.attributes)
    shares = {name: counts[name] / len(lots) for name in ATTRIBUTES}
    assert all(0.08 <= share <= 0.65 for share in shares.values()), shares


@pytest.mark.parametrize(
    ("column", "low", "high"),
    [
        ("product_type", 0.03, 0.07),
        ("quality_grade", 0.12, 0.18),
        ("appearance.seeds", 0.25, 0.33),
    ],
)
def test_labels_go_missing_as_in_life(column: str, low: float, high: float) -> None:
    drawn = [draw_labels(index, SEED)[0] for index in range(3000)]
    assert low < np.mean([labels[column] is None for labels in drawn]) < high


def test_grades_keep_their_word(lots: list[Lot]) -> None:
    by_grade = {grade: [lot for lot in lots if lot.grade == grade] for grade in GRADES}
    blemishes = {"mould", "seeds", "yellowing", "stems"}
    assert not any(blemishes & lot.attributes for lot in by_grade["A+"])
    assert not any("mould" in lot for grade in ("A", "B") for lot in by_grade[grade])
    assert np.mean(["mould" in lot for lot in by_grade["F"]]) > 0.5
    quality = [np.mean([lot.quality for lot in by_grade[grade]]) for grade in GRADES]
    assert quality == sorted(quality, reverse=True)


def test_a_photo_does_not_depend_on_the_others() -> None:
    alone = draw_photo(5, SEED, 64)
    [draw_photo(index, SEED, 64) for index in range(3)]
    again = draw_photo(5, SEED, 64)
    assert (alone.pixels == again.pixels).all()
    assert (alone.labels, alone.group) == (again.labels, again.group) == draw_labels(5, SEED)


@pytest.mark.parametrize("size", [64, 160])
def test_size_bounds_the_long_side(size: int) -> None:
    for index in range(6):
        pixels = draw_photo(index, SEED, size).pixels
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert size <= max(pixels.shape) <= 1.25 * size


def test_burst_frames_share_group_and_labels_and_differ_in_pixels() -> None:
    groups: dict[str, list[int]] = {}
    for index in range(1000):
        groups.setdefault(draw_labels(index, SEED)[1], []).append(index)
    bursts = [frames for frames in groups.values() if len(frames) > 1]
    assert {len(frames) for frames in bursts} == {2, 3}
    assert 0.1 < sum(map(len, bursts)) / 1000 < 0.3

    first, second = (draw_photo(index, SEED, 64) for index in bursts[0][:2])
    assert (first.group, first.labels) == (second.group, second.labels)
    assert first.pixels.shape == second.pixels.shape
    assert np.abs(first.pixels.astype(int) - second.pixels).mean() > 1


def test_same_bytes_for_one_worker_and_two(tmp_path: Path) -> None:
    folders = [write_sample_photos(tmp_path / str(n), 12, SEED, 64, workers=n) for n in (1, 2)]
    one, two = (
        {
            file.relative_to(folder): hashlib.sha256(file.read_bytes()).digest()
            for file in folder.rglob("*")
            if file.is_file()
        }
        for folder in folders
    )
    assert len(one) == 13
    assert one == two


def test_labels_are_written_beside_the_photos(tmp_path: Path) -> None:
    folder = write_sample_photos(tmp_path / "sample", 6, SEED, 64, workers=1)
    table = pd.read_csv(folder / "labels.csv", dtype=object, keep_default_na=False)
    assert sorted(table["path"]) == sorted(f"photos/{p.name}" for p in folder.glob("photos/*"))
    for index, row in table.iterrows():
        labels, group = draw_labels(int(str(index)), SEED)
        expected = {"group": group} | {k: "" if v is None else str(v) for k, v in labels.items()}
        assert row.drop("path").to_dict() == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_write_leaves_nothing(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(rows: Iterator[object], *_: object, **__: object) -> Iterator[object]:
        yield next(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "tqdm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_sample_photos(tmp_path / "sample", 60, SEED, 64, workers=workers)
    assert not list(tmp_path.iterdir())


def test_photos_are_not_drawn_over_others(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path\n")
    with pytest.raises(SourceError, match="not empty"):
        write_sample_photos(tmp_path, 4, SEED, 64, workers=1)
    assert [file.name for file in tmp_path.iterdir()] == ["labels.csv"]


def _share_of(pixels: np.ndarray, hues: tuple[int, int], saturation: int, value: int) -> float:
    """The share of pixels of a hue range (degrees), at least so saturated and so light."""
    hue, sat, val = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))
    low, high = (degrees / 2 for degrees in hues)
    return float(np.mean((hue >= low) & (hue <= high) & (sat > saturation) & (val > value)))


def _orange(pixels: np.ndarray) -> float:
    return _share_of(pixels, (8, 40), 130, 90)


def _purple(pixels: np.ndarray) -> float:
    return _share_of(pixels, (255, 345), 45, 40)


def _yellow(pixels: np.ndarray) -> float:
    return _share_of(pixels, (38, 62), 70, 120)


def _frost(pixels: np.ndarray) -> float:
    return float(np.mean(pixels.min(axis=2) > 185))


def _detail(pixels: np.ndarray) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std())


@pytest.mark.parametrize(
    ("attribute", "product_type", "measure"),
    [
        ("orange_pistils", "dry_flower", _orange),
        ("purple_hues", "plant", _purple),
        ("yellowing", "trim", _yellow),
        ("dense_trichomes", "dry_flower", _frost),
        ("wet_sheen", "hash", _frost),
        ("mould", "hash", _frost),
        ("crystals", "extract", _detail),
        ("seeds", "hash", _detail),
        ("stems", "hash", _detail),
        ("amber_trichomes", "hash", _orange),
    ],
)
def test_an_attribute_is_seen_where_it_is_labelled(
    attribute: str, product_type: str, measure: Callable[[np.ndarray], float], lots: list[Lot]
) -> None:
    gains = []
    for lot in [lot for lot in lots if lot.product_type == product_type][:8]:
        plain = replace(lot, attributes=frozenset())
        shown = replace(lot, attributes=frozenset({attribute}))
        without, having = (sample._picture(x, x.first, 128) for x in (plain, shown))
        gains.append(measure(having) - measure(without))
    assert np.median(gains) > 0
    assert np.mean(np.array(gains) > 0) >= 0.75
