"""Class folders: which photos there are, and what their folders say."""

import os
from pathlib import Path

import pytest

from cannabis_ml._io.file_names import on_disk


def test_class_is_the_folder_that_the_photo_lies_in(tree, load, below):
    root = tree("apple/1.jpg", "plum/2.jpg", "field/2024/pear/3.jpg")
    photos = load(kind="folder", path=str(root))
    assert list(photos.columns) == ["path", "source", "group", "given_split", "label"]
    assert below(photos, root) == ["apple/1.jpg", "field/2024/pear/3.jpg", "plum/2.jpg"]
    assert list(photos["label"]) == ["apple", "pear", "plum"]
    assert photos[["group", "given_split"]].isna().all(axis=None)


def test_class_can_be_the_top_folder(tree, load):
    root = tree("apple/farm1/1.jpg", "train/plum/farm2/a/2.jpg")
    photos = load(kind="folder", path=str(root), class_folder="top")
    assert list(photos["label"]) == ["apple", "plum"]


def test_any_image_suffix_in_any_case(tree, load, below):
    good = ["1.JPG", "2.jpeg", "3.Png", "4.WEBP", "5.tiff", "6.bmp", "7.jfif", "8.HEIC"]
    root = tree(*(f"a/{n}" for n in [*good, "notes.txt", "x.jpg.zip"]))
    photos = load(kind="folder", path=str(root))
    assert below(photos.dropna(subset="label"), root) == [f"a/{n}" for n in good]


@pytest.mark.parametrize("name", ["IMG_1", "1.jpg_large", "1.txt", "1.download", "1.cr2"])
def test_photo_is_known_by_what_it_is_whatever_it_is_called(name, tree, write_photo, load):
    root = tree("apple/1.jpg", "fig/2.jpg")
    write_photo(root / "pear/sub" / name)
    photos = load(kind="folder", path=str(root), class_folder="top")
    assert sorted(photos["label"]) == ["apple", "fig", "pear"]


def test_everything_is_listed_and_what_is_no_photo_makes_no_class(tree, load, below):
    there = ["a/1.jpg", "a/2.jpg.part", "a/3.svg", "a/svn-r6Yb5c", "b/4.jpg", "b/notes.txt"]
    root = tree(*there, "scripts/run.perl", "LICENSE", "train/labels.csv")
    photos = load(kind="folder", path=str(root))
    assert below(photos, root) == ["LICENSE", *there, "scripts/run.perl", "train/labels.csv"]
    assert photos["label"].dropna().tolist() == ["a", "b"]
    assert photos["given_split"].isna().all()


def test_what_is_no_photo_gets_no_default_and_no_group(tree, load):
    root = tree("a/p1_1.jpg", "a/p1_notes.txt")
    source = {"group_pattern": r"(?P<group>p\d+)_", "defaults": {"ripe": "no"}}
    photos = load(kind="folder", path=str(root), **source)
    assert photos["ripe"].isna().tolist() == [False, True]
    assert photos["group"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "name", ["Thumbs.db", "THUMBS.DB", "desktop.ini", ".DS_Store", "._1.jpg", "~$list.xlsx"]
)
def test_files_of_systems_are_passed_over(name, tree, load, below):
    root = tree("a/1.jpg", f"a/{name}", name, f"@eaDir/{name}/2.jpg")
    assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg"]


def test_folder_that_cannot_be_opened_is_listed(tree, load, below, monkeypatch):
    root = tree("a/1.jpg", "b/2.jpg")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg", "b"]


def test_hidden_files_and_folders_are_passed_over(tree, load, below):
    root = tree("a/1.jpg", "a/.2.jpg", ".cache/b/3.jpg", "__MACOSX/a/._1.jpg")
    assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg"]


def test_odd_names_are_kept(tree, load, below):
    names = ["Blätter/ü 1.jpg", "new\nline/x.jpg", "with space/日本 🌿.jpg", "a,b;c/'q\".jpg"]
    root = tree(*names)
    photos = load(kind="folder", path=str(root))
    assert sorted(below(photos, root)) == sorted(names)
    assert all(Path(path).exists() for path in photos["path"])


