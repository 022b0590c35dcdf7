from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cannabis_ml.photo_sets.checks.shortcuts import (
    Predictability,
    ShortcutsParams,
    as_numbers,
    find,
    findings_from,
    measure,
)
from cannabis_ml.taxonomy import Head, Taxonomy

PARAMS = ShortcutsParams()
LEAF = Taxonomy(heads=[Head(name="leaf", classes=["healthy", "dry", "spots", "mould"])])


def photos(n=240, seed=0, classes=("healthy", "dry", "spots", "mould")):
    """Labels that have nothing to do with anything."""
    random = np.random.default_rng(seed)
    width, height = random.integers(300, 900, n), random.integers(300, 900, n)
    return pd.DataFrame(
        {
            "path": [f"{i}.jpg" for i in range(n)],
            "group": None,
            "defect": None,
            "format": random.choice(["JPEG", "PNG"], n),
            "mode": "RGB",
            "bytes": (width * height * random.uniform(0.1, 0.4, n)).astype(int),
            "width": pd.array(width, dtype="Int64"),
            "height": pd.array(height, dtype="Int64"),
            "exif_make": random.choice([None, "Acme", "Other"], n),
            "exif_orientation": pd.array(random.choice([1, 6], n), dtype="Int64"),
            "border_red": random.uniform(0, 255, n),
            "border_green": random.uniform(0, 255, n),
            "border_blue": random.uniform(0, 255, n),
            "leaf": random.choice(list(classes), n),
        }
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n", [60, 240])
def test_silent_where_there_is_none(seed, n):
    assert find(photos(n, seed), LEAF, PARAMS) == []


@pytest.mark.parametrize("seed", range(3))
def test_silent_where_one_class_is_much_larger(seed):
    table = photos(400, seed)
    table.loc[np.random.default_rng(seed).random(400) < 0.8, "leaf"] = "healthy"
    assert find(table, LEAF, PARAMS) == []


PLANTED = {
    "height": ("Height", "height", 512),
    "width": ("Width", "width", 640),
    "format": ("File format", "format", "WEBP"),
    "mode": ("Colour mode", "mode", "L"),
    "make": ("Camera make (EXIF)", "exif_make", "Odd"),
    "orientation": ("EXIF orientation", "exif_orientation", 3),
}


@pytest.mark.parametrize(("words", "column", "value"), PLANTED.values(), ids=PLANTED)
def test_names_the_property_and_the_class(words, column, value):
    table = photos()
    table.loc[table["leaf"] == "dry", column] = value
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence.startswith(f"{words} alone separates 'dry' from the rest of 'leaf': ")
    assert finding.severity == "alarm"
    assert finding.classes == ["dry"]


def test_names_the_value_that_gives_the_class_away():
    table = photos()
    table.loc[table["leaf"] == "dry", "height"] = 512
    (finding,) = find(table, LEAF, PARAMS)
    assert "(512 px in 100% of them and in 0% of the rest)" in finding.sentence


def test_the_longer_side_is_found_whichever_way_the_camera_was_held():
    table = photos()
    is_dry, lies = table["leaf"] == "dry", table.index % 2 == 0
    table[["width", "height"]] = table[["width", "height"]].clip(upper=800)
    table.loc[is_dry & lies, "width"], table.loc[is_dry & ~lies, "height"] = 1000, 1000
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence.startswith("Longer side alone separates 'dry'")


def test_compression_shows_in_bytes_per_pixel():
    table = photos()
    pixels = (table["width"] * table["height"]).astype(float)
    is_dry = table["leaf"] == "dry"
    table.loc[is_dry, "bytes"] = (pixels[is_dry] * 0.8).astype(int)
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence.startswith("File size per pixel alone separates 'dry'")
    assert "(median 0.80 bytes against 0." in finding.sentence


def test_the_background_is_a_warning_of_its_own():
    table = photos()
    table.loc[table["leaf"] == "dry", ["border_red", "border_green", "border_blue"]] = 250.0
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence.startswith("The mean colour of the border alone separates 'dry'")
    assert finding.severity == "warning"


def test_reports_when_no_class_stands_out_but_all_are_given_away():
    table = photos(1000)
    middle = table["leaf"].map({"healthy": 400, "dry": 500, "spots": 600, "mould": 700})
    table["height"] = (middle + np.random.default_rng(1).normal(0, 55, 1000)).astype("int")
    (finding,) = find(table, LEAF, PARAMS)
    assert "the best single one is height" in finding.sentence
    assert "always naming the largest class for 2" in finding.sentence


def test_photos_of_one_group_prove_nothing():
    """What marks a burst is not what marks its class: it must hold for groups not seen."""
    table = photos(400, seed=3)
    table["group"] = [f"burst {i // 20}" for i in range(400)]
    by_burst = np.random.default_rng(0)
    labels, heights = by_burst.permutation(["dry", "spots"] * 10), by_burst.permutation(20)
    table["leaf"] = [labels[i // 20] for i in range(400)]
    table["height"] = [300 + int(heights[i // 20]) for i in range(400)]
    alone = table.assign(group=None)
    assert find(alone, LEAF, PARAMS) != []
    assert find(table, LEAF, PARAMS) == []


def test_clusters_stand_in_for_groups():
    table = photos(400)
    table["cluster"] = pd.array(np.arange(400) // 4, dtype="Int64")
    assert {m.groups for m in measure(table, LEAF, PARAMS)} == {100}


def test_what_is_set_aside_does_not_count():
    table = photos()
    table.loc[table["leaf"] == "dry", "height"] = 512
    table.loc[table["leaf"] == "dry", "defect"] = "truncated"
    assert find(table, LEAF, PARAMS) == []


def test_attributes_are_questions_of_their_own():
    taxonomy = Taxonomy(heads=[Head(name="look", kind="multilabel", classes=["seeds", "stems"])])
    table = photos()
    random = np.random.default_rng(0)
    for name in ("seeds", "stems"):
        table[f"look.{name}"] = pd.array(random.random(len(table)) < 0.2, dtype="boolean").astype(
            "Int8"
        )
    table.loc[table["look.stems"] == 1, "format"] = "BMP"
    table.loc[:50, "look.stems"] = pd.NA
    (finding,) = find(table, taxonomy, PARAMS)
    assert finding.sentence.startswith(
        "File format alone separates photos with 'stems' from those without: 100%"
    )
    assert finding.numbers["photos"] == len(table) - 51


def test_a_rare_class_is_heard_in_a_large_set():
    table = photos(8000)
    table["leaf"] = np.where(table.index < 40, "dry", table["leaf"].replace("dry", "spots"))
    table.loc[table["leaf"] == "dry", "exif_make"] = "Odd"
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.classes == ["dry"]
    assert finding.numbers["photos"] < 1.1 * PARAMS.max_photos


def test_classes_with_a_few_photos_are_passed_over():
    table = photos(200)
    table["leaf"] = np.where(table.index < 5, "dry", table["leaf"].replace("dry", "spots"))
    table.loc[table["leaf"] == "dry", "height"] = 512
    assert find(table, LEAF, PARAMS) == []
    assert measure(table.iloc[:8], LEAF, PARAMS) == []
    assert measure(table.iloc[:0], LEAF, PARAMS) == []


def test_missing_columns_and_values_are_borne():
    table = photos().drop(columns=["border_red", "exif_make", "mode"])
    table.loc[::3, "height"] = pd.NA
    table.loc[::5, "leaf"] = None
    table.loc[table["leaf"] == "dry", "format"] = None
    (finding,) = find(table, LEAF, PARAMS)
    assert finding.sentence.startswith("File format alone separates 'dry'")


def test_mixed_sources_are_given_as_the_cause():
    table = photos()
    table["source"] = np.where(table["leaf"].isin(["dry", "spots"]), "field", "laboratory")
    table.loc[table["source"] == "laboratory", "format"] = "TIFF"
    (finding,) = find(table, LEAF, PARAMS)
    assert "it comes from mixing sources: the source alone names" in finding.sentence


def test_same_photos_same_words():
    table = photos(seed=5)
    table.loc[table["leaf"] == "dry", "height"] = 512
    first, second = (measure(table, LEAF, PARAMS) for _ in range(2))
    assert first == second
    assert findings_from(first, PARAMS) == findings_from(second, PARAMS)


def test_numbers_are_plain():
    import json

    table = photos()
    table.loc[table["leaf"] == "dry", "height"] = 512
    (finding,) = find(table, LEAF, PARAMS)
    assert json.loads(json.dumps(finding.as_dict())) == finding.as_dict()
    assert as_numbers(measure(table, LEAF, PARAMS)[0])["separable"][0]["answer"] == "dry"


def test_fast_enough_for_many_classes():
    import time

    names = [f"class {i}" for i in range(38)]
    table = photos(3000, classes=names)
    table["height"] = table["leaf"].str[6:].astype(int) // 2 + 300  # all is tried
    start = time.process_time()
    findings = find(table, Taxonomy(heads=[Head(name="leaf", classes=names)]), PARAMS)
    assert time.process_time() - start < 10
    assert len(findings) == 1


def test_a_real_set_with_a_shortcut(real_photos):
    """Every 'dehydrated' photo is 512 px on its longer side, and no other is."""
    rows = []
    for path in sorted((real_photos / "cannabis_leaf_condition").rglob("*.jpg")):
        with Image.open(path) as image:
            rows.append(
                {
                    "leaf": path.parent.name,
                    "bytes": path.stat().st_size,
                    "format": image.format,
                    "width": image.width,
                    "height": image.height,
                }
            )
    table = pd.DataFrame(rows)
    taxonomy = Taxonomy(heads=[Head(name="leaf", classes=sorted(table["leaf"].unique()))])
    (finding,) = find(table, taxonomy, PARAMS)
    assert finding.sentence.startswith(
        "Longer side alone separates 'dehydrated' from the rest of 'leaf': 100%"
    )


@pytest.mark.parametrize(
    ("gain", "severity"),
    [(0.1, None), (0.174, None), (0.176, "hint"), (0.241, "hint"), (0.25, "warning")],
)
def test_what_comes_close_to_the_limit_is_a_hint(gain, severity):
    """The limit of the border is 0.25; a hint begins at 70% of it."""
    one = Predictability(
        head="leaf",
        question="leaf",
        attribute=None,
        kind="border",
        photos=240,
        groups=240,
        classes=4,
        accuracy=0.25 + 0.75 * gain,
        chance=0.25,
        gain=gain,
        is_significant=True,
    )
    found = findings_from([one], PARAMS)
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    if severity == "hint":
        assert f"closes {gain:.0%} of the gap" in found[0].sentence
        assert "a warning begins at 25%" in found[0].sentence
    # What luck explains is no hint either.
    assert findings_from([replace(one, is_significant=False)], PARAMS) == []
