"""Photos and labels come in from folders, tables and the sample."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from PIL import Image

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError


def load(**source):
    return SourcePhotosDataset(source=source).load()


def complaint(**source):
    """The message that a person reads: our error, found among the causes of Kedro's."""
    with pytest.raises(DatasetError) as caught:
        load(**source)
    assert isinstance(caught.value.__cause__, SourceError)
    return str(caught.value.__cause__)


def below(photos, root):
    return [Path(path).relative_to(root).as_posix() for path in photos["path"]]


@pytest.fixture
def tree(tmp_path):
    """Make empty files: `tree("a/1.jpg", "b/2.png")`. Sources look at names alone."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


class TestFolder:
    def test_class_is_the_folder_that_the_photo_lies_in(self, tree):
        root = tree("apple/1.jpg", "plum/2.jpg", "field/2024/pear/3.jpg")
        photos = load(kind="folder", path=str(root))
        assert list(photos.columns) == ["path", "group", "given_split", "label"]
        assert below(photos, root) == ["apple/1.jpg", "field/2024/pear/3.jpg", "plum/2.jpg"]
        assert list(photos["label"]) == ["apple", "pear", "plum"]
        assert photos[["group", "given_split"]].isna().all(axis=None)

    def test_class_can_be_the_top_folder(self, tree):
        root = tree("apple/farm1/1.jpg", "train/plum/farm2/a/2.jpg")
        photos = load(kind="folder", path=str(root), class_folder="top")
        assert list(photos["label"]) == ["apple", "plum"]

    def test_any_image_suffix_in_any_case_and_nothing_else(self, tree):
        good = ["1.JPG", "2.jpeg", "3.Png", "4.WEBP", "5.tiff", "6.bmp", "7.jfif", "8.HEIC"]
        root = tree(*(f"a/{n}" for n in [*good, "notes.txt", "jpg", "x.jpg.zip", "Thumbs.db"]))
        assert below(load(kind="folder", path=str(root)), root) == [f"a/{n}" for n in good]

    def test_hidden_files_and_folders_are_passed_over(self, tree):
        root = tree("a/1.jpg", "a/.2.jpg", ".cache/b/3.jpg", "__MACOSX/a/._1.jpg")
        assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg"]

    def test_odd_names_are_kept(self, tree):
        names = ["Blätter/ü 1.jpg", "new\nline/x.jpg", "with space/日本 🌿.jpg", "a,b;c/'q\".jpg"]
        root = tree(*names)
        photos = load(kind="folder", path=str(root))
        assert sorted(below(photos, root)) == sorted(names)
        assert all(Path(path).exists() for path in photos["path"])

    def test_name_that_is_not_utf8_is_listed_not_fatal(self, tree):
        root = tree("a/1.jpg")
        Path(os.fsdecode(os.fsencode(root / "a") + b"/\xff\xfe.jpg")).touch()
        photos = load(kind="folder", path=str(root))
        assert "\\xff\\xfe.jpg" in "".join(below(photos, root))
        assert len(photos) == 2

    def test_order_does_not_depend_on_the_disk(self, tree):
        names = ["b/1.jpg", "a/2.jpg", "a/10.jpg", "a-b/1.jpg", "a/c/1.jpg"]
        root = tree(*names)
        assert below(load(kind="folder", path=str(root)), root) == sorted(names)

    def test_symlink_loops_end(self, tree):
        root = tree("a/1.jpg", "b/2.jpg")
        (root / "a/up").symlink_to(root)
        (root / "b/across").symlink_to(root / "a")
        (root / "self").symlink_to(root / "self")
        assert below(load(kind="folder", path=str(root)), root) == ["a/1.jpg", "b/2.jpg"]

    def test_symlinked_folders_and_files_are_followed(self, tree, tmp_path_factory):
        root = tree("a/1.jpg")
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "2.jpg").touch()
        (root / "b").symlink_to(elsewhere)
        (root / "a/3.jpg").symlink_to(elsewhere / "2.jpg")
        (root / "a/gone.jpg").symlink_to(elsewhere / "nowhere.jpg")
        photos = load(kind="folder", path=str(root))
        assert below(photos, root) == ["a/1.jpg", "a/3.jpg", "a/gone.jpg", "b/2.jpg"]

    def test_folder_reached_twice_counts_once_under_its_own_name(self, tree):
        root = tree("z_real/1.jpg")
        (root / "a_link").symlink_to(root / "z_real")
        assert list(load(kind="folder", path=str(root))["label"]) == ["z_real"]

    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("train", "train"),
            ("Val", "validation"),
            ("valid", "validation"),
            ("VALIDATION", "validation"),
            ("Test", "test"),
            ("calibration", "calibration"),
        ],
    )
    def test_split_folders_give_the_split(self, name, split, tree):
        root = tree(f"{name}/apple/1.jpg", f"farm/{name}/plum/2.jpg", f"pear/{name}/3.jpg")
        photos = load(kind="folder", path=str(root)).set_index("label")
        assert photos["given_split"].to_dict() == {"apple": split, "plum": split, "pear": split}

    def test_root_called_train_gives_no_split(self, tree):
        root = tree("train/apple/1.jpg") / "train"
        assert load(kind="folder", path=str(root))["given_split"].isna().all()

    def test_photos_beside_class_folders_are_kept_unlabelled(self, tree, caplog):
        root = tree("apple/1.jpg", "stray.jpg")
        photos = load(kind="folder", path=str(root))
        assert photos["label"].tolist()[0] == "apple"
        assert photos["label"].isna().tolist() == [False, True]
        assert "1 photo" in caplog.text

    def test_pattern_reads_heads_off_the_name(self, tree):
        root = tree("Apple___Black_rot/1.jpg", "Corn_(maize)___healthy/2.jpg")
        pattern = "(?P<species>.+?)___(?P<condition>.+)"
        photos = load(kind="folder", path=str(root), pattern=pattern)
        assert list(photos["species"]) == ["Apple", "Corn_(maize)"]
        assert list(photos["condition"]) == ["Black_rot", "healthy"]
        assert "label" not in photos

    def test_names_that_do_not_match_are_listed_with_counts(self, tree):
        root = tree("Apple___rot/1.jpg", "Misc/1.jpg", "Misc/2.jpg", "Other/3.jpg")
        message = complaint(kind="folder", path=str(root), pattern="(?P<a>.+)___(?P<b>.+)")
        assert "2 class folders" in message
        assert "'Misc' (2 photos), 'Other' (1 photo)" in message
        assert "label_map" in message

    def test_label_map_speaks_before_the_pattern(self, tree):
        root = tree("Apple___rot/1.jpg", "Background/2.jpg", "Junk/3.jpg")
        photos = load(
            kind="folder",
            path=str(root),
            pattern="(?P<species>.+)___(?P<condition>.+)",
            label_map={"Background": {"species": "none", "condition": None}, "Junk": None},
        )
        assert photos["species"].fillna("?").tolist() == ["Apple", "none", "?"]
        assert photos["condition"].fillna("?").tolist() == ["rot", "?", "?"]

    def test_label_map_renames_and_forgets(self, tree):
        root = tree("Dry Flower/1.jpg", "unsorted/2.jpg", "2024/3.jpg")
        photos = load(
            kind="folder",
            path=str(root),
            head="product",
            label_map={"Dry Flower": "dry_flower", "unsorted": None, 2024: "old"},
        )
        assert photos["product"].fillna("?").tolist() == ["old", "dry_flower", "?"]

    def test_missing_folder_is_named_with_what_is_there(self, tmp_path):
        message = complaint(kind="folder", path=str(tmp_path / "photso" / "x"))
        assert f"{tmp_path / 'photso' / 'x'} does not exist" in message
        assert f"up to {tmp_path} it does" in message

    def test_no_path_says_how_to_give_one(self):
        assert "--params photos=PATH" in complaint(kind="folder", path=None)

    def test_empty_folder_says_so(self, tmp_path):
        assert "it is empty" in complaint(kind="folder", path=str(tmp_path))

    def test_folder_without_photos_tells_what_it_holds(self, tree):
        message = complaint(kind="folder", path=str(tree("a/1.txt", "a/2.txt", "b/3.csv")))
        assert ".txt (2), .csv (1)" in message

    def test_photos_without_class_folders_are_told(self, tree):
        message = complaint(kind="folder", path=str(tree("1.jpg", "2.jpg")))
        assert "its 2 photos lie directly in it" in message
        assert "PATH/CLASS/photo.jpg" in message
        message = complaint(kind="folder", path=str(tree("train/1.jpg") / "train"))
        assert "its 1 photo lies directly in it" in message

    def test_file_instead_of_folder_is_told(self, tree):
        message = complaint(kind="folder", path=str(tree("a/1.jpg") / "a/1.jpg"))
        assert "is a file" in message

    def test_real_plantdoc_gives_classes_and_splits(self, real_photos):
        photos = load(kind="folder", path=str(real_photos / "plantdoc_256"))
        assert photos["given_split"].value_counts().to_dict() == {"train": 2316, "test": 236}
        assert photos["label"].nunique() == 27


class TestTable:
    @pytest.fixture
    def table(self, tmp_path):
        """Write a table and the photos it lists: `table(rows, "labels.csv")`."""

        def write(rows, name="labels.csv", present=True):
            frame = pd.DataFrame(rows)
            if present:
                for listed in frame.get("path", []):
                    (tmp_path / listed).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / listed).touch()
            path = tmp_path / name
            if name.lower().endswith(".csv"):
                frame.to_csv(path, index=False)
            elif name.endswith(".jsonl"):
                path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
            else:
                frame.to_parquet(path)
            return path

        return write

    @pytest.mark.parametrize("name", ["labels.csv", "labels.jsonl", "labels.parquet", "L.CSV"])
    def test_every_kind_of_table_reads_the_same(self, name, table):
        rows = [
            {"path": "b/ü 1.jpg", "kind": "x", "traits.wet": "yes", "group": "g", "split": "Val"},
            {"path": "a/2.jpg", "kind": None, "traits.wet": None, "group": None, "split": None},
        ]
        photos = load(kind="table", path=str(table(rows, name)))
        assert photos.fillna("?").drop(columns="path").to_dict("list") == {
            "group": ["g", "?"],
            "given_split": ["validation", "?"],
            "kind": ["x", "?"],
            "traits.wet": ["yes", "?"],
        }
        assert [Path(path).exists() for path in photos["path"]] == [True, True]

    def test_class_may_be_called_na_or_null(self, table):
        rows = [{"path": f"{i}.jpg", "kind": kind} for i, kind in enumerate(["NA", "null", ""])]
        photos = load(kind="table", path=str(table(rows)))
        assert photos["kind"].fillna("?").tolist() == ["NA", "null", "?"]

    def test_lists_of_attributes_become_text(self, table):
        rows = [
            {"path": "1.jpg", "traits": ["wet", "old"]},
            {"path": "2.jpg", "traits": []},
            {"path": "3.jpg", "traits": None},
        ]
        for name in ("t.jsonl", "t.parquet"):
            photos = load(kind="table", path=str(table(rows, name)))
            assert photos["traits"].fillna("?").tolist() == ["wet;old", "-", "?"]

    def test_label_map_maps_labels_and_items(self, table):
        rows = [{"path": "1.jpg", "kind": "X ", "traits": "wet; odd;old"}]
        photos = load(
            kind="table",
            path=str(table(rows)),
            label_map={"kind": {"X": "x"}, "traits": {"wet": "moist", "odd": None}},
        )
        assert photos.loc[0, ["kind", "traits"]].tolist() == ["x", "moist;old"]

    def test_missing_files_stay_in_the_list(self, table, tmp_path):
        path = table([{"path": "1.jpg", "kind": "x"}, {"path": "2.jpg", "kind": "y"}])
        (tmp_path / "2.jpg").unlink()
        assert len(load(kind="table", path=str(path))) == 2

    def test_no_listed_file_exists(self, table, tmp_path):
        path = table([{"path": f"{i}.jpg", "kind": "x"} for i in range(3)], present=False)
        message = complaint(kind="table", path=str(path))
        assert f"None of the 3 photos listed in {path} exists" in message
        assert "photos_root" in message

    def test_photos_root_may_lie_elsewhere(self, table, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("photos")
        (elsewhere / "1.jpg").touch()
        path = table([{"path": "1.jpg", "kind": "x"}], present=False)
        photos = load(kind="table", path=str(path), photos_root=str(elsewhere))
        assert photos["path"].tolist() == [str(elsewhere / "1.jpg")]

    def test_missing_table_is_named(self, tmp_path):
        assert "nowhere.csv does not exist" in complaint(
            kind="table", path=str(tmp_path / "nowhere.csv")
        )

    def test_lacking_columns_are_all_named(self, table):
        path = table([{"file": "1.jpg", "kind": "x"}])
        message = complaint(
            kind="table", path=str(path), group_column="plant", label_map={"grade": {}}
        )
        assert "'path' (path_column), 'plant' (group_column), 'grade' (label_map)" in message
        assert "it has 'file', 'kind'" in message

    def test_wrong_separator_is_guessed_at(self, tmp_path):
        (tmp_path / "t.csv").write_text("path;kind\n1.jpg;x\n")
        assert "separated by commas" in complaint(kind="table", path=str(tmp_path / "t.csv"))

    def test_unknown_splits_are_listed(self, table):
        rows = [{"path": f"{i}.jpg", "split": "dev" if i else "test"} for i in range(3)]
        assert "'dev' (2 rows)" in complaint(kind="table", path=str(table(rows)))

    @pytest.mark.parametrize(
        ("name", "content", "told"),
        [
            ("t.csv", b"", "no rows"),
            ("t.csv", b"path,kind\n", "no rows"),
            ("t.csv", b"path,kind\n\xff\xfe,x\n", "cannot be read as CSV"),
            ("t.jsonl", b'{"path": "a.jpg"\n', "cannot be read as JSONL"),
            ("t.jsonl", b"[1]\n", "Line 1"),
            ("t.parquet", b"PAR1", "cannot be read as PARQUET"),
            ("t.xlsx", b"PK", "not a table of a kind"),
        ],
    )
    def test_unreadable_tables_are_told(self, name, content, told, tmp_path):
        (tmp_path / name).write_bytes(content)
        assert told in complaint(kind="table", path=str(tmp_path / name))

    def test_byte_order_mark_is_no_part_of_the_name(self, tmp_path):
        (tmp_path / "1.jpg").touch()
        (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfpath,kind\n1.jpg,x\n")
        assert load(kind="table", path=str(tmp_path / "t.csv"))["kind"].tolist() == ["x"]


class TestSample:
    def test_photos_are_drawn_once(self, tmp_path):
        source = {"kind": "sample", "path": str(tmp_path), "count": 3, "seed": 1, "size": 32}
        dataset = SourcePhotosDataset(source=source | {"workers": 1})
        assert not dataset.exists()
        photos = dataset.load()
        assert len(photos) == 3
        assert all(Image.open(path).size for path in photos["path"])
        assert dataset.exists()
        times = [Path(path).stat().st_mtime_ns for path in photos["path"]]
        again = dataset.load()
        pd.testing.assert_frame_equal(photos, again)
        assert times == [Path(path).stat().st_mtime_ns for path in again["path"]]

    def test_other_settings_and_renderers_get_other_folders(self, tmp_path, monkeypatch):
        from cannabis_ml.datasets import source_photos

        def folder(**changed):
            source = {"kind": "sample", "path": str(tmp_path), "count": 3, "seed": 1, "size": 32}
            return SourcePhotosDataset(source=source | changed)._source.folder

        folders = {folder(), folder(count=4), folder(seed=2), folder(size=64)}
        monkeypatch.setattr(source_photos, "_renderer_version", lambda: "newer")
        assert len(folders | {folder()}) == 5


class TestCatalogEntry:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ({"kind": "zip"}, "'zip'"),
            ({"path": "x"}, "kind"),
            ({"kind": "folder", "path": "x", "patern": "y"}, "patern"),
            ({"kind": "sample", "path": "x", "count": -1}, "count"),
        ],
    )
    def test_wrong_entries_are_told_in_words(self, source, told):
        with pytest.raises(SourceError, match=told):
            SourcePhotosDataset(source=source)

    def test_preview_shows_rows_and_draws_nothing(self, tree, tmp_path):
        root = tree("a/1.jpg", "b/2.jpg")
        dataset = SourcePhotosDataset(source={"kind": "folder", "path": str(root)})
        assert len(dataset.preview(nrows=1)["data"]) == 1
        json.dumps(dataset.preview())
        undrawn = SourcePhotosDataset(source={"kind": "sample", "path": str(tmp_path / "s")})
        assert undrawn.preview()["data"] == []
        assert not (tmp_path / "s").exists()

    def test_exists_and_describe(self, tree):
        root = str(tree("a/1.jpg"))
        dataset = SourcePhotosDataset(source={"kind": "folder", "path": root})
        assert dataset.exists()
        assert dataset._describe() == {"kind": "folder", "path": root}
        assert not SourcePhotosDataset(source={"kind": "folder", "path": None}).exists()

    def test_saving_is_refused(self, tree):
        dataset = SourcePhotosDataset(source={"kind": "folder", "path": str(tree("a/1.jpg"))})
        with pytest.raises(DatasetError, match="never written back"):
            dataset.save("x")