def test_name_that_is_not_utf8_is_listed_not_fatal(tree, load, below):
    root = tree("a/1.jpg")
    Path(os.fsdecode(os.fsencode(root / "a") + b"/\xff\xfe.jpg")).touch()
    photos = load(kind="folder", path=str(root))
    assert "\\xff\\xfe.jpg" in "".join(below(photos, root))
    assert len(photos) == 2


def test_root_that_is_not_utf8_is_found_by_its_escaped_form(tree, load):
    root = tree("a/1.jpg")
    odd = Path(os.fsdecode(os.fsencode(root) + b"\xff"))
    root.rename(odd)
    (photo,) = load(kind="folder", path=f"{root}\\xff")["path"]
    assert photo == f"{root}\\xff/a/1.jpg"
    assert on_disk(photo).is_file()


def test_class_folder_that_is_not_utf8_is_named_in_escaped_form(tree, load, below):
    root = tree("apple/1.jpg", "plum/2.jpg")
    for above in (b"", b"train/"):
        folder = Path(os.fsdecode(os.fsencode(root) + b"/" + above + b"caf\xe9"))
        folder.mkdir(parents=True)
        (folder / "3.jpg").touch()
    photos = load(kind="folder", path=str(root))
    assert photos["label"].tolist() == ["apple", "caf\\xe9", "plum", "caf\\xe9"]
    assert photos["given_split"].fillna("-").tolist() == ["-", "-", "-", "train"]


def test_order_does_not_depend_on_the_disk(tree, load, below):
    names = ["b/1.jpg", "a/2.jpg", "a/10.jpg", "a-b/1.jpg", "a/c/1.jpg"]
    root = tree(*names)
    assert below(load(kind="folder", path=str(root)), root) == sorted(names)


def test_symlink_loops_end(tree, load, below):
    root = tree("a/1.jpg", "b/2.jpg")
    (root / "a/up").symlink_to(root)
    (root / "b/across").symlink_to(root / "a")
    (root / "self").symlink_to(root / "self")
    # A link that leads to itself is no folder; it is missed as any file that cannot be opened.
    assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg", "b/2.jpg", "self"]


def test_symlinked_folders_and_files_are_followed(tree, tmp_path_factory, load, below):
    root = tree("a/1.jpg")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "2.jpg").touch()
    (root / "b").symlink_to(elsewhere)
    (root / "a/3.jpg").symlink_to(elsewhere / "2.jpg")
    (root / "a/gone.jpg").symlink_to(elsewhere / "nowhere.jpg")
    photos = load(kind="folder", path=str(root))
    assert below(photos, root) == ["a/1.jpg", "a/3.jpg", "a/gone.jpg", "b/2.jpg"]


def test_folder_reached_twice_counts_once_under_its_own_name(tree, load):
    root = tree("z_real/1.jpg")
    (root / "a_link").symlink_to(root / "z_real")
    assert list(load(kind="folder", path=str(root))["label"]) == ["z_real"]


SPELLINGS = {
    "train": ["train", "Training", "TRAIN2017", "train_set", "trainset", "TrainImages", "trainval"],
    "validation": ["Val", "valid", "VALIDATION", "dev", "devset", "val_images", "Validation Set"],
    "calibration": ["calibration", "Calib"],
    "test": ["Test", "Testing", "eval", "Evaluation", "test-data", "test_v2", "new test photos"],
}


@pytest.mark.parametrize(
    ("name", "split"), [(name, split) for split, names in SPELLINGS.items() for name in names]
)
def test_split_folders_give_the_split(name, split, tree, load):
    root = tree(f"{name}/apple/1.jpg", f"farm/{name}/plum/2.jpg", f"pear/{name}/3.jpg")
    photos = load(kind="folder", path=str(root)).set_index("label")
    assert photos["given_split"].to_dict() == {"apple": split, "plum": split, "pear": split}
    assert {type(value) for value in photos["given_split"]} == {str}


