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


@pytest.mark.parametrize(
    "names",
    [
        ["a/b", "a_b", "a:b"],
        ["Type", "type"],
        ["\u0915\u093e", "\u0915\u093f"],  # vowel signs are not letters
        ["\u75c5" * 120, "\u75c5" * 121],
        ["..", ".", "/"],
        ["$5", "[5", "*5"],
    ],
)
def test_no_figure_takes_the_file_of_another(names, tmp_path):
    dataset = FiguresDataset(filepath=str(tmp_path / "figures"), dpi=20)
    dataset.save({name: figure(1, 1) for name in names})
    files = [path.name for path in dataset.load()]
    assert len({name.casefold() for name in files}) == len(names)
    assert all(len(name.encode()) <= 255 for name in files)
    again = FiguresDataset(filepath=str(tmp_path / "again"), dpi=20)
    again.save({name: figure(1, 1) for name in reversed(names)})
    assert [path.name for path in again.load()] == files


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
