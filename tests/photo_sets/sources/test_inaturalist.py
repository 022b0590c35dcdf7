"""Annotations of iNaturalist's competitions."""

import json

import pytest


@pytest.fixture
def annotations(tmp_path):
    """Write an annotations file of 2021's form and its photos; fields can be replaced."""

    def write(**changed):
        categories = [
            {"id": 3, "name": "Quercus robur", "genus": "Quercus", "supercategory": "Plants"},
            {"id": 9, "name": "Acer rubrum", "genus": "Acer", "supercategory": "Plants"},
        ]
        images = [
            {"id": i, "file_name": f"train/{i}.jpg", "width": 5, "height": 5, "license": 0}
            for i in range(4)
        ]
        links = [(0, 3), (1, 3), (2, 9), (3, 9)]
        content = {
            "images": images,
            "categories": categories,
            "annotations": [
                {"id": n, "image_id": image, "category_id": category}
                for n, (image, category) in enumerate(links)
            ],
        } | changed
        for image in content["images"]:
            path = tmp_path / image.get("file_name", "x")
            path.parent.mkdir(exist_ok=True)
            path.touch()
        path = tmp_path / "train.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


def test_categories_become_labels(annotations, load, below, tmp_path):
    photos = load(
        kind="inaturalist",
        path=annotations(),
        heads={"species": "name", "genus": "genus"},
        given_split="train",
    )
    assert below(photos, tmp_path) == [f"train/{i}.jpg" for i in range(4)]
    assert photos["species"].tolist() == ["Quercus robur"] * 2 + ["Acer rubrum"] * 2
    assert photos["genus"].tolist() == ["Quercus"] * 2 + ["Acer"] * 2
    assert set(photos["given_split"]) == {"train"}
    assert photos["license"].tolist() == ["0"] * 4


def test_licences_are_named_where_the_file_names_them(annotations, load):
    images = [{"id": i, "file_name": f"train/{i}.jpg", "license": i} for i in range(4)]
    address = "http://creativecommons.org/licenses/by-nc/4.0/"
    licences = [{"id": 0, "name": "Attribution-NonCommercial", "url": address}]
    photos = load(kind="inaturalist", path=annotations(images=images, licenses=licences))
    assert photos["license"].tolist() == [address, "1", "2", "3"]


def test_label_map_names_several_heads_and_chooses(annotations, load):
    label_map = {"Acer rubrum": {"tree": "maple", "leaf": "lobed"}}
    photos = load(
        kind="inaturalist",
        path=annotations(),
        heads={"tree": "name"},
        label_map=label_map,
        defaults={"leaf": "plain"},
    )
    assert photos["tree"].tolist() == ["Quercus robur"] * 2 + ["maple"] * 2
    assert photos["leaf"].tolist() == ["plain"] * 2 + ["lobed"] * 2
    few = load(
        kind="inaturalist", path=annotations(), label_map={"Acer rubrum": "x"}, keep="mapped"
    )
    assert few["label"].tolist() == ["x", "x"]


def test_photos_of_one_observation_share_a_group(annotations, load):
    seen = {"rights_holder": "Ann", "date": "2020-05-01", "latitude": 1.5, "longitude": 2.5}
    images = [
        {"id": 0, "file_name": "0.jpg", **seen},
        {"id": 1, "file_name": "1.jpg", **seen},
        {"id": 2, "file_name": "2.jpg", **seen, "latitude": 1.6},
        {"id": 3, "file_name": "3.jpg", **seen, "latitude": None},
    ]
    groups = load(kind="inaturalist", path=annotations(images=images))["group"]
    assert groups[0] == groups[1] != groups[2]
    assert groups.isna().tolist() == [False, False, False, True]


def test_missing_photos_stay_in_the_list(annotations, load, tmp_path):
    path = annotations()
    (tmp_path / "train/2.jpg").unlink()
    assert len(load(kind="inaturalist", path=path)) == 4


def test_photos_without_or_with_several_categories_are_unlabelled(annotations, load, caplog):
    links = [{"image_id": 0, "category_id": 3}, {"image_id": 0, "category_id": 9}]
    links += [{"image_id": 1, "category_id": 9}, {"image_id": 1, "category_id": 9}]
    links += [{"image_id": 2, "category_id": 77}, {"image_id": 99, "category_id": 3}]
    photos = load(kind="inaturalist", path=annotations(annotations=links))
    assert photos["label"].fillna("?").tolist() == ["?", "Acer rubrum", "?", "?"]
    assert "1 photo" in caplog.text