@pytest.mark.parametrize(
    ("train", "test"), [("seg_train", "seg_test"), ("Train-fruits", "Test-fruits")]
)
def test_words_beside_a_split_are_the_data_sets_name_if_its_other_splits_have_them(
    train, test, tree, load
):
    root = tree(f"{train}/{train}/apple/1.jpg", f"{test}/{test}/plum/2.jpg")
    photos = load(kind="folder", path=str(root), class_folder="top").set_index("label")
    assert photos["given_split"].to_dict() == {"apple": "train", "plum": "test"}


def test_classes_with_such_a_word_stay_classes_with_a_warning(tree, load, caplog):
    names = ["test tube", "dev board", "train_station", "apple", "valley"]
    root = tree(*(f"{name}/1.jpg" for name in names))
    photos = load(kind="folder", path=str(root))
    assert sorted(photos["label"]) == sorted(names)
    assert photos["given_split"].isna().all()
    assert "'dev board', 'test tube', 'train_station' look like the names of splits" in caplog.text
    assert "split_map" in caplog.text


def test_no_warning_for_classes_that_somebody_spoke_of_or_within_splits(tree, load, caplog):
    root = tree("test tube/1.jpg", "apple/2.jpg", "test/dev board/3.jpg")
    load(kind="folder", path=str(root), label_map={"test tube": "tube"})
    assert "look" not in caplog.text


@pytest.mark.parametrize("name", ["holdout", "fold_3", "unseen", "Pred", "cats_test"])
def test_level_that_looks_like_splits_and_is_not_taken_is_warned_of(name, tree, load, caplog):
    root = tree(f"{name}/apple/1.jpg", "other/plum/2.jpg")
    assert load(kind="folder", path=str(root))["given_split"].isna().all()
    assert f"In {root}, '{name}' looks like the name of a split" in caplog.text


def test_class_and_split_in_one_name_is_warned_of(tree, load, caplog):
    names = ["cats_test", "cats_train", "dogs_test", "dogs_train"]
    assert sorted(load(kind="folder", path=str(tree(*(f"{n}/1.jpg" for n in names))))["label"]) == (
        names
    )
    assert "'cats_test', 'cats_train', 'dogs_test', 'dogs_train' look like" in caplog.text


def test_split_map_has_the_last_word(tree, load, caplog):
    root = tree("train/1.jpg", "bus/2.jpg", "Holdout/bus/3.jpg", "dev/bus/4.jpg")
    split_map = {"train": None, "Holdout": "test", "dev": "train"}
    photos = load(kind="folder", path=str(root), split_map=split_map)
    assert photos["label"].tolist() == ["bus", "bus", "bus", "train"]
    assert photos["given_split"].fillna("?").tolist() == ["test", "?", "train", "?"]
    assert "look" not in caplog.text


def test_of_two_splits_around_a_photo_the_one_less_learnt_from_counts(tree, load):
    root = tree("training/dev/apple/1.jpg", "train/test/apple/2.jpg", "train/train/plum/3.jpg")
    photos = load(kind="folder", path=str(root))
    assert photos["given_split"].tolist() == ["test", "train", "validation"]


@pytest.mark.parametrize("images", ["images", "Photos", "JPEGImages", "jpg"])
def test_folder_of_images_within_each_class_is_not_the_class(images, tree, load):
    root = tree(f"apple/{images}/1.jpg", f"train/plum/{images}/2.jpg", "pear/3.jpg")
    assert load(kind="folder", path=str(root))["label"].tolist() == ["apple", "pear", "plum"]


def test_masks_beside_images_have_no_label(tree, load, caplog):
    root = tree("apple/images/1.png", "apple/masks/1.png", "pear/images/2.png", "pear/masks/2.png")
    photos = load(kind="folder", path=str(root))
    assert photos["label"].fillna("?").tolist() == ["apple", "?", "pear", "?"]
    assert "2 photos" in caplog.text
    assert "'apple/masks', 'pear/masks'" in caplog.text


