"""Classes of few groups, and what an exact test can say of them."""

from math import comb

import numpy as np
import pandas as pd
import pytest

from cannabis_ml.photo_sets.checks import few_groups
from cannabis_ml.photo_sets.checks.shortcuts import ShortcutsParams
from cannabis_ml.taxonomy import Head, Taxonomy

PARAMS = ShortcutsParams()
LEAF = Taxonomy(heads=[Head(name="leaf", classes=["healthy", "dry", "mould"])])


def photos(rare=7, per_group=10, others=40, seed=0):
    """`others` groups of two classes, and `rare` groups of a third; nothing tells them apart."""
    random = np.random.default_rng(seed)
    leaf = ["mould"] * rare + ["healthy", "dry"] * (others // 2)
    table = pd.DataFrame({"group": [f"g{i}" for i in range(len(leaf))], "leaf": leaf})
    table = table.loc[table.index.repeat(per_group)].reset_index(drop=True)
    table["width"] = random.integers(300, 900, len(table))
    table["height"] = random.integers(300, 900, len(table))
    table["bytes"] = random.integers(10_000, 90_000, len(table))
    for channel in ("red", "green", "blue"):
        table[f"border_{channel}"] = random.uniform(0, 255, len(table))
    return table.assign(defect=None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_group", [1, 10])
def test_no_finding_without_a_separating_property(seed, per_group):
    assert few_groups.find(photos(per_group=per_group, seed=seed), LEAF, PARAMS) == []


def test_width_that_gives_a_class_of_few_groups_away_is_an_alarm():
    table = photos()
    table.loc[table["leaf"] == "mould", "width"] = 256
    (finding,) = few_groups.find(table, LEAF, PARAMS)
    assert (finding.severity, finding.classes) == ("alarm", ["mould"])
    assert finding.sentence.startswith(
        "Width alone separates all 70 photos of 'mould' from the 400 others of 'leaf'"
        " (256 px in all of them and in none of the rest), in 7 groups of photos"
    )
    # 47 groups, 7 of them in a run: at most 41 of all ways to place them.
    assert finding.numbers["chance"] == 41 / comb(47, 7)


def test_one_exception_is_enough_for_no_finding():
    table = photos()
    table.loc[table["leaf"] == "mould", "width"] = 256
    table.loc[len(table) - 1, "width"] = 256
    assert few_groups.find(table, LEAF, PARAMS) == []


def test_many_photos_of_two_groups_prove_nothing():
    """Two groups of 40 stand side by side by chance once in 20."""
    table = photos(rare=2, per_group=50)
    table.loc[table["leaf"] == "mould", "width"] = 256
    assert few_groups.find(table, LEAF, PARAMS) == []
    (told,) = few_groups.unchecked(table, LEAF, PARAMS)
    assert told["few"] == {"mould": 2}
    assert told["out_of_reach"] == ["mould"]
    assert "1 of 3 classes have fewer than 10 groups of photos ('mould' 2)" in told["sentence"]
    assert "Not checked at all: 'mould'" in told["sentence"]


def test_color_of_the_border_is_a_warning():
    table = photos()
    table.loc[table["leaf"] == "mould", "border_red"] = 300.0
    (finding,) = few_groups.find(table, LEAF, PARAMS)
    assert finding.severity == "warning"
    assert "border" in finding.sentence


def test_luck_is_taken_for_a_shortcut_no_more_often_than_allowed():
    """One in a hundred sets, and of 200 seldom above 7; four groups of 44 are within reach."""
    sets = [photos(rare=4, per_group=1, seed=seed) for seed in range(200)]
    assert few_groups.unchecked(sets[0], LEAF, PARAMS)[0]["out_of_reach"] == []
    assert sum(bool(few_groups.find(one, LEAF, PARAMS)) for one in sets) <= 7


def test_classes_with_enough_groups_are_left_to_the_models():
    table = photos(rare=12)
    table.loc[table["leaf"] == "mould", "width"] = 256
    assert few_groups.find(table, LEAF, PARAMS) == []
    assert few_groups.unchecked(table, LEAF, PARAMS) == []
