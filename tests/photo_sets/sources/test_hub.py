"""Data sets of the Hugging Face hub, from a hub on this machine and from local folders."""

import hashlib
import io
import shutil
from pathlib import Path

import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import SourceError
from cannabis_ml.photo_sets.sources import hub as hub_source

NOBODY = "http://127.0.0.1:9"
"""Where no server answers."""


@pytest.fixture(scope="session")
def photos(encode, draw):
    """Encoded photos, all different: JPEGs and, last, a PNG."""
    return [encode(draw(seed)) for seed in range(7)] + [encode(draw(7), "PNG")]


@pytest.fixture(scope="session")
def parquet():
    """The bytes of a Parquet file as `datasets` writes it: `parquet(photos, plant=[…])`."""
    from datasets import ClassLabel, Dataset, Features, Image, List, Value

    def parquet(images, **columns):
        types = {
            "image": Image(),
            "kind": ClassLabel(names=["oak", "red elm"]),
            "marks": List(ClassLabel(names=["old", "wet"])),
            "plant": Value("int64"),
            "part": Value("string"),
        }
        rows = {"image": [i and {"bytes": i, "path": f"p{n}.jpg"} for n, i in enumerate(images)]}
        features = Features({name: types[name] for name in ["image", *columns]})
        file = io.BytesIO()
        Dataset.from_dict(rows | columns, features=features).to_parquet(file)
        return file.getvalue()

    return parquet