def test_several_categories_of_a_photo_agree_head_by_head(annotations, load):
    categories = [
        {"id": 3, "name": "Quercus robur", "genus": "Quercus"},
        {"id": 5, "name": "Quercus rubra", "genus": "Quercus"},
        {"id": 9, "name": "Acer rubrum", "genus": "Acer"},
    ]
    links = [{"image_id": 0, "category_id": 3}, {"image_id": 0, "category_id": 5}]
    links += [{"image_id": 1, "category_id": 3}, {"image_id": 1, "category_id": 9}]
    path = annotations(categories=categories, annotations=links)
    photos = load(kind="inaturalist", path=path, heads={"species": "name", "genus": "genus"})
    assert photos["species"].fillna("?").tolist() == ["?"] * 4
    assert photos["genus"].fillna("?").tolist() == ["Quercus", "?", "?", "?"]


def test_file_that_is_listed_as_two_images_has_the_labels_of_both(annotations, load):
    images = [{"id": i, "file_name": f"{i // 2}.jpg"} for i in range(4)]
    links = [{"image_id": 0, "category_id": 3}, {"image_id": 2, "category_id": 9}]
    path = annotations(images=images, annotations=links)
    photos = load(kind="inaturalist", path=path, defaults={"label": "?"})
    assert photos["label"].tolist() == ["Quercus robur"] * 2 + ["Acer rubrum"] * 2


def test_test_file_without_annotations_is_read(annotations, load):
    photos = load(kind="inaturalist", path=annotations(annotations=[]))
    assert len(photos) == 4


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"images": []}, "lists no images"),
        ({"images": [{"id": 1}]}, "1 image in"),
        ({"categories": [{"id": 1}]}, "lacks 'name'"),
        ({"categories": None}, "not an annotations file"),
    ],
)
def test_files_of_another_form_are_reported(changed, told, annotations, complaint):
    assert told in complaint(kind="inaturalist", path=annotations(**changed))


def test_broken_json_is_reported(tmp_path, complaint):
    (tmp_path / "a.json").write_text("{")
    assert "cannot be read as JSON" in complaint(kind="inaturalist", path=str(tmp_path / "a.json"))


def test_unknown_fields_and_categories_are_reported(annotations, complaint):
    message = complaint(kind="inaturalist", path=annotations(), heads={"f": "family"})
    assert "lack 'family' (head 'f')" in message
    assert "'genus'" in message
    message = complaint(
        kind="inaturalist", path=annotations(), label_map={"Fagus": "x"}, keep="mapped"
    )
    assert "no photo of the categories in label_map: 'Fagus'" in message


def test_wrong_root_is_reported(annotations, complaint):
    message = complaint(kind="inaturalist", path=annotations(), photos_root="elsewhere")
    assert "None of the 4 photos" in message
    assert "photos_root" in message


def test_categories_and_files_are_compared_in_one_form(annotations, load, tmp_path):
    categories = [{"id": 3, "name": "Ga\u0308nse "}, {"id": 9, "name": "G\u00e4nse"}]
    path = annotations(categories=categories)
    for i in range(4):
        (tmp_path / f"train/{i}.jpg").rename(tmp_path / f"train/a\u0308{i}.jpg")
    content = json.loads((tmp_path / "train.json").read_text())
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"train/\u00e4{i}.jpg"
    (tmp_path / "train.json").write_text(json.dumps(content))
    photos = load(kind="inaturalist", path=path, label_map={"G\u00e4nse": "goose"})
    assert set(photos["label"]) == {"goose"}
    assert (tmp_path / "train/a\u03080.jpg").samefile(photos["path"][0])


def test_folders_of_a_held_out_split_are_warned_of(annotations, load, caplog):
    path = annotations(images=[{"id": i, "file_name": f"val/{i}.jpg"} for i in range(4)])
    load(kind="inaturalist", path=path, given_split="validation")
    assert not caplog.text
    load(kind="inaturalist", path=path)
    assert "'val' (4 photos)" in caplog.text
    assert "given_split" in caplog.text
