"""What conf/ says of sources, put together as a run does."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader

from cannabis_ml.datasets.source_photos import SourcePhotosDataset
from cannabis_ml.errors import TaxonomyError
from cannabis_ml.photo_sets.labels import unify_labels
from cannabis_ml.taxonomy_spec import TaxonomySpec

CONF = Path(__file__).parents[2] / "conf"


def source_and_taxonomy(env, **params):
    loader = OmegaConfigLoader(
        conf_source=str(CONF), base_env="base", default_run_env=env, runtime_params=params
    )
    entry = {k: v for k, v in loader["catalog"]["source_photos"].items() if k != "type"}
    return SourcePhotosDataset(**entry), TaxonomySpec(**loader["parameters"]["taxonomy"])


@pytest.fixture
def crops(tree):
    root = tree(
        "pv/Tomato___Septoria_leaf_spot/1.jpg",
        "pv/Pepper,_bell___healthy/2.jpg",
        "pv/Background_without_leaves/3.jpg",
        "pd/train/Tomato Septoria leaf spot/4.jpg",
        "pd/test/Bell_pepper leaf/5.jpg",
    )
    return {"plantvillage": str(root / "pv"), "plantdoc": str(root / "pd")}


def test_crops_joins_plantvillage_and_plantdoc(crops):
    source, spec = source_and_taxonomy("crops", **crops)
    photos = source.load()
    taxonomy = spec.resolve(photos)
    labels = unify_labels(photos, taxonomy)
    told = pd.concat([photos["source"], labels], axis=1).fillna("?").value_counts().to_dict()
    assert told == {
        ("plantvillage", "Tomato", "Septoria_leaf_spot"): 1,
        ("plantdoc", "Tomato", "Septoria_leaf_spot"): 1,
        ("plantvillage", "Bell_pepper", "healthy"): 1,
        ("plantdoc", "Bell_pepper", "healthy"): 1,
        ("plantvillage", "background", "?"): 1,
    }
    assert taxonomy["condition"].parent == "species"


def test_crops_refuses_what_its_taxonomy_does_not_have(crops, tree):
    tree("pv/Hop___Downy_mildew/1.jpg", "pv/Tomatoe___Late_blight/2.jpg")
    source, spec = source_and_taxonomy("crops", **crops)
    photos = source.load()
    with pytest.raises(TaxonomyError) as told:
        unify_labels(photos, spec.resolve(photos))
    message = str(told.value)
    assert "3 labels in the sources plantdoc, plantvillage" in message
    assert "'Tomatoe' (1 photo of plantvillage; did you mean 'Tomato'?)" in message
    assert "condition: 'Downy_mildew' (1 photo of plantvillage; did you mean 'Powdery" in message


def test_plantvillage_derives_its_taxonomy(crops):
    source, spec = source_and_taxonomy("plantvillage", photos=crops["plantvillage"])
    taxonomy = spec.resolve(source.load())
    assert taxonomy["species"].class_names == ["Bell_pepper", "Tomato", "background"]
    assert taxonomy["condition"].allowed["Tomato"] == ["Septoria_leaf_spot"]


@pytest.mark.parametrize("env", ["folder", "quick", "best"])
def test_folder_takes_any_class_folders(crops, env):
    source, spec = source_and_taxonomy(env, photos=crops["plantdoc"])
    assert len(spec.resolve(source.load())["label"].class_names) == 2
