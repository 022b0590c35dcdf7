"""Entries on other file systems: in memory, and in a bucket that is a folder underneath."""

import hashlib
import traceback
from pathlib import Path

import fsspec
import matplotlib
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DataCatalog, DatasetError, Version
from kedro_datasets.json import JSONDataset

from cannabis_ml._io.remote import RemotePath
from cannabis_ml.datasets.augmented import AugmentedPhotosDataset
from cannabis_ml.datasets.bundle import Bundle, BundleDataset
from cannabis_ml.datasets.champion import ChampionDataset
from cannabis_ml.datasets.checkpoint import CheckpointDataset
from cannabis_ml.datasets.feedback_photos import FeedbackPhotosDataset
from cannabis_ml.datasets.feedback_store import FeedbackStoreDataset
from cannabis_ml.datasets.figures import FiguresDataset
from cannabis_ml.datasets.lineage import LineageDataset, RunVersions
from cannabis_ml.datasets.model_file import ModelFile, ModelFilesDataset
from cannabis_ml.datasets.photo_folder import PhotoFolderDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.datasets.split_ledger import SplitLedgerDataset
from cannabis_ml.datasets.table import EarlierTableDataset, TableDataset
from cannabis_ml.datasets.taxonomy import TaxonomyDataset
from cannabis_ml.datasets.training_record import TrainingRecordDataset
from cannabis_ml.datasets.typed_json import TypedJSONDataset
from cannabis_ml.datasets.workspace import WorkspaceDataset
from cannabis_ml.hooks import UnfinishedHook, place_of, saved_path
from cannabis_ml.inference.cards import NetworkCard
from cannabis_ml.networks.checkpoint import Checkpoint
from cannabis_ml.photo_sets.copies import Copies, CopyStream
from cannabis_ml.photo_sets.photo_set import PhotoStream
from cannabis_ml.photo_sets.split_ledger import empty_ledger
from cannabis_ml.taxonomy import Taxonomy

matplotlib.use("agg")


def card_of(epoch):
    heads = {"heads": [{"name": "kind", "classes": ["a", "b"]}]}
    return NetworkCard.model_validate({"taxonomy": heads, "image_size": 32, "best_epoch": epoch})


TAXONOMY = Taxonomy.model_validate({"heads": [{"name": "kind", "classes": ["hemp", "weed"]}]})


class Bucket(DirFileSystem):
    """A local folder by another name, as a bucket is: `bucket://photos/x`."""

    protocol = "bucket"
    root = None
    cachable = False

    def __init__(self, **options):
        super().__init__(path=str(Bucket.root), fs=LocalFileSystem(auto_mkdir=True))

    @classmethod
    def _strip_protocol(cls, path):
        return str(path).removeprefix("bucket://").strip("/")

    def unstrip_protocol(self, path):
        return f"bucket://{self._strip_protocol(path)}"


@pytest.fixture(params=["memory", "bucket"])
def base(request, tmp_path, monkeypatch):
    """The address of a folder of another file system."""
    if request.param == "memory":
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]
        return "memory://photos"
    monkeypatch.setattr(Bucket, "root", tmp_path / "bucket")
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    return "bucket://photos"


def files_of(address):
    fs, path = fsspec.core.url_to_fs(address)
    fs.invalidate_cache()
    return sorted(fs.find(path)) if fs.exists(path) else []


def rows(numbers):
    ids = [hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]
    return pd.DataFrame({"photo_id": ids, "path": ids, "group": ids, "split": "train"})


def photos(*numbers):
    return PhotoStream(rows(numbers), lambda row: row["photo_id"].encode(), 1)


def figures(*names):
    from matplotlib.figure import Figure

    return {name: Figure(figsize=(1, 1)) for name in names}


def ledger(*names):
    return pd.DataFrame(
        {
            "photo_id": list(names),
            "split": "train",
            "given_split": "train",
            "division": "x",
            "ingestion": "1",
        }
    ).astype("str")


KINDS = {
    "taxonomy": (
        lambda: TaxonomyDataset,
        "t.json",
        [TAXONOMY, Taxonomy(heads=[*TAXONOMY.heads])],
        lambda x: x,
    ),
    "checkpoint": (
        lambda: CheckpointDataset,
        "c.safetensors",
        [Checkpoint(state={"w": np.full(3, n, np.float32)}, card=card_of(n)) for n in (1, 2)],
        lambda x: (x.card, x.state["w"].tolist()),
    ),
    "files": (
        lambda: ModelFilesDataset,
        "files",
        [{"float": ModelFile(b"one", "tflite")}, {"float": ModelFile(b"two", "onnx")}],
        lambda x: x,
    ),
    "figures": (
        lambda: FiguresDataset,
        "figures",
        [figures("a", "b"), figures("c")],
        lambda x: sorted(getattr(i, "stem", i) for i in x),
    ),
    "table": (
        lambda: TableDataset,
        "t.parquet",
        [rows([1, 2]), rows([3])],
        lambda x: x["photo_id"].tolist(),
    ),
    "photo set": (
        lambda: PhotoSetDataset,
        "set",
        [photos(*range(300)), photos(*range(200))],
        lambda x: x.rows["photo_id"].tolist() if isinstance(x, PhotoStream) else ids(x),
    ),
}


