"""PlantVillage's layout."""

import json
import re

import pytest

from cannabis_ml.photo_sets.sources.plantvillage import CAPTURE

UUID = "0631708e-5bac-4611-8ff9-6d5ee87ce3b3___"
SCAB = "Apple___Apple_scab"


def test_folders_get_harmonised_names_and_others_keep_theirs(tree, load):
    root = tree(
        "Corn_(maize)___Common_rust_/1.jpg",
        "Pepper__bell___Bacterial_spot/2.jpg",
        "Background_without_leaves/3.jpg",
        "Hop___Downy_mildew/4.jpg",
    )
    photos = load(kind="plantvillage", path=str(root)).set_index("path")
    found = photos[["species", "condition"]].fillna("?").to_numpy().tolist()
    assert found == [
        ["background", "?"],
        ["Corn", "Common_rust"],
        ["Hop", "Downy_mildew"],
        ["Bell_pepper", "Bacterial_spot"],
    ]


def test_label_map_comes_first(tree, load):
    root = tree(f"{SCAB}/1.jpg", "Junk/2.jpg")
    photos = load(
        kind="plantvillage",
        path=str(root),
        label_map={SCAB: {"species": "Malus", "condition": "scab"}, "Junk": None},
    )
    assert photos["species"].fillna("?").tolist() == ["Malus", "?"]


def test_folders_called_otherwise_are_listed(tree, complaint):
    root = tree(f"{SCAB}/1.jpg", "Misc/1.jpg", "Misc/2.jpg")
    message = complaint(kind="plantvillage", path=str(root))
    assert "1 class folder" in message
    assert "'Misc' (2 photos)" in message
    assert "label_map" in message


@pytest.mark.parametrize(
    ("name", "series", "number"),
    [
        (f"{UUID}FREC_Scab 3335.JPG", "FREC_Scab", "3335"),
        (f"{UUID}RS_GLSp 4378 copy 2.jpg", "RS_GLSp", "4378"),
        (f"{UUID}RS_HL 5677 1.JPG", "RS_HL", "5677"),
        (f"{UUID}GHLB2 Leaf 133.1.JPG", "GHLB2 Leaf", "133"),
        (f"{UUID}GHLB Leaf 2.3 Day 13.JPG", "GHLB Leaf", "2"),
        (f"{UUID}UF.GRC_YLCV_Lab 02748.JPG", "UF.GRC_YLCV_Lab", "02748"),
        (f"{UUID}FREC_Scab 3335_final_masked.jpg", "FREC_Scab", "3335"),
        ("RS_Rust 1584.JPG", "RS_Rust", "1584"),
    ],
)
def test_captures_are_read_off_real_names(name, series, number):
    match = re.search(CAPTURE, f"color/{SCAB}/{name}")
    assert match["folder"] == SCAB
    assert (match["series"] or match["bare"], match["number"]) == (series, number)


@pytest.mark.parametrize("name", ["Healthy (100).jpg", "image (1).jpg", "1.jpg", "IMG 7.jpg"])
def test_names_without_a_capture(name):
    assert not re.search(CAPTURE, f"{SCAB}/{name}")


def test_neighboring_captures_and_copies_share_a_group(tree, load):
    root = tree(
        f"{SCAB}/{UUID}FREC_Scab 3300.JPG",
        f"{SCAB}/{UUID}FREC_Scab 3349 copy.jpg",
        f"{SCAB}/{UUID}FREC_Scab 3350.JPG",
        f"{SCAB}/{UUID}RS_Scab 3301.JPG",
        f"Apple___healthy/{UUID}FREC_Scab 3300.JPG",
    )
    found = load(kind="plantvillage", path=str(root))["group"].tolist()
    assert found[0] == found[1]
    assert len(set(found)) == 4
    finer = load(kind="plantvillage", path=str(root), group_run=10)["group"]
    assert finer.nunique() == 5


class TestLeafMap:
    @pytest.fixture
    def leaf_map(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("map") / "leaf-map.json"
        path.write_text(
            json.dumps(
                {
                    "frec_scab 3349": [f"{SCAB}:::7.0"],
                    "frec_scab 3350": [f"{SCAB}:::7.0"],
                    "rs_hl 12": ["Apple___healthy:::3.0", "Soybean___healthy:::9.0"],
                }
            )
        )
        return str(path)

    def test_one_leaf_is_one_group(self, tree, load, leaf_map):
        root = tree(
            f"{SCAB}/{UUID}FREC_Scab 3349 copy 2.jpg",
            f"{SCAB}/{UUID}FREC_Scab 3350.JPG",
            f"{SCAB}/{UUID}FREC_Scab 3351.JPG",
            f"Soybean___healthy/{UUID}RS_HL 12_final_masked.jpg",
            f"Peach___healthy/{UUID}RS_HL 12.JPG",
        )
        photos = load(kind="plantvillage", path=str(root), leaf_map=leaf_map)
        assert photos["group"].tolist() == [
            f"plantvillage/{SCAB}:::7.0",
            f"plantvillage/{SCAB}:::7.0",
            f"plantvillage/{SCAB}/FREC_Scab/67",  # not listed: by its number
            "plantvillage/Peach___healthy/RS_HL/0",  # listed for two other folders: cannot tell
            "plantvillage/Soybean___healthy:::9.0",
        ]

    def test_map_that_lists_none_of_the_photos_is_reported(self, tree, complaint, leaf_map):
        root = tree(f"{SCAB}/1.jpg")
        message = complaint(kind="plantvillage", path=str(root), leaf_map=leaf_map)
        assert "lists none of the 1 photo" in message

    @pytest.mark.parametrize("content", ["[1]", "{", '{"a": 1}'])
    def test_file_of_another_form_is_reported(self, content, tree, complaint):
        root = tree(f"{SCAB}/{UUID}RS_HL 1.JPG")
        (root / "map.json").write_text(content)
        message = complaint(kind="plantvillage", path=str(root), leaf_map=str(root / "map.json"))
        assert "is not a leaf map" in message

    def test_missing_file_is_reported(self, tree, complaint):
        root = tree(f"{SCAB}/{UUID}RS_HL 1.JPG")
        message = complaint(kind="plantvillage", path=str(root), leaf_map="nowhere.json")
        assert "nowhere.json cannot be opened" in message


def test_real_plantvillage(real_photos, load):
    photos = load(kind="plantvillage", path=str(real_photos / "plantvillage_subset"))
    assert len(photos) == 2836
    assert photos["species"].nunique() == 15
    assert photos["condition"].isna().sum() == 80  # the backgrounds
    # All but the five folders whose files were renumbered (grapes, backgrounds).
    assert photos["group"].isna().sum() == 5 * 80
    of_group = photos.groupby("group")[["species", "condition"]].nunique()
    assert (of_group == 1).all(axis=None)
