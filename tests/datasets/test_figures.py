import base64
import io

import pytest
from kedro.io import Version
from matplotlib.figure import Figure
from PIL import Image

from cannabis_ml.datasets.figures import PREVIEW_WIDTH, FiguresDataset


def figure(width, height):
    made = Figure(figsize=(width, height))
    made.subplots().plot([0, 1])
    return made


def test_every_figure_becomes_a_file_of_its_name(tmp_path):
    dataset = FiguresDataset(filepath=str(tmp_path / "figures"))
    dataset.save({"type": figure(2, 1), "a/b: c": figure(1, 1)})
    assert [path.name for path in dataset.load()] == ["a_b_ c.png", "type.png"]


def test_preview_shows_all_figures(tmp_path):
    dataset = FiguresDataset(filepath=str(tmp_path / "figures"))
    dataset.save({"wide": figure(4, 2), "square": figure(3, 3)})
    picture = Image.open(io.BytesIO(base64.b64decode(dataset.preview())))
    assert picture.size == (PREVIEW_WIDTH, PREVIEW_WIDTH // 2 + PREVIEW_WIDTH)


def test_failed_save_leaves_the_older_figures(tmp_path):
    dataset = FiguresDataset(filepath=str(tmp_path / "figures"))
    dataset.save({"old": figure(1, 1)})
    with pytest.raises(Exception, match="has no attribute 'savefig'"):
        dataset.save({"new": figure(1, 1), "broken": None})
    assert [path.name for path in tmp_path.rglob("*.png")] == ["old.png"]
    assert len(list(tmp_path.iterdir())) == 1


def test_versions_are_kept_beside_each_other(tmp_path):
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        dataset = FiguresDataset(filepath=str(tmp_path / "figures"), version=Version(None, version))
        dataset.save({"one": figure(1, 1)})
    assert len(list(tmp_path.rglob("one.png"))) == 2