def ids(loaded):
    return loaded.labels()["photo_id"].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_and_replaced(kind, base):
    dataset_type, name, values, seen = KINDS[kind]
    dataset = dataset_type()(filepath=f"{base}/deep/{name}")
    assert not dataset.exists()
    for value in values:
        dataset.save(value)
        assert dataset.exists()
        assert seen(dataset.load()) == seen(value)
    assert [f for f in files_of(base) if ".part" in f] == []


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_kept_beside_each_other(kind, base):
    dataset_type, name, values, seen = KINDS[kind]

    def dataset(load=None, save=None):
        return dataset_type()(filepath=f"{base}/{name}", version=Version(load, save))

    for version, value in zip(("2026-01-01", "2026-01-02"), values, strict=True):
        dataset(save=version).save(value)
    assert seen(dataset().load()) == seen(values[1])
    assert seen(dataset("2026-01-01").load()) == seen(values[0])
    assert dataset().list_versions(full_path=False) == ["2026-01-02", "2026-01-01"]
    assert not dataset("2026-01-03").exists()
    assert dataset().preview() if hasattr(dataset(), "preview") else kind in ("checkpoint", "files")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "table"])
def test_an_upload_that_breaks_off_leaves_no_version(kind, base, monkeypatch):
    dataset_type, name, values, seen = KINDS[kind]
    dataset_type()(filepath=f"{base}/{name}", version=Version(None, "1")).save(values[0])
    second = dataset_type()(filepath=f"{base}/{name}", version=Version(None, "2"))
    fs = type(second.remote.fs)
    real = fs.put_file

    def broken(self, local, target, **options):
        real(self, local, target, **options)
        raise OSError("the line is down")

    with monkeypatch.context() as patch:
        patch.setattr(fs, "put_file", broken)
        with pytest.raises(DatasetError, match="the line is down"):
            second.save(values[1])
    newest = dataset_type()(filepath=f"{base}/{name}", version=Version(None, None))
    assert newest.list_versions(full_path=False) == ["1"]
    assert seen(newest.load()) == seen(values[0])
    assert [f for f in files_of(base) if f.endswith(".part")] == []


@pytest.mark.parametrize("kind", ["files", "photo set"])
def test_an_upload_that_was_killed_is_no_version(kind, base, monkeypatch):
    """Nothing cleans up after it: what says that all is there is missing."""
    dataset_type, name, values, seen = KINDS[kind]
    for version, value in zip(("1", "2"), values, strict=True):
        dataset_type()(filepath=f"{base}/{name}", version=Version(None, version)).save(value)
    newest = dataset_type()(filepath=f"{base}/{name}", version=Version(None, None))
    assert newest.list_versions(full_path=False) == ["2", "1"]
    (newest.remote / "2" / name / newest.MARKER).remove()
    assert newest.list_versions(full_path=False) == ["1"]
    assert seen(newest.load()) == seen(values[0])
    again = dataset_type()(filepath=f"{base}/{name}", version=Version(None, "2"))
    again.save(values[1])
    assert seen(again.load()) == seen(values[1])


def test_a_typed_report(base):
    options = {"model": "cannabis_ml.datasets.lineage.RunVersions"}
    dataset = TypedJSONDataset(filepath=f"{base}/report.json", **options)
    report = RunVersions(version="1", read={"a": "0"}, written=[])
    dataset.save(report)
    assert dataset.load() == report


def test_the_ledger_is_empty_until_it_is_written(base):
    dataset = SplitLedgerDataset(filepath=f"{base}/ledger.parquet")
    pd.testing.assert_frame_equal(dataset.load(), empty_ledger())
    for names in (["a"], ["a", "b"]):
        dataset.save(ledger(*names))
        pd.testing.assert_frame_equal(dataset.load(), ledger(*names))


def test_runs_are_listed(base):
    dataset = LineageDataset(filepath=f"{base}/lineage")
    assert dataset.load() == {}
    for version, read in (("1", {}), ("2", {}), ("1", {"a": "0"})):
        dataset.save(RunVersions(version=version, read=read, written=[]))
    assert {name: run.read for name, run in dataset.load().items()} == {"1": {"a": "0"}, "2": {}}


