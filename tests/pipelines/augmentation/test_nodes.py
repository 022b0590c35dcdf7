import hashlib
import io
import os

import numpy as np
import pytest
import yaml
from datasets import Dataset, Features, Image, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from PIL import Image as Pillow

from cannabis_ml._io import processes
from cannabis_ml._io.engine import Engine
from cannabis_ml.datasets.augmented import AugmentedPhotosDataset
from cannabis_ml.datasets.photo_set import PhotoSetDataset
from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.photo_set import PhotoSet
from cannabis_ml.photos.augmentation_params import AugmentationParams
from cannabis_ml.photos.augmentation_policy import Bounds, Policy
from cannabis_ml.pipelines.augmentation import create_pipeline, nodes
from cannabis_ml.pipelines.augmentation.nodes import augment_photos, draw_augmentation_preview
from cannabis_ml.taxonomy import Taxonomy
from cannabis_ml.training.recipe_choice import AS_CONFIGURED, ChosenRecipe

TAXONOMY = Taxonomy(
    heads=[
        {"name": "kind", "classes": ["leaf", "root"]},
        {"name": "look", "kind": "multilabel", "classes": ["red", "shiny"]},
    ]
)
SMALL = {"policy": {"size": 32}, "copies": 2, "workers": 1}


def photo_id(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.fixture
def photo_set(tmp_path, draw, encode):
    """`photo_set(rows)` stores photos; a row is (number, split, kind, red, shiny)."""

    def photo_set(rows, name="photo_set"):
        columns = {
            "photo_id": [photo_id(row[0]) for row in rows],
            "image": [{"bytes": encode(draw(row[0], 40, 36)), "path": None} for row in rows],
            "split": [row[1] for row in rows],
            "kind": [row[2] for row in rows],
            "look.red": [row[3] for row in rows],
            "look.shiny": [row[4] for row in rows],
        }
        features = Features(
            {name: Value("string") for name in ("photo_id", "split", "kind")}
            | {"image": Image(), "look.red": Value("int8"), "look.shiny": Value("int8")}
        )
        store = PhotoSetDataset(filepath=str(tmp_path / name))
        store.save(PhotoSet(Dataset.from_dict(columns, features=features)))
        return store.load()

    return photo_set


@pytest.fixture
def saved(tmp_path):
    """`saved(photo_set, params)` makes the copies and loads them, as Hugging Face gives them."""

    def saved(photos, name="copies", **params):
        store = AugmentedPhotosDataset(filepath=str(tmp_path / name))
        store.save(augment_photos(photos, TAXONOMY, AugmentationParams(**SMALL | params)))
        return store.load().arrow

    return saved


@pytest.fixture
def made(monkeypatch):
    """Counts the transform calls."""
    counted = []
    original = nodes.make_copies

    def make_copies(data, draws, policy):
        counted.extend(draws)
        return original(data, draws, policy)

    monkeypatch.setattr(nodes, "make_copies", make_copies)
    return counted


def rows_of(count, split="train"):
    return [(n, split, "leaf", 0, 0) for n in range(count)]


def images(copies):
    undecoded = copies.cast_column("image", Image(decode=False))
    keys = zip(copies["photo_id"], copies["copy"], strict=True)
    return {key: row["bytes"] for key, row in zip(keys, undecoded["image"], strict=True)}


def policies(photos, **params):
    stream = augment_photos(photos, TAXONOMY, AugmentationParams(**SMALL | params))
    return [copies.make.args[2] for copies in stream.photos]


def test_only_training_photos_are_copied(photo_set, saved):
    splits = ["test", "train", "validation", "calibration", "train"]
    copies = saved(photo_set([(n, split, "leaf", 0, 0) for n, split in enumerate(splits)]))
    assert set(copies["split"]) == {"train"}
    assert copies["photo_id"] == [photo_id(1)] * 2 + [photo_id(4)] * 2


def test_copies_keep_labels_and_differ_from_each_other(photo_set, saved):
    copies = saved(photo_set([(1, "train", "root", 1, None)]))
    assert copies["kind"] == ["root", "root"]
    assert copies["look.red"] == [1, 1]
    assert copies["look.shiny"] == [None, None]
    assert len(set(images(copies).values())) == 2
    assert copies[0]["image"].size == (32, 32)


def test_workers_and_order_of_photos_change_nothing(photo_set, saved):
    rows = rows_of(12)
    one = images(saved(photo_set(rows, "a"), "one", workers=1))
    two = images(saved(photo_set(rows[::-1], "b"), "two", workers=2))
    assert one == two


@pytest.mark.slow
def test_processes_change_nothing(photo_set, saved, monkeypatch):
    photos = photo_set(rows_of(40))
    here = images(saved(photos, "here", workers=1))
    start = processes.Helpers._start

    def start_at_once(helpers):
        start(helpers)
        assert os.getpid() not in [started.result() for started in helpers._starting]

    monkeypatch.setattr(processes, "START_AFTER", 0)
    monkeypatch.setattr(processes.Helpers, "_start", start_at_once)
    assert images(saved(photos, "elsewhere", workers=2)) == here


def test_a_photo_more_costs_its_own_copies_only(photo_set, saved, made):
    saved(photo_set(rows_of(100), "before"))
    assert len(made) == 200
    made.clear()
    saved(photo_set(rows_of(101), "after"))
    assert len(made) == 2
    made.clear()
    saved(photo_set(rows_of(101), "again"))
    assert not made


@pytest.mark.parametrize("change", [{"seed": 1}, {"policy": {"size": 32, "quality": 90}}])
def test_another_seed_or_policy_makes_all_anew(photo_set, saved, made, change):
    photos = photo_set(rows_of(3))
    before = images(saved(photos))
    made.clear()
    after = images(saved(photos, **change))
    assert len(made) == 6
    assert all(before[key] != after[key] for key in before)


def test_a_photo_stored_anew_is_copied_anew(photo_set, saved, made, encode, draw):
    photos = photo_set(rows_of(2))
    saved(photos)
    made.clear()
    other = {"bytes": encode(draw(99, 40, 36)), "path": None}
    changed = Dataset.from_list(
        [{**row, "image": other} for row in photos.arrow.cast_column("image", Image(decode=False))],
        features=photos.arrow.features,
    )
    saved(PhotoSet(changed))
    assert len(made) == 4


def test_multipliers_change_how_many_copies(photo_set, saved):
    rows = [(0, "train", "leaf", 0, 0), (1, "train", "root", 0, 0)]
    rows += [(2, "train", "root", 1, 0), (3, "train", None, None, None)]
    factors = {"kind": {"root": 1.5, "leaf": 0}, "look": {"red": 3}}
    copies = saved(photo_set(rows), multipliers=factors)
    counts = [list(copies["photo_id"]).count(photo_id(n)) for n in range(4)]
    # 2 copies x 0; x 1.5; x 3, the larger of 1.5 and 3; x 1 where nothing is known.
    assert counts == [0, 3, 6, 2]
    assert copies["copy"] == [1, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2]


def test_the_stream_knows_its_length(photo_set):
    rows = [*rows_of(5), (9, "test", "leaf", 0, 0), (10, "train", "root", 0, 0)]
    params = AugmentationParams(**SMALL, multipliers={"kind": {"root": 2}})
    stream = augment_photos(photo_set(rows), TAXONOMY, params)
    assert stream.total == sum(len(copies.keys) for copies in stream.photos) == 14


def test_a_guard_holds_for_photos_that_have_or_may_have_the_label(photo_set):
    rows = [(n, "train", "leaf", red, 0) for n, red in enumerate([1, None, 0])]
    found = policies(photo_set(rows), guards={"look.red": {"hue": 0.02}})
    assert [policy.color.hue for policy in found] == [0.02, 0.02, 0.1]


def test_a_guard_may_hold_for_photos_without_the_label_too(photo_set):
    guards = {"look.red": {"hue": 0.02, "when": "always"}}
    assert policies(photo_set(rows_of(1)), guards=guards)[0].color.hue == 0.02


def test_a_guard_of_a_class_and_of_a_head(photo_set):
    rows = [(n, "train", kind, 0, 0) for n, kind in enumerate(["leaf", "root", None])]
    guards = {"kind.root": {"blur": 0}, "kind": {"rotation": 10}}
    found = policies(photo_set(rows), guards=guards)
    assert [policy.blur.kernel for policy in found] == [3, 0, 0]
    assert [policy.rotation.degrees for policy in found] == [10, 10, 10]


def test_the_tightest_of_several_guards_counts(photo_set):
    guards = {"look.red": {"hue": 0.05}, "look.shiny": {"hue": 0.02, "shadow": 0}}
    (policy,) = policies(photo_set([(0, "train", "leaf", 1, 1)]), guards=guards)
    assert policy.color.hue == 0.02
    assert policy.shadow.darkness == (0, 0)


def test_a_guard_is_looser_than_nothing_never(photo_set):
    (policy,) = policies(photo_set([(0, "train", "leaf", 1, 1)]), guards={"look.red": {"hue": 0.4}})
    assert policy == Policy(size=32)


def test_a_label_learnt_later_loosens_its_guard_for_that_photo_only(photo_set, saved, made):
    guards = {"look.red": {"hue": 0.02}}
    rows = [(n, "train", "leaf", None, 0) for n in range(4)]
    saved(photo_set(rows, "before"), guards=guards)
    made.clear()
    saved(photo_set([*rows[:3], (3, "train", "leaf", 0, 0)], "after"), guards=guards)
    assert len(made) == 2


def test_unknown_classes_are_listed_and_other_heads_passed_over(photo_set):
    params = AugmentationParams(
        **SMALL,
        multipliers={"kind": {"leav": 2}},
        guards={"look.redd": {"hue": 0}, "grade.A": {"hue": 0}},
    )
    with pytest.raises(TaxonomyError) as error:
        augment_photos(photo_set(rows_of(1)), TAXONOMY, params)
    assert "'kind.leav'; did you mean 'leaf'?" in str(error.value)
    assert "'look.redd'; did you mean 'red'?" in str(error.value)
    assert "grade" not in str(error.value)


def test_copies_can_follow_the_photos_in_one_set(photo_set, saved):
    from datasets import concatenate_datasets

    photos = photo_set(rows_of(2))
    both = concatenate_datasets([photos.arrow, saved(photos).remove_columns("copy")])
    assert len(both) == 6
    assert np.asarray(both[5]["image"]).shape == (32, 32, 3)


@given(st.permutations(range(6)), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_copy_k_depends_on_its_photo_and_k_alone(tmp_path_factory, order, copies):
    buffer = io.BytesIO()
    Pillow.new("RGB", (40, 40), (90, 140, 60)).save(buffer, "JPEG")
    photos = Dataset.from_dict(
        {
            "photo_id": [photo_id(n) for n in order],
            "image": [{"bytes": buffer.getvalue(), "path": None}] * 6,
            "split": ["train"] * 6,
            "kind": ["leaf"] * 6,
            "look.red": [0] * 6,
            "look.shiny": [0] * 6,
        }
    ).cast_column("image", Image())
    params = AugmentationParams(**SMALL | {"copies": copies})
    keys = {
        (found.row["photo_id"], k): (key, found.make.args[1][k])
        for found in augment_photos(PhotoSet(photos), TAXONOMY, params).photos
        for k, key in enumerate(found.keys)
    }
    for n in range(6):
        alone = photos.filter(lambda row, n=n: row["photo_id"] == photo_id(n))
        three = params.model_copy(update={"copies": 3})
        (found,) = augment_photos(PhotoSet(alone), TAXONOMY, three).photos
        for k in range(copies):
            assert keys[photo_id(n), k] == (found.keys[k], found.make.args[1][k])


def test_a_run_with_a_limit_of_minutes_makes_the_copies_of_its_recipe(photo_set):
    photos = photo_set(rows_of(6))
    params = AugmentationParams(**SMALL)
    recipe = ChosenRecipe(minutes=9, copies=1, copies_side=params.policy.size + 16)
    stream = augment_photos(photos, TAXONOMY, params, chosen_recipe=recipe)
    assert stream.total == len(photos.rows_of("train"))
    assert {copies.make.args[2].size for copies in stream.photos} == {params.policy.size + 16}


def test_the_pipeline_runs_in_memory_and_draws_a_preview(photo_set, tmp_path):
    store = AugmentedPhotosDataset(filepath=str(tmp_path / "copies"))
    catalog = DataCatalog(
        {
            "photo_set": MemoryDataset(photo_set(rows_of(8)), copy_mode="assign"),
            "taxonomy": MemoryDataset(TAXONOMY),
            "params:augmentation": MemoryDataset(AugmentationParams(**SMALL)),
            "params:engine": MemoryDataset(Engine()),
            "chosen_recipe": MemoryDataset(AS_CONFIGURED),
            "augmented_photos": store,
            "augmentation_preview": MemoryDataset(copy_mode="assign"),
        }
    )
    SequentialRunner().run(create_pipeline(), catalog)
    figure = catalog.load("augmentation_preview")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["leaf", "copy 1", "copy 2"]
    assert len(titles) == 6 * 3


def test_preview_without_copies_reports_it(photo_set, saved):
    photos = photo_set(rows_of(2))
    figure = draw_augmentation_preview(photos, PhotoSet(saved(photos, copies=0)), TAXONOMY)
    assert "No copies" in figure.texts[0].get_text()


def test_the_configured_parameters_are_sound():
    from pathlib import Path

    path = Path(__file__).parents[3] / "conf" / "base" / "parameters_augmentation.yml"
    params = AugmentationParams(**yaml.safe_load(path.read_text())["augmentation"])
    assert AugmentationParams().copies == 5
    assert params.policy.color.hue == Policy().color.hue == 0.1
    assert all(guard != Bounds() for guard in params.guards.values())