def test_photos_may_be_a_class_beside_others(tree, load):
    root = tree("photos/1.jpg", "paintings/2.jpg", "cats/photos/3.jpg", "cats/drawings/4.jpg")
    labels = load(kind="folder", path=str(root))["label"].tolist()
    assert labels == ["drawings", "photos", "paintings", "photos"]


def test_images_around_class_folders_is_not_the_class(tree, load):
    root = tree("images/apple/a/1.jpg", "images/plum/2.jpg")
    photos = load(kind="folder", path=str(root), class_folder="top")
    assert photos["label"].tolist() == ["apple", "plum"]


def test_splits_of_images_without_classes_are_reported(tree, complaint):
    message = complaint(kind="folder", path=str(tree("train/images/1.jpg", "test/images/2.jpg")))
    assert "has no class folders: its 2 photos lie in 'test/images', 'train/images'" in message


def test_one_class_in_several_folders_names_the_remedy(tree, load, caplog):
    load(kind="folder", path=str(tree("apple/2024/1.jpg", "pear/2024/2.jpg")))
    assert "labelled '2024'" in caplog.text
    assert "'apple', 'pear', name the classes, set class_folder: top" in caplog.text


def test_folders_that_only_their_outer_ones_explain_name_the_remedy(tree, complaint):
    root = tree("Apple___rot/2024/1.jpg", "Plum___rot/2024/2.jpg")
    message = complaint(kind="plantvillage", path=str(root))
    assert "not called Species___Condition: '2024' (2 photos)" in message
    assert "set class_folder: top" in message


def test_root_called_train_gives_no_split(tree, load):
    root = tree("train/apple/1.jpg") / "train"
    assert load(kind="folder", path=str(root))["given_split"].isna().all()


def test_photos_beside_class_folders_are_kept_unlabelled(tree, caplog, load):
    root = tree("apple/1.jpg", "stray.jpg")
    photos = load(kind="folder", path=str(root))
    assert photos["label"].tolist()[0] == "apple"
    assert photos["label"].isna().tolist() == [False, True]
    assert "1 photo" in caplog.text


def test_pattern_reads_heads_off_the_name(tree, load):
    root = tree("Apple___Black_rot/1.jpg", "Corn_(maize)___healthy/2.jpg")
    pattern = "(?P<species>.+?)___(?P<condition>.+)"
    photos = load(kind="folder", path=str(root), pattern=pattern)
    assert list(photos["species"]) == ["Apple", "Corn_(maize)"]
    assert list(photos["condition"]) == ["Black_rot", "healthy"]
    assert "label" not in photos


def test_names_that_do_not_match_are_listed_with_counts(tree, complaint):
    root = tree("Apple___rot/1.jpg", "Misc/1.jpg", "Misc/2.jpg", "Other/3.jpg")
    message = complaint(kind="folder", path=str(root), pattern="(?P<a>.+)___(?P<b>.+)")
    assert "2 class folders" in message
    assert "'Misc' (2 photos), 'Other' (1 photo)" in message
    assert "label_map" in message


def test_label_map_speaks_before_the_pattern(tree, load):
    root = tree("Apple___rot/1.jpg", "Background/2.jpg", "Junk/3.jpg")
    photos = load(
        kind="folder",
        path=str(root),
        pattern="(?P<species>.+)___(?P<condition>.+)",
        label_map={"Background": {"species": "none", "condition": None}, "Junk": None},
    )
    assert photos["species"].fillna("?").tolist() == ["Apple", "none", "?"]
    assert photos["condition"].fillna("?").tolist() == ["rot", "?", "?"]


def test_label_map_renames_and_forgets(tree, load):
    root = tree("Dry Flower/1.jpg", "unsorted/2.jpg", "2024/3.jpg")
    photos = load(
        kind="folder",
        path=str(root),
        head="product",
        label_map={"Dry Flower": "dry_flower", "unsorted": None, 2024: "old"},
    )
    assert photos["product"].fillna("?").tolist() == ["old", "dry_flower", "?"]


