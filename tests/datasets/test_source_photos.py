"""One source of photos or several, as one catalog entry."""

import json
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources import AnySource


def refusal(**entry):
    with pytest.raises(SourceError) as caught:
        SourcePhotosDataset(**entry)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"kind": "zip"}, "'zip'"),
        ({"path": "x"}, "kind"),
        ({"kind": "folder", "path": "x", "patern": "y"}, "patern"),
        ({"kind": "sample", "path": "x", "count": -1}, "count"),
    ],
)
def test_wrong_entries_are_reported_in_words(source, told):
    with pytest.raises(SourceError, match=told):
        SourcePhotosDataset(source=source)


def test_preview_shows_rows_and_draws_nothing(tree, tmp_path):
    root = tree("a/1.jpg", "b/2.jpg")
    dataset = SourcePhotosDataset(source={"kind": "folder", "path": str(root)})
    assert len(dataset.preview(nrows=1)["data"]) == 1
    json.dumps(dataset.preview())
    undrawn = SourcePhotosDataset(source={"kind": "sample", "path": str(tmp_path / "s")})
    assert undrawn.preview()["data"] == []
    assert not (tmp_path / "s").exists()


def test_exists_and_describe(tree):
    root = str(tree("a/1.jpg"))
    dataset = SourcePhotosDataset(source={"kind": "folder", "path": root})
    assert dataset.exists()
    assert dataset._describe() == {"kind": "folder", "path": root}
    assert not SourcePhotosDataset(source={"kind": "folder", "path": None}).exists()


def test_saving_is_refused(tree):
    dataset = SourcePhotosDataset(source={"kind": "folder", "path": str(tree("a/1.jpg"))})
    with pytest.raises(DatasetError, match="never written back"):
        dataset.save("x")


@pytest.fixture
def two(tree):
    """Two sources: class folders, and a table with a group, a split and another head."""
    root = tree("folders/oak/1.jpg", "folders/elm/2.jpg", "field/3.jpg", "field/4.jpg")
    rows = [
        {"path": "3.jpg", "kind": "Oak tree", "age": "old", "group": "g1", "split": "test"},
        {"path": "4.jpg", "kind": None, "age": None, "group": None, "split": None},
    ]
    pd.DataFrame(rows).to_csv(root / "field/labels.csv", index=False)
    return {
        "web": {"kind": "folder", "path": str(root / "folders"), "head": "kind"},
        "field": {
            "kind": "table",
            "path": str(root / "field/labels.csv"),
            "label_map": {"kind": {"Oak tree": "oak"}},
            "defaults": {"kind": "elm"},
        },
    }


def test_several_sources_become_one_table(two):
    photos = SourcePhotosDataset(sources=two).load()
    assert [Path(path).name for path in photos["path"]] == ["2.jpg", "1.jpg", "3.jpg", "4.jpg"]
    assert photos.drop(columns="path").fillna("?").to_dict("list") == {
        "source": ["web", "web", "field", "field"],
        "group": ["?", "?", "field/g1", "?"],
        "given_split": ["?", "?", "test", "?"],
        "kind": ["elm", "oak", "oak", "elm"],
        "age": ["?", "?", "old", "?"],
    }
    assert photos.index.tolist() == [0, 1, 2, 3]


def test_groups_of_two_sources_are_never_the_same(two):
    field = two["field"]
    photos = SourcePhotosDataset(sources={"first": field, "second": field}).load()
    assert photos["group"].dropna().tolist() == ["first/g1", "second/g1"]


def test_single_source_is_named_after_its_kind_and_keeps_groups_when_others_join(two):
    alone = SourcePhotosDataset(source=two["field"]).load()
    joined = SourcePhotosDataset(sources={"table": two["field"], "web": two["web"]}).load()
    assert set(alone["source"]) == {"table"}
    same = joined[joined["source"] == "table"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same[alone.columns])


def test_error_of_one_of_several_sources_names_it(two, complaint):
    two["field"]["path"] = "nowhere.csv"
    assert complaint(sources=two).startswith("Source 'field': nowhere.csv does not exist")


def test_sources_without_a_path_are_all_named(complaint):
    message = complaint(sources={n: {"kind": "plantdoc", "path": None} for n in ("one", "two")})
    assert "sources 'one', 'two'" in message
    assert "--params one=PATH,two=PATH" in message


def test_every_fault_of_every_source_is_reported_at_once():
    message = refusal(
        sources={
            "a": {"kind": "folder", "path": "x", "patern": "y", "group_pattern": "(("},
            "b": {"kind": "sample", "path": "x", "count": 0},
            "c d": {"kind": "folder", "path": "x"},
        }
    )
    for told in ("sources.a.folder.patern", "regular expression", "sources.b.sample.count"):
        assert told in message
    assert "sources.c d" in message


@pytest.mark.parametrize("entry", [{}, {"sources": {}}, {"source": {}, "sources": {"a": {}}}])
def test_one_of_source_and_sources_is_wanted(entry):
    assert "either `source`" in refusal(**entry)


def test_describe_and_exists_of_several(two):
    dataset = SourcePhotosDataset(sources=two)
    assert dataset.exists()
    assert set(dataset._describe()) == {"web", "field"}
    two["web"]["path"] = "nowhere"
    assert not SourcePhotosDataset(sources=two).exists()
    assert SourcePhotosDataset(sources=two).preview()["data"] == []


def test_real_plantvillage_and_plantdoc_share_one_taxonomy(real_photos):
    photos = SourcePhotosDataset(
        sources={
            "plantvillage": {
                "kind": "plantvillage",
                "path": str(real_photos / "plantvillage_subset"),
            },
            "plantdoc": {"kind": "plantdoc", "path": str(real_photos / "plantdoc_256")},
        }
    ).load()
    assert photos["source"].value_counts().to_dict() == {"plantvillage": 2836, "plantdoc": 2552}
    conditions = photos.groupby("source").apply(
        lambda rows: set(zip(rows["species"], rows["condition"], strict=True))
    )
    # A class per folder, and none of PlantDoc that PlantVillage does not have.
    assert len(conditions["plantvillage"]) == 39
    assert len(conditions["plantdoc"]) == 27
    assert conditions["plantdoc"] <= conditions["plantvillage"]


def test_splits_can_be_left_out_in_every_kind_of_source():
    kinds = get_args(get_args(AnySource)[0])
    assert len(kinds) >= 7
    assert all(kind.model_fields["keep_splits"].default is True for kind in kinds)


@pytest.mark.parametrize("keep", [True, False])
def test_splits_that_are_not_kept_are_not_given(tree, tmp_path, keep):
    root = tree("train/a/1.jpg", "valid/b/2.jpg")
    table = tmp_path / "t.csv"
    table.write_text(f"path,kind,split\n{root}/train/a/1.jpg,a,test\n")
    photos = SourcePhotosDataset(
        sources={
            "folders": {"kind": "folder", "path": str(root), "keep_splits": keep},
            "rows": {"kind": "table", "path": str(table), "keep_splits": keep},
            "others": {"kind": "folder", "path": str(root)},
        }
    ).load()
    given = photos.groupby("source")["given_split"].agg(lambda column: set(column.dropna()))
    assert given["folders"] == ({"train", "validation"} if keep else set())
    assert given["rows"] == ({"test"} if keep else set())
    assert given["others"] == {"train", "validation"}  # each source for itself
