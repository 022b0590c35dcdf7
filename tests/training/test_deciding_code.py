"""Which code a half-trained network depends on."""

import ast
import importlib.util
from pathlib import Path

import pytest

from cannabis_ml.training import resume

WATCHES_OR_READS = {
    "callbacks",  # history, checkpoints, the end
    "checkpoint",
    "compat",
    "evaluation.params",  # contents of reports
    "gain",
    "intervals",
    "machines",  # which of several this is
    "metrics",  # scores a comparison
    "mistakes",
    "predict",
    "predictions",
    "quiet",
    "ready_lightning",  # imports a library
    "ready_timm",
    "resume",  # what is resumed, and where it is kept
    "scores",
    "spread",  # predictions by other machines
    "tables",
}
"""Modules that training imports and that change no weight."""


ROOMS = ("cannabis_ml.networks.", "cannabis_ml.training.", "cannabis_ml.evaluation.")


def imported_by(module):
    """Modules of the rooms of training that a module imports, and what those import."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        tree = ast.parse(Path(importlib.util.find_spec(name).origin).read_text())
        waiting += [
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ROOMS)
        ]
    return found


def test_all_that_training_is_made_of_decides_but_what_watches():
    used = imported_by("cannabis_ml.training.train")
    used |= imported_by("cannabis_ml.training.distillation")
    deciding = {
        name
        for name in used
        if not {name.rpartition(".")[2], name.removeprefix("cannabis_ml.")} & WATCHES_OR_READS
    }
    assert deciding == {name for name in resume.DECIDING if name.startswith(ROOMS)}


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "decides.py").write_text(text)
        importlib.invalidate_caches()
        return resume.code_of("decides")

    return write


def test_comments_docstrings_and_places_change_nothing(module):
    plain = module("RATE = 1\n\n\ndef step(x):\n    return x + RATE\n")
    told = module(
        '"""Steps."""\nRATE = 1\n"""Of learning."""\n\n'
        'def step(x):  # one\n    """Go."""\n    return x + RATE\n'
    )
    assert told == plain


def test_what_the_code_does_changes_everything(module):
    plain = module("def step(x):\n    return x + 1\n")
    assert module("def step(x):\n    return x + 2\n") != plain
    assert module("def step(x, y):\n    return x + 1\n") != plain
