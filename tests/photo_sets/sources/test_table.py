"""Tables with a row per photo."""

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError


@pytest.fixture
def table(tmp_path):
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
def test_every_kind_of_table_reads_the_same(name, table, load):
    rows = [
        {"path": "b/ü 1.jpg", "kind": "x", "traits.wet": "yes", "group": "g", "split": "Val"},
        {"path": "a/2.jpg", "kind": None, "traits.wet": None, "group": None, "split": None},
    ]
    photos = load(kind="table", path=str(table(rows, name)))
    assert photos.fillna("?").drop(columns="path").to_dict("list") == {
        "source": ["table", "table"],
        "group": ["table/g", "?"],
        "given_split": ["validation", "?"],
        "kind": ["x", "?"],
        "traits.wet": ["yes", "?"],
    }
    assert [Path(path).exists() for path in photos["path"]] == [True, True]


def test_class_may_be_called_na_or_null(table, load):
    rows = [{"path": f"{i}.jpg", "kind": kind} for i, kind in enumerate(["NA", "null", ""])]
    photos = load(kind="table", path=str(table(rows)))
    assert photos["kind"].fillna("?").tolist() == ["NA", "null", "?"]


def test_lists_of_attributes_become_text(table, load):
    rows = [
        {"path": "1.jpg", "traits": ["wet", "old"]},
        {"path": "2.jpg", "traits": []},
        {"path": "3.jpg", "traits": None},
    ]
    for name in ("t.jsonl", "t.parquet"):
        photos = load(kind="table", path=str(table(rows, name)))
        assert photos["traits"].fillna("?").tolist() == ["wet;old", "-", "?"]


def test_label_map_maps_labels_and_items(table, load):
    rows = [{"path": "1.jpg", "kind": "X ", "traits": "wet; odd;old"}]
    photos = load(
        kind="table",
        path=str(table(rows)),
        label_map={"kind": {"X": "x"}, "traits": {"wet": "moist", "odd": None}},
    )
    assert photos.loc[0, ["kind", "traits"]].tolist() == ["x", "moist;old"]


def test_missing_files_stay_in_the_list(table, tmp_path, load):
    path = table([{"path": "1.jpg", "kind": "x"}, {"path": "2.jpg", "kind": "y"}])
    (tmp_path / "2.jpg").unlink()
    assert len(load(kind="table", path=str(path))) == 2


def test_no_listed_file_exists(table, tmp_path, complaint):
    path = table([{"path": f"{i}.jpg", "kind": "x"} for i in range(3)], present=False)
    message = complaint(kind="table", path=str(path))
    assert f"None of the 3 photos listed in {path} exists" in message
    assert "photos_root" in message


def test_photos_root_may_lie_elsewhere(table, tmp_path_factory, load):
    elsewhere = tmp_path_factory.mktemp("photos")
    (elsewhere / "1.jpg").touch()
    path = table([{"path": "1.jpg", "kind": "x"}], present=False)
    photos = load(kind="table", path=str(path), photos_root=str(elsewhere))
    assert photos["path"].tolist() == [str(elsewhere / "1.jpg")]


def test_missing_table_is_named(tmp_path, complaint):
    assert "nowhere.csv does not exist" in complaint(
        kind="table", path=str(tmp_path / "nowhere.csv")
    )


def test_lacking_columns_are_all_named(table, complaint):
    path = table([{"file": "1.jpg", "kind": "x"}])
    message = complaint(kind="table", path=str(path), group_column="plant", label_map={"grade": {}})
    assert "'path' (path_column), 'plant' (group_column), 'grade' (label_map)" in message
    assert "it has 'file', 'kind'" in message


def test_wrong_separator_is_guessed_at(tmp_path, complaint):
    (tmp_path / "t.csv").write_text("path;kind\n1.jpg;x\n")
    assert "separated by commas" in complaint(kind="table", path=str(tmp_path / "t.csv"))


def test_unknown_splits_are_listed(table, complaint):
    rows = [{"path": f"{i}.jpg", "split": "holdout" if i else "test"} for i in range(3)]
    message = complaint(kind="table", path=str(table(rows)))
    assert "'holdout' (2 rows)" in message
    assert "split_map" in message


def test_splits_are_read_however_they_are_spelt(table, load):
    said = ["Training", "dev", "EVAL", "cifar_test", "train-2017", "holdout", "none", ""]
    rows = [{"path": f"{i}.jpg", "kind": "x", "split": split} for i, split in enumerate(said)]
    split_map = {"holdout": "test", "none": None}
    photos = load(kind="table", path=str(table(rows)), split_map=split_map)
    expected = ["train", "validation", "test", "test", "train", "test", "?", "?"]
    assert photos["given_split"].fillna("?").tolist() == expected


def test_folders_of_splits_in_a_table_without_splits_are_warned_of(table, load, caplog):
    rows = [{"path": f"{s}/{i}.jpg", "kind": "x"} for i, s in enumerate(["Train", "Test", "Test"])]
    path = table(rows)
    assert load(kind="table", path=str(path))["given_split"].isna().all()
    assert "'Test' (2 photos), 'Train' (1 photo)" in caplog.text
    caplog.clear()
    load(kind="table", path=str(path), split_column=None)
    load(kind="table", path=str(table([{"path": "train/1.jpg", "kind": "x"}], "only_train.csv")))
    assert not caplog.text


def test_column_of_splits_alone_is_warned_of(table, load, caplog):
    rows = [{"path": f"{i}.jpg", "Subset": s} for i, s in enumerate(["train", "Testing"])]
    path = table(rows)
    load(kind="table", path=str(path))
    assert "The column 'Subset'" in caplog.text
    photos = load(kind="table", path=str(path), split_column="Subset")
    assert photos["given_split"].tolist() == ["train", "test"]


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
def test_unreadable_tables_are_reported(name, content, told, tmp_path, complaint):
    (tmp_path / name).write_bytes(content)
    assert told in complaint(kind="table", path=str(tmp_path / name))