def test_missing_folder_is_named_with_what_is_there(tmp_path, complaint):
    message = complaint(kind="folder", path=str(tmp_path / "photso" / "x"))
    assert f"{tmp_path / 'photso' / 'x'} does not exist" in message
    assert f"up to {tmp_path} it does" in message


def test_no_path_names_how_to_give_one(complaint):
    assert "--params photos=PATH" in complaint(kind="folder", path=None)


def test_empty_folder_reports_it(tmp_path, complaint):
    assert "it is empty" in complaint(kind="folder", path=str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden.jpg").touch()
    assert "it is empty" in complaint(kind="folder", path=str(tmp_path))


def test_folder_without_photos_lists_what_it_holds(tree, complaint):
    message = complaint(kind="folder", path=str(tree("a/1.txt", "a/2.txt", "b/3.csv")))
    assert ".txt (2), .csv (1)" in message


def test_photos_without_class_folders_are_reported(tree, complaint):
    message = complaint(kind="folder", path=str(tree("1.jpg", "2.jpg")))
    assert "its 2 photos lie directly in it" in message
    assert "PATH/CLASS/photo.jpg" in message
    message = complaint(kind="folder", path=str(tree("train/1.jpg") / "train"))
    assert "its 1 photo lies directly in it" in message


def test_file_instead_of_folder_is_reported(tree, complaint):
    message = complaint(kind="folder", path=str(tree("a/1.jpg") / "a/1.jpg"))
    assert "is a file" in message


def test_real_plantdoc_gives_classes_and_splits(real_photos, load):
    photos = load(kind="folder", path=str(real_photos / "plantdoc_256"))
    assert photos["given_split"].value_counts().to_dict() == {"train": 2316, "test": 236}
    assert photos["label"].nunique() == 27


def test_defaults_fill_what_no_folder_gives(tree, load):
    root = tree("apple/1.jpg", "junk/2.jpg", "odd/3.jpg", "4.jpg")
    photos = load(
        kind="folder",
        path=str(root),
        label_map={"junk": None, "odd": {"ripe": "yes"}},
        defaults={"label": "pear", "ripe": "no"},
    )
    # Null means unknown and stays so; what is said of another head leaves this one open.
    assert photos["label"].fillna("?").tolist() == ["pear", "apple", "?", "pear"]
    assert photos["ripe"].tolist() == ["no", "no", "no", "yes"]


def test_group_pattern_groups_across_folders_and_splits(tree, load):
    root = tree("train/a/p1_1.jpg", "train/a/p1_2.jpg", "test/b/p1_3.jpg", "train/a/x.jpg")
    photos = load(kind="folder", path=str(root), group_pattern=r"(?P<group>p\d+)_\d")
    assert photos["group"].fillna("?").tolist() == ["folder/p1", "folder/p1", "folder/p1", "?"]


def test_class_folders_of_one_name_are_one_class(tree, load, caplog):
    """Composed, decomposed (a Mac's zip) and with a blank at the end (Windows)."""
    root = tree("G\u00e4nse/1.jpg", "Ga\u0308nse/2.jpg", "test/G\u00e4nse /3.jpg", "pear/4.jpg")
    source = {"kind": "folder", "path": str(root)}
    assert sorted(load(**source)["label"]) == ["Gänse"] * 3 + ["pear"]
    mapped = load(**source, label_map={"Ga\u0308nse": "goose"})
    assert sorted(mapped["label"]) == ["goose"] * 3 + ["pear"]
    assert "label_map names folders" not in caplog.text


def test_names_are_held_against_patterns_in_one_form(tree, load):
    root = tree("a\u0308pfel___scha\u0308den /nr1_1.jpg", "äpfel___schäden/nr1_2.jpg")
    photos = load(
        kind="folder",
        path=str(root),
        pattern="(?P<plant>[a-z\u00e4]+)___(?P<ill>.+)",
        group_pattern="scha\u0308den ?/(?P<nr>nr.)",
    )
    assert photos["plant"].tolist() == ["äpfel"] * 2
    assert photos["ill"].tolist() == ["schäden"] * 2
    assert photos["group"].tolist() == ["folder/nr1"] * 2
