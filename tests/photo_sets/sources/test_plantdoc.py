"""PlantDoc's layout."""


def test_folders_are_looked_up(tree, load):
    root = tree(
        "train/Tomato Septoria leaf spot/1.jpg",
        "test/grape leaf/2.jpg",
        "train/Bell_pepper leaf spot/3.jpg",
    )
    photos = load(kind="plantdoc", path=str(root)).sort_values("path")
    assert photos["given_split"].tolist() == ["test", "train", "train"]
    assert photos["species"].tolist() == ["Grape", "Bell_pepper", "Tomato"]
    assert photos["condition"].tolist() == ["healthy", "Bacterial_spot", "Septoria_leaf_spot"]


def test_unknown_folders_are_listed_with_the_nearest(tree, complaint):
    root = tree("Apple leaf/1.jpg", "Tomato leafs mosaic virus/1.jpg", "xyz/1.jpg", "xyz/2.jpg")
    message = complaint(kind="plantdoc", path=str(root))
    assert "2 class folders" in message
    assert "(1 photo; did you mean 'Tomato leaf mosaic virus'?)" in message
    assert "'xyz' (2 photos)" in message


def test_label_map_explains_unknown_folders(tree, load):
    root = tree("Apple leaf/1.jpg", "xyz/1.jpg")
    label_map = {"xyz": {"species": "Plum", "condition": None}}
    photos = load(kind="plantdoc", path=str(root), label_map=label_map)
    assert photos["species"].tolist() == ["Apple", "Plum"]


def test_real_plantdoc(real_photos, load):
    photos = load(kind="plantdoc", path=str(real_photos / "plantdoc_256"))
    assert photos["given_split"].value_counts().to_dict() == {"train": 2316, "test": 236}
    assert photos[["species", "condition"]].notna().all(axis=None)
    assert photos["species"].nunique() == 13  # as the paper says
    assert len(photos[["species", "condition"]].drop_duplicates()) == 27