@pytest.fixture(scope="session")
def trees(hub, photos, parquet):
    """The commit of `me/trees`: two splits of labelled photos."""
    train = parquet(
        photos[:3],
        kind=[0, 1, -1],
        marks=[["old", "wet"], [], None],
        plant=[7, 7, None],
        part=["val", "train", None],
    )
    test = parquet(photos[3:4], kind=[1], marks=[["wet"]], plant=[8], part=["test"])
    return hub.put(
        "me/trees",
        {"data/train-00000-of-00001.parquet": train, "data/test-00000-of-00001.parquet": test},
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_photos_and_labels_come_as_they_are_stored(streaming, trees, photos, read, tmp_path):
    got = read(repo="me/trees", revision=trees, path=str(tmp_path), streaming=streaming)
    assert [Path(path).read_bytes() for path in got["path"]] == photos[:4]
    assert got["given_split"] == ["train", "train", "train", "test"]
    assert got["kind"] == ["oak", "red elm", None, "red elm"]
    assert got["marks"] == ["old;wet", "-", None, "wet"]
    assert got["plant"] == ["7", "7", None, "8"]


def test_second_run_asks_the_hub_nothing_even_for_other_labels(trees, hub, read, tmp_path):
    source = {"repo": "me/trees", "revision": trees, "path": str(tmp_path)}
    first = read(**source)
    before = len(hub.requests)
    again = read(
        **source,
        label_columns={"species": "kind", "age": "kind"},
        label_map={"age": {"oak": "old", "red elm": None}},
        defaults={"species": "unknown tree", "age": "young"},
        group_column="plant",
        split_column="part",
    )
    assert hub.requests[before:] == []
    assert again["path"] == first["path"]
    assert again["species"] == ["oak", "red elm", "unknown tree", "red elm"]
    assert again["age"] == ["old", None, "young", None]
    assert again["group"] == ["hub/7", "hub/7", None, "hub/8"]
    assert again["given_split"] == ["validation", "train", None, "test"]
    assert "plant" not in again


def test_kept_photos_are_read_without_a_hub(trees, read, tmp_path, monkeypatch):
    source = {"kind": "hub", "repo": "me/trees", "revision": trees, "path": str(tmp_path)}
    got = read(**source)
    monkeypatch.delattr(hub_source, "ask_hub")
    dataset = SourcePhotosDataset(source=source)
    assert dataset.exists()
    assert dataset.load()["path"].tolist() == got["path"]


def test_names_are_hashes_of_the_content(trees, read, photos, tmp_path):
    got = read(repo="me/trees", revision=trees, path=str(tmp_path))
    stems = [Path(path).stem for path in got["path"]]
    assert stems == [hashlib.sha256(photo).hexdigest() for photo in photos[:4]]


@pytest.mark.parametrize("streaming", [False, True])
def test_class_folders_on_the_hub(streaming, hub, photos, read, tmp_path):
    files = {f"train/{kind}/leaf{n}_1.jpg": photos[n] for n, kind in enumerate(["oak", "elm"])}
    files["test/elm/leaf2_1.png"] = photos[-1]
    commit = hub.put("me/folders", files | {"README.md": b"# Leaves\n"})
    got = read(
        repo="me/folders",
        revision=commit,
        path=str(tmp_path),
        streaming=streaming,
        label_columns={"kind": "label"},
        group_pattern=r"(?P<group>leaf\d)_",
    )
    by_group = {
        group: (kind, split, Path(path).read_bytes(), Path(path).suffix)
        for group, kind, split, path in zip(
            got["group"], got["kind"], got["given_split"], got["path"], strict=True
        )
    }
    assert by_group == {
        "hub/leaf0": ("oak", "train", photos[0], ".jpg"),
        "hub/leaf1": ("elm", "train", photos[1], ".jpg"),
        "hub/leaf2": ("elm", "test", photos[-1], ".png"),
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_split_folders_that_datasets_passes_over_are_heard(streaming, hub, photos, read, tmp_path):
    names = ["Training/oak/1.jpg", "Training/elm/2.jpg", "Testing/elm/3.jpg"]
    commit = hub.put("me/capital", dict(zip(names, photos, strict=False)))
    source = {"repo": "me/capital", "revision": commit, "path": str(tmp_path)}
    got = read(**source, streaming=streaming)
    by_photo = {
        Path(path).read_bytes(): (split, kind)
        for path, split, kind in zip(got["path"], got["given_split"], got["label"], strict=True)
    }
    assert [by_photo[photo] for photo in photos[:3]] == [
        ("train", "oak"),
        ("train", "elm"),
        ("test", "elm"),
    ]


def test_splits_of_a_data_set_are_read_however_they_are_spelt(hub, photos, parquet, load, tmp_path):
    for number, name in enumerate(["train_clean", "dev", "holdout"]):
        file = tmp_path / f"set/data/{name}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(parquet(photos[number : number + 1], kind=[0]))
    source = {"kind": "hub", "repo": str(tmp_path / "set"), "path": str(tmp_path / "kept")}
    assert load(**source)["given_split"].fillna("?").tolist() == ["validation", "?", "train"]
    photos = load(**source, split_map={"holdout": "test"})
    assert photos["given_split"].tolist() == ["validation", "test", "train"]


def test_copies_and_missing_photos_keep_their_rows(hub, photos, parquet, read, tmp_path):
    file = parquet([photos[0], photos[0], None], kind=[0, 1, 1])
    commit = hub.put("me/copies", {"data/train-00000-of-00001.parquet": file})
    got = read(repo="me/copies", revision=commit, path=str(tmp_path))
    assert got["path"][0] == got["path"][1] != got["path"][2]
    assert [Path(p).exists() for p in got["path"]] == [True, True, False]
    assert got["kind"] == ["oak", "red elm", "red elm"]


def test_labels_are_compared_in_one_form(hub, photos, read, tmp_path):
    from datasets import ClassLabel, Dataset, Features, Image

    types = {"image": Image(), "Gro\u0308ße ": ClassLabel(names=["klein", "riesengro\u0308ß"])}
    rows = {"image": [{"bytes": photos[i], "path": None} for i in range(2)], "Gro\u0308ße ": [0, 1]}
    file = io.BytesIO()
    Dataset.from_dict(rows, features=Features(types)).to_parquet(file)
    commit = hub.put("me/forms", {"data/train-00000-of-00001.parquet": file.getvalue()})
    source = {"repo": "me/forms", "revision": commit, "path": str(tmp_path)}
    got = read(**source, label_columns={"size": "Größe"}, label_map={"size": {"riesengröß": "big"}})
    assert got["size"] == ["klein", "big"]
    assert read(**source)["Größe"] == ["klein", "riesengröß"]


def test_branch_is_followed_only_when_allowed(hub, photos, parquet, read, tmp_path):
    source = {"repo": "me/moving", "revision": "main", "path": str(tmp_path)}
    first = hub.put(
        "me/moving", {"data/train-00000-of-00001.parquet": parquet(photos[:1], kind=[0])}
    )
    refused = read(**source)["error"]
    assert "revision 'main' is not a commit of 40 hex digits" in refused
    assert "allow_moving" in refused
    assert len(read(**source, allow_moving=True)["path"]) == 1
    second = hub.put(
        "me/moving", {"data/train-00000-of-00001.parquet": parquet(photos[:2], kind=[0, 1])}
    )
    assert first != second
    assert len(read(**source, allow_moving=True)["path"]) == 2


class TestErrors:
    def test_unknown_data_set(self, hub, read, tmp_path):
        told = read(repo="me/nothing", revision="0" * 40, path=str(tmp_path))["error"]
        assert f"{hub.url} has no data set 'me/nothing'" in told

    def test_revision_that_is_gone(self, trees, read, tmp_path):
        told = read(repo="me/trees", revision="0" * 40, path=str(tmp_path))["error"]
        assert f"me/trees has no revision '{'0' * 40}'" in told
        assert "commits/main" in told

    def test_columns_that_are_not_there(self, trees, read, tmp_path):
        source = {"repo": "me/trees", "revision": trees, "path": str(tmp_path)}
        told = read(**source, label_columns={"species": "tree"}, group_column="leaf")["error"]
        assert "lacks the columns 'tree' (label_columns: species), 'leaf' (group_column)" in told
        assert "it has 'kind', 'marks', 'plant', 'part'" in told
        told = read(**source, label_map={"spezies": {}})["error"]
        assert "'spezies' (label_map: spezies)" in told

    @pytest.mark.parametrize("column", ["photo", "kind"])
    def test_column_without_photos(self, column, trees, read, tmp_path):
        source = {"repo": "me/trees", "revision": trees, "path": str(tmp_path)}
        told = read(**source, image_column=column)["error"]
        assert f"The column '{column}' of me/trees" in told
        assert "Columns with photos: 'image'" in told
        assert list(tmp_path.iterdir()) == []

    def test_unknown_split_and_configuration(self, trees, read, tmp_path):
        source = {"repo": "me/trees", "revision": trees, "path": str(tmp_path)}
        assert "it has 'train', 'test'" in read(**source, splits=["dev"])["error"]
        assert "'large' not found" in read(**source, config="large")["error"]

    def test_data_set_without_data(self, hub, read, tmp_path):
        commit = hub.put("me/empty", {"README.md": b"# Nothing yet\n"})
        told = read(repo="me/empty", revision=commit, path=str(tmp_path))["error"]
        assert "me/empty cannot be read" in told

    def test_file_that_breaks_off_leaves_nothing_behind(self, hub, parquet, photos, read, tmp_path):
        whole = parquet(photos[:3], kind=[0, 1, 0])
        commit = hub.put("me/broken", {"data/train-00000-of-00001.parquet": whole[:-400]})
        told = read(repo="me/broken", revision=commit, path=str(tmp_path))["error"]
        assert "me/broken cannot be read" in told
        assert "run again" in told
        assert list(tmp_path.iterdir()) == []

    def test_id_that_is_none(self, read, tmp_path):
        told = read(repo="a/b/c", revision="0" * 40, path=str(tmp_path))["error"]
        assert "'a/b/c' is not an id of a data set" in told

    def test_without_a_network_the_error_names_the_hub(self, reader_without_network, tmp_path):
        told = reader_without_network(repo="me/x", revision="0" * 40, path=str(tmp_path))["error"]
        assert f"me/x is not on this machine yet, and {NOBODY} cannot be reached" in told
        assert "Connect to the network" in told

    def test_offline_mode_is_reported(self, read, hub, tmp_path):
        offline = type(read)(tmp_path / "hf", hub.url, HF_HUB_OFFLINE="1")
        told = offline(repo="me/x", revision="0" * 40, path=str(tmp_path))["error"]
        offline.close()
        assert "HF_HUB_OFFLINE forbids" in told

    @pytest.mark.parametrize(
        ("source", "told"),
        [
            ({"repo": "me/x"}, "needs a revision"),
            ({"repo": "me/x", "revision": "abc123"}, "not a commit of 40 hex digits"),
            ({"repo": "./x", "revision": "0" * 40}, "a local folder has no revision"),
        ],
    )
    def test_unpinned_sources_are_refused_before_anything_runs(self, source, told):
        with pytest.raises(SourceError, match=told):
            SourcePhotosDataset(source={"kind": "hub", "path": "x", **source})

    @pytest.fixture(scope="class")
    def reader_without_network(self, read, tmp_path_factory):
        reader = type(read)(tmp_path_factory.mktemp("hf"), NOBODY)
        yield reader
        reader.close()


class TestLocalFolder:
    """`datasets` loads it in this process: no hub is involved."""

    @pytest.fixture
    def folder(self, tmp_path, write_photo):
        for number, kind in enumerate(["oak", "oak", "elm"]):
            write_photo(tmp_path / f"trees/train/{kind}/{number}.jpg", number)
        return tmp_path / "trees"

    def test_folder_that_datasets_can_load(self, folder, load, tmp_path):
        source = {"kind": "hub", "repo": str(folder), "path": str(tmp_path / "kept")}
        photos = load(**source)
        assert photos["label"].value_counts().to_dict() == {"oak": 2, "elm": 1}
        kept = {Path(path).read_bytes() for path in photos["path"]}
        assert kept == {path.read_bytes() for path in folder.rglob("*.jpg")}
        assert load(**source)["path"].tolist() == photos["path"].tolist()

    def test_a_data_set_that_is_mounted_is_read_without_the_hub(
        self, folder, load, tmp_path, monkeypatch
    ):
        commit = "1f" * 20
        place = tmp_path / "mounted/me/trees" / commit
        place.parent.mkdir(parents=True)
        shutil.copytree(folder, place)
        monkeypatch.setenv("CANNABIS_ML_DATA_SETS", str(tmp_path / "mounted"))
        monkeypatch.delattr(hub_source, "ask_hub")
        source = {"kind": "hub", "repo": "me/trees", "revision": commit}
        photos = load(**source, path=str(tmp_path / "kept"))
        local = load(kind="hub", repo=str(folder), path=str(tmp_path / "kept"))
        for name in ("label", "given_split"):
            assert photos[name].tolist() == local[name].tolist()
        another = source | {"revision": "2e" * 20, "path": str(tmp_path / "kept")}
        with pytest.raises(DatasetError, match="ask_hub"):
            SourcePhotosDataset(source=another).load()

    def test_split_folders_that_datasets_passes_over_are_heard(self, load, tmp_path, write_photo):
        for number, place in enumerate(["Training/oak", "Training/elm", "Testing/elm"]):
            write_photo(tmp_path / f"trees/{place}/{number}.jpg", number)
        repo = str(tmp_path / "trees")
        photos = load(kind="hub", repo=repo, path=str(tmp_path / "kept"))
        assert sorted(zip(photos["given_split"], photos["label"], strict=True)) == [
            ("test", "elm"),
            ("train", "elm"),
            ("train", "oak"),
        ]

    def test_split_without_a_meaning_is_reported(self, load, tmp_path, photos, parquet, caplog):
        for number, name in enumerate(["train", "holdout"]):
            file = tmp_path / f"set/data/{name}-00000-of-00001.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(parquet(photos[number : number + 1], kind=[0]))
        load(kind="hub", repo=str(tmp_path / "set"), path=str(tmp_path / "kept"))
        assert "splits with unknown names: 'holdout'" in caplog.text

    def test_changed_folder_is_read_anew(self, folder, load, tmp_path, write_photo):
        source = {"kind": "hub", "repo": str(folder), "path": str(tmp_path / "kept")}
        assert len(load(**source)) == 3
        write_photo(folder / "train/elm/new.jpg", 9)
        assert not SourcePhotosDataset(source=source).exists()
        assert len(load(**source)) == 4

    def test_missing_folder_is_reported(self, complaint, tmp_path):
        message = complaint(kind="hub", repo=str(tmp_path / "no"), path=str(tmp_path))
        assert "is not a folder" in message
