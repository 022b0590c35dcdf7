"""What the class folders of published data sets mean."""

from pathlib import Path

import pytest
import yaml

from cannabis_ml.photo_sets.sources.class_table import (
    class_folders,
    class_heads,
    class_table,
    folded,
)
from cannabis_ml.taxonomy import Taxonomy

CROPS = Path(__file__).parents[3] / "conf/crops/parameters_taxonomy.yml"


def pairs(name):
    return {(row["species"], row["condition"]) for row in class_table(name).values()}


@pytest.fixture(scope="module")
def crops():
    return Taxonomy.model_validate(yaml.safe_load(CROPS.read_text(encoding="utf-8"))["taxonomy"])


@pytest.mark.parametrize("name", ["plantvillage", "plantdoc"])
def test_no_folder_is_listed_twice(name):
    assert len(class_table(name)) == len(class_folders(name))
    assert class_heads(name) == ["species", "condition"]


def test_the_crops_taxonomy_is_what_the_tables_can_say(crops):
    told = pairs("plantvillage") | pairs("plantdoc")
    allowed = crops["condition"].allowed
    assert {species for species, _ in told} == set(crops["species"].class_names) == set(allowed)
    written = {(species, name) for species, names in allowed.items() for name in names}
    assert {pair for pair in told if pair[1]} == written
    assert {name for _, name in written} == set(crops["condition"].class_names)


def test_published_numbers_of_classes():
    """38 classes, 14 crops, 26 diseases (Mohanty et al. 2016); 28 classes of PlantDoc's files."""
    real = {pair for pair in pairs("plantvillage") if pair[1]}
    assert len(real) == 38
    assert len({species for species, _ in real}) == 14
    assert len({pair for pair in real if pair[1] != "healthy"}) == 26
    only_for_detection = {"Potato leaf", "Soybean leaf"}
    assert len(set(class_folders("plantdoc")) - only_for_detection) == 28


def test_plantdoc_has_no_class_that_plantvillage_lacks():
    assert pairs("plantdoc") <= pairs("plantvillage")


@pytest.mark.parametrize(
    ("plantdoc", "plantvillage"),
    [
        ("Tomato Septoria leaf spot", "Tomato___Septoria_leaf_spot"),
        ("Corn Gray leaf spot", "Corn_(maize)___Cercospora_leaf_spot Gray_leaf_spot"),
        ("Soyabean leaf", "Soybean___healthy"),
        ("Bell_pepper leaf spot", "Pepper,_bell___Bacterial_spot"),
        ("grape leaf black rot", "Grape___Black_rot"),
        ("Tomato two spotted spider mites leaf", "Tomato___Spider_mites Two-spotted_spider_mite"),
        ("Tomato mold leaf", "Tomato___Leaf_Mold"),
    ],
)
def test_the_same_thing_has_the_same_name(plantdoc, plantvillage):
    one = class_table("plantdoc")[folded(plantdoc)]
    assert one == class_table("plantvillage")[folded(plantvillage)]


@pytest.mark.parametrize(
    "other",
    [
        "Pepper__bell___Bacterial_spot",
        "pepper, bell - bacterial spot",
        "Pepper_bell_Bacterial_spot",
    ],
)
def test_editions_spell_alike(other):
    assert folded(other) == folded("Pepper,_bell___Bacterial_spot")


def test_folders_are_compared_in_one_unicode_form():
    assert folded("Ga\u0308nse_fuß ") == folded("Gänse fuß")
