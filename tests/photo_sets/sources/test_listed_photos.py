"""Photos that a list names as another machine, program or keyboard would."""

import unicodedata
from pathlib import Path

import pytest

from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources.listed_photos import find_photos


@pytest.fixture
def find(tree):
    """Paths found, from the root, of a list: `find(["a"], there=["a.jpg"])`; None: not found."""

    def find(listed, there):
        root = tree(*(f"root/{name}" for name in there)) / "root"
        photos = find_photos(listed, root, Path("list.csv"))
        files = [Path(photo.path) for photo in photos]
        return [f.relative_to(root).as_posix() if f.is_file() else None for f in files]

    return find


@pytest.mark.parametrize(
    "listed",
    [
        ["oak\\1.jpg", "elm\\2.jpg"],
        ["C:\\photos\\oak\\1.jpg", "C:\\photos\\elm\\2.jpg"],
        ["d:/photos/oak/1.jpg", "d:/photos/elm/2.jpg"],
        ["\\\\server\\share\\oak\\1.jpg", "\\\\server\\share\\elm\\2.jpg"],
        ["file:///home/ann/oak/1.jpg", "file:///home/ann/elm/2.jpg"],
        ["file:///C:/Users/Ann/oak/1.jpg", "file:///C:/Users/Ann/elm/2.jpg"],
        ["/home/ann/oak/1.jpg", "/home/ann/elm/2.jpg"],
        ["/data/upload/oak/1.jpg", "/data/upload/elm/2.jpg"],
        ["/data/local-files/?d=photos/oak/1.jpg", "/data/local-files/?d=photos%2Felm/2.jpg"],
        ["http://localhost:8080/data/oak/1.jpg", "http://localhost:8080/data/elm/2.jpg?v=1"],
        ["s3://bucket/oak/1.jpg", "s3://bucket/elm/2.jpg"],
        ["./oak/1.jpg", "oak/../elm/2.jpg"],
        ["oak/1", "elm/2"],
        ["OAK/1.JPG", "Elm/2.JPG"],
    ],
)
def test_photos_are_found_however_they_are_listed(listed, find):
    assert find(listed, ["oak/1.jpg", "elm/2.jpg"]) == [
        "oak/1.jpg",
        "oak/../elm/2.jpg" if ".." in listed[1] else "elm/2.jpg",
    ]


def test_address_of_a_file_of_this_machine_is_that_file(tree, tmp_path):
    there = tree("else where/1.jpg", "root/x.jpg") / "else where/1.jpg"
    (photo,) = find_photos([there.as_uri()], tmp_path / "root", Path("l.csv"))
    assert Path(photo.path) == there


def test_escaped_names_are_found(find):
    assert find(
        ["/data/upload/my%20leaf.jpg", "/data/upload/100%.jpg"], ["my leaf.jpg", "100%.jpg"]
    ) == [
        "my leaf.jpg",
        "100%.jpg",
    ]


@pytest.mark.parametrize(("here", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_folders_and_files_are_compared_in_one_form(here, there, find):
    names = ["Gänse/ö 1.jpg", "Gänse/가.jpg"]
    on_disk = [unicodedata.normalize(there, name) for name in names]
    assert find([unicodedata.normalize(here, name) for name in names], on_disk) == on_disk


def test_blanks_at_the_ends_of_names_do_not_count(find):
    assert find(["oak/1.jpg"], ["oak /1.jpg "]) == ["oak /1.jpg "]


def test_ids_are_found_beside_folders_and_other_files_of_that_name(find):
    there = ["7.jpg", "7/x.jpg", "7.json", "8.b.png", "9"]
    assert find(["7", "8.b", "9"], there) == ["7.jpg", "8.b.png", "9"]


def test_id_that_could_be_two_photos_is_neither(find):
    assert find(["7", "8"], ["7.jpg", "7.png", "8.jpg"]) == [None, "8.jpg"]


def test_file_is_not_taken_for_the_one_that_another_name_means(find, caplog):
    assert find(["a.jpg", "A.jpg", "a"], ["a.jpg"]) == ["a.jpg", None, None]
    assert "2 names in list.csv may mean a file that others mean too" in caplog.text


def test_ends_of_paths_must_be_unique(find):
    listed = ["/data/oak/1.jpg", "/data/elm/1.jpg", "/data/elm/2.jpg"]
    with pytest.raises(SourceError, match="nor what such paths end in"):
        find(listed, ["1.jpg"])
    assert find(listed, ["1.jpg", "oak/1.jpg"]) == ["oak/1.jpg", None, None]


def test_as_many_as_possible_are_found_with_the_same_folders_left_out(find):
    listed = ["/x/data/1.jpg", "/x/data/2.jpg", "/x/data/3.jpg"]
    assert find(listed, ["x/data/1.jpg", "2.jpg", "3.jpg"]) == [None, "2.jpg", "3.jpg"]


def test_single_missing_photos_keep_their_names(find, tmp_path):
    assert find(["1.jpg", "2.jpg"], ["1.jpg"]) == ["1.jpg", None]
    photos = find_photos(["2.jpg", "1.jpg"], tmp_path / "root", Path("l"))
    assert photos[0] == (str(tmp_path / "root/2.jpg"), "2.jpg")
    photos = find_photos(["C:\\2.jpg", "1.jpg"], tmp_path / "root", Path("l"))
    assert photos[0].path == "C:\\2.jpg"


@pytest.mark.parametrize(
    "listed", ["C:\\x\\1.jpg", "https://host/1.jpg", "1", "x/1.jpg", "y" * 999]
)
def test_advice_names_what_to_set(listed, find):
    with pytest.raises(
        SourceError, match=r"None of the 1 photo listed in list\.csv exists"
    ) as told:
        find([listed], ["2.jpg"])
    assert "set photos_root to the folder that" in " ".join(str(told.value).split())


def test_root_may_be_relative_to_where_we_are(tree, monkeypatch):
    monkeypatch.chdir(tree("root/1.jpg"))
    (photo,) = find_photos(["C:\\1.jpg"], Path("root"), Path("l.csv"))
    assert photo == ("root/1.jpg", "1.jpg")


def test_home_is_expanded(tree, monkeypatch):
    root = tree("photos/1.jpg", "list/x")
    monkeypatch.setenv("HOME", str(root))
    (photo,) = find_photos(["~/photos/1.jpg"], root / "list", Path("l.csv"))
    assert photo.path == str(root / "photos/1.jpg")