def test_byte_order_mark_is_no_part_of_the_name(tmp_path, load):
    (tmp_path / "1.jpg").touch()
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfpath,kind\n1.jpg,x\n")
    assert load(kind="table", path=str(tmp_path / "t.csv"))["kind"].tolist() == ["x"]


def test_defaults_fill_empty_cells_and_missing_heads(table, load):
    rows = [{"path": f"{i}.jpg", "kind": kind} for i, kind in enumerate(["x", "", "odd"])]
    photos = load(
        kind="table",
        path=str(table(rows)),
        label_map={"kind": {"odd": None}},
        defaults={"kind": "y", "age": "old", "traits": "-"},
    )
    assert photos["kind"].fillna("?").tolist() == ["x", "y", "?"]
    assert photos["age"].tolist() == ["old"] * 3
    assert photos["traits"].tolist() == ["-"] * 3


def test_group_pattern_speaks_where_the_group_is_empty(table, load):
    rows = [{"path": f"leaf{i}_{i}.jpg", "group": "g" if i == 1 else ""} for i in range(2)]
    photos = load(kind="table", path=str(table(rows)), group_pattern=r"(?P<group>leaf\d)")
    assert photos["group"].tolist() == ["table/leaf0", "table/g"]


def test_a_source_column_of_the_table_is_no_label(table, load):
    photos = load(kind="table", path=str(table([{"path": "1.jpg", "source": "web", "kind": "x"}])))
    assert photos.loc[0, ["source", "kind"]].tolist() == ["table", "x"]


@pytest.mark.parametrize("column", ["split", "group"])
def test_null_switches_a_column_off(column, table, load):
    rows = [{"path": "1.jpg", "kind": "x", "split": "odd" if column == "split" else "test"}]
    rows[0]["group"] = "g"
    path = str(table(rows))
    photos = load(kind="table", path=path, **{f"{column}_column": None})
    found = {"split": "given_split", "group": "group"}
    assert photos[found.pop(column)].isna().all()
    assert photos[found.popitem()[1]].notna().all()
    assert list(photos.columns) == ["path", "source", "group", "given_split", "kind"]


def test_column_that_is_asked_for_must_be_there(table, complaint):
    path = str(table([{"path": "1.jpg", "kind": "x"}]))
    assert "'split' (split_column)" in complaint(kind="table", path=path, split_column="split")


def test_advice_for_paths_of_another_machine_works(table, tree, complaint, load):
    root = tree("photos/oak/1.jpg", "photos/elm/1.jpg")
    rows = [{"path": f"C:\\Users\\Ann\\{kind}\\1.jpg", "kind": kind} for kind in ("oak", "elm")]
    source = {"kind": "table", "path": str(table(rows, present=False))}
    assert "set photos_root to the folder that holds them" in complaint(**source)
    photos = load(**source, photos_root=str(root / "photos"), group_pattern="(?P<tree>.+)/")
    assert photos["path"].tolist() == [str(root / "photos" / k / "1.jpg") for k in ("oak", "elm")]
    assert photos["group"].tolist() == ["table/oak", "table/elm"]


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_names_are_the_same_in_both_forms_and_with_blanks(name, tmp_path, table, load):
    """Columns, labels, attributes, groups, the map and the paths, each in the other form."""

    def other(text):
        return unicodedata.normalize("NFD", text)

    (tmp_path / other("ä.jpg")).touch()
    (tmp_path / "ö.jpg").touch()
    rows = [
        {"path": "ä.jpg", other("Größe"): "groß ", "züge": "nässe;öde", "group": "Ä"},
        {"path": other("ö.jpg"), other("Größe"): other("groß"), "züge": other("nässe;öde")},
    ]
    rows[1]["group"] = other(" Ä")
    path = table(rows, name, present=False)
    photos = load(
        kind="table",
        path=str(path),
        label_map={"Größe": {other("groß"): "groß"}, other("züge "): {"nässe": other("naß")}},
    )
    assert photos["Größe"].tolist() == ["groß"] * 2
    assert photos["züge"].tolist() == ["naß;öde"] * 2
    assert photos["group"].nunique() == 1
    assert all(Path(path).is_file() for path in photos["path"])


def test_map_with_two_values_of_one_name_is_refused(table):
    label_map = {"kind": {"Gänse": "a", "Ga\u0308nse ": "b"}}
    with pytest.raises(SourceError, match="'Gänse' is written twice"):
        SourcePhotosDataset(source={"kind": "table", "path": "x.csv", "label_map": label_map})


def test_addresses_are_read_where_they_are_if_asked(table, load):
    here = table([{"path": "a/1.jpg"}]).parent
    rows = [
        {"path": "s3://bucket/plant1/x.jpg", "kind": "x"},
        {"path": "a/1.jpg", "kind": "y"},
        {"path": "gs://other/plant1/y.jpg", "kind": "x"},
    ]
    listed = str(table(rows, present=False))
    photos = load(kind="table", path=listed, read_urls=True, group_pattern=r"(?P<p>plant\d)")
    assert photos["path"].tolist() == [rows[0]["path"], str(here / "a/1.jpg"), rows[2]["path"]]
    assert photos["group"].fillna("?").tolist() == ["table/plant1", "?", "table/plant1"]


def test_a_table_of_addresses_needs_no_file(table, load):
    listed = str(table([{"path": "https://host/a.jpg", "kind": "x"}], present=False))
    assert load(kind="table", path=listed, read_urls=True)["path"].tolist() == [
        "https://host/a.jpg"
    ]