def test_photos_travel_once(base, tmp_path, monkeypatch):
    sent, brought = [], []

    def counted(kind, real):
        def transfer(self, source, target, **options):
            (sent if kind == "put" else brought).append(source)
            return real(self, source, target, **options)

        return transfer

    def dataset(cache, load=None, save=None):
        return PhotoSetDataset(
            filepath=f"{base}/set", cache=str(tmp_path / cache), version=Version(load, save)
        )

    def shards(paths):
        return sum(str(path).endswith(".arrow") for path in paths)

    fs = type(dataset("x").remote.fs)
    monkeypatch.setattr(fs, "put_file", counted("put", fs.put_file))
    monkeypatch.setattr(fs, "get_file", counted("get", fs.get_file))
    dataset("here", save="1").save(photos(*range(1000)))
    first = shards(sent)
    assert first > 5
    dataset("here", save="2").save(photos(*range(1010)))
    assert shards(sent) - first in (1, 2)
    assert shards(brought) == 0
    assert len(dataset("there", load="1").load()) == 1000
    assert shards(brought) == first
    assert len(dataset("there", load="2").load()) == 1010
    assert shards(brought) - first in (1, 2)
    before = len(brought)
    assert len(dataset("there", load="2").load()) == 1010
    assert len(brought) == before


def test_copies_that_are_elsewhere_are_not_made_again(base, tmp_path):
    from datasets import Features, Image, Value

    features = Features({"photo_id": Value("string"), "image": Image()})
    made = []

    def stream(count):
        def copies(n):
            def make(wanted):
                made.append(n)
                return [f"{n} {k}".encode() for k in wanted]

            return Copies({"photo_id": str(n)}, [hashlib.sha256(b"%d" % n).hexdigest()], make)

        return CopyStream(features, map(copies, range(count)), count, 1)

    for machine, count in (("one", 20), ("other", 22)):
        made.clear()
        dataset = AugmentedPhotosDataset(
            filepath=f"{base}/copies", cache=str(tmp_path / machine), version=Version(None, machine)
        )
        dataset.save(stream(count))
    assert made == [20, 21]
    assert len(dataset.load()) == 22


