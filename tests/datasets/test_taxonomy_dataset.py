"""A taxonomy survives the disk."""

import pytest
from kedro.io import DatasetError

from cannabis_ml.datasets.taxonomy import TaxonomyDataset
from cannabis_ml.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    heads=[
        {"name": "kind", "classes": [{"name": "a", "about": "grün"}, {"name": "b"}]},
        {"name": "state", "classes": ["x", "y"], "parent": "kind", "allowed": {"a": ["x"]}},
    ]
)


def test_taxonomy_comes_back_as_it_was(tmp_path):
    dataset = TaxonomyDataset(filepath=str(tmp_path / "new" / "taxonomy.json"))
    assert not dataset.exists()
    dataset.save(TAXONOMY)
    assert dataset.exists()
    assert dataset.load() == TAXONOMY
    assert "grün" in dataset.preview()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["taxonomy.json"]


def test_damaged_file_is_named(tmp_path):
    (tmp_path / "t.json").write_text('{"heads": 3}')
    with pytest.raises(DatasetError, match=r"t\.json does not hold a taxonomy"):
        TaxonomyDataset(filepath=str(tmp_path / "t.json")).load()