def test_a_workspace_goes_on_from_what_another_machine_left(base, tmp_path):
    def workspace(machine):
        return WorkspaceDataset(filepath=f"{base}/work", cache=str(tmp_path / machine), seconds=1e6)

    first = workspace("one")
    folder = first.load()
    for name in ("runs/a/best-1.pt", "runs/a/state.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert first.load() == folder
    first.release()
    second = workspace("other")
    folder = second.load()
    for name in ("runs/a/best-1.pt", "runs/a/state.pt"):
        assert (folder / name).read_text() == name
    second.release()


def test_figures_whose_upload_was_killed_are_no_version(base):
    def dataset(version=None):
        return FiguresDataset(filepath=f"{base}/killed", version=Version(None, version))

    for version, names in (("1", "a"), ("2", "bc")):
        dataset(version).save(figures(*names))
    (dataset().remote / "2/killed/.complete").remove()
    assert [path.stem for path in dataset().load()] == ["a"]


def test_a_bundle_comes_with_its_zip(base, onnx_contents):
    for version in (None, Version(None, "1")):
        dataset = BundleDataset(filepath=f"{base}/bundle-{version is None}", version=version)
        dataset.save(onnx_contents())
        loaded = dataset.load()
        packed = Bundle.open(loaded.path.with_name(f"{loaded.path.name}.zip"))
        assert packed.manifest == loaded.manifest


def test_photos_of_a_folder_are_brought_as_they_change(base, tmp_path, write_photo):
    entry = PhotoFolderDataset(filepath=f"{base}/unlabelled", cache=str(tmp_path / "cache"))
    assert entry.load() == []
    there = RemotePath.at(f"{base}/unlabelled")
    there.upload(write_photo(tmp_path / "photos/a/1.jpg").parents[1])
    (first,) = entry.load()
    assert first.read_bytes() == (tmp_path / "photos/a/1.jpg").read_bytes()
    there.upload(write_photo(tmp_path / "others/2.jpg", 1).parent)
    (second,) = entry.load()
    assert second.name == "2.jpg"


def test_sources_are_read_by_copies(base, tmp_path, write_photo, object_storage):
    photos = write_photo(tmp_path / "photos/hemp/1.jpg").parents[1]
    write_photo(photos / "weed/2.jpg", 1)
    RemotePath.at(f"{base}/raw").upload(photos)

    def table(**source):
        dataset = SourcePhotosDataset(source=source, cache=str(tmp_path / "cache"))
        return dataset.load()

    by_folder = table(kind="folder", path=f"{base}/raw", head="kind")
    assert by_folder["kind"].tolist() == ["hemp", "weed"]
    assert [Path(p).read_bytes() for p in by_folder["path"]] == [
        (photos / name).read_bytes() for name in ("hemp/1.jpg", "weed/2.jpg")
    ]
    (photos / "labels.csv").write_text("path,kind\nhemp/1.jpg,x\nweed/2.jpg,y\n")
    RemotePath.at(f"{base}/raw").upload(photos)
    by_table = table(kind="table", path=f"{base}/raw/labels.csv")
    assert by_table["kind"].tolist() == ["x", "y"]
    with pytest.raises(DatasetError, match="does not exist"):
        table(kind="folder", path=f"{base}/rwa", head="kind")
    drawn = table(kind="sample", path=f"{base}/sample", count=4, size=32, workers=1)
    assert all(Path(path).is_relative_to(tmp_path / "cache") for path in drawn["path"])
    assert files_of(f"{base}/sample") == []


SECRET = {"key": "k", "secret": "hush-hush", "endpoint_url": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "dataset",
    [
        lambda at: JSONDataset(filepath=at, credentials=SECRET, version=Version(None, None)),
        lambda at: TableDataset(filepath=at, credentials=SECRET),
        lambda at: PhotoSetDataset(filepath=at, credentials=SECRET),
        lambda at: ChampionDataset(filepath=at, credentials=SECRET),
        lambda at: WorkspaceDataset(filepath=at, credentials=SECRET),
        lambda at: SourcePhotosDataset({"kind": "folder", "path": at}, credentials=SECRET),
    ],
)
def test_a_secret_is_not_shown(dataset, object_storage):
    shown = dataset("s3://bucket/x")
    with pytest.raises(DatasetError) as caught:
        shown.load()
    text = "".join(traceback.format_exception(caught.value))
    assert "cannot be reached" in text
    assert "hush-hush" not in text + repr(shown) + str(shown._describe())


@pytest.mark.parametrize(
    "dataset",
    [
        lambda **o: SplitLedgerDataset(filepath="s3://hemp/gone/ledger.parquet", credentials=o),
        lambda **o: FeedbackPhotosDataset(filepath="s3://hemp/gone/photos", credentials=o),
        lambda **o: EarlierTableDataset(
            filepath="s3://hemp/gone/t", credentials=o, version=Version(None, None)
        ),
        lambda **o: TrainingRecordDataset(
            filepath="s3://hemp/gone/r.json", credentials=o, version=Version(None, None)
        ),
        lambda **o: PhotoFolderDataset(filepath="s3://hemp/gone/photos", credentials=o),
        lambda **o: ChampionDataset(filepath="s3://hemp/gone/champion", credentials=o),
        lambda **o: LineageDataset(filepath="s3://hemp/gone/lineage", credentials=o),
    ],
)
def test_what_is_empty_at_first_is_not_empty_when_a_service_fails(dataset, s3, object_storage):
    dataset(**s3.options).load()
    refused = s3.failing(lambda request: (403, "AccessDenied"))
    with refused, pytest.raises(DatasetError, match="does not allow this account"):
        dataset(**s3.options).load()


def test_a_database_cannot_lie_in_a_bucket():
    store = FeedbackStoreDataset(url="sqlite:///s3://bucket/feedback.db")
    for ask in (store.load, store.open):
        with pytest.raises(DatasetError, match=r"feedback_store\.url in globals\.yml"):
            ask()


def test_hooks_find_what_was_saved(base):
    """Ours and Kedro's: MLflow gets a copy, a person the address."""
    ours = TaxonomyDataset(filepath=f"{base}/t.json", version=Version(None, "1"))
    kedros = JSONDataset(filepath=f"{base}/k.json", version=Version(None, "1"))
    ours.save(TAXONOMY)
    kedros.save({"a": 1})
    for dataset, name in ((ours, "t.json"), (kedros, "k.json")):
        assert saved_path(dataset).name == name
        assert saved_path(dataset).is_file()
        assert str(place_of(dataset)).startswith(f"{base[:6]}://")
        assert str(place_of(dataset)).endswith(f"/{name}/1/{name}")


def test_what_an_error_left_of_a_version_is_removed(base):
    catalog = DataCatalog(
        {"report": JSONDataset(filepath=f"{base}/k.json", version=Version(None, "1"))}
    )
    hook = UnfinishedHook()
    hook.before_dataset_saved("report")
    catalog["report"]._fs.makedirs(str(catalog["report"]._filepath / "1"), exist_ok=True)
    catalog["report"]._fs.pipe_file(str(catalog["report"]._get_versioned_path("1")), b"{")
    hook.on_pipeline_error(catalog)
    assert files_of(base) == []
