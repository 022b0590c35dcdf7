"""Names on the terminal, as they are."""

import io
import logging
import os
import subprocess
import sys

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro_datasets.text import TextDataset
from rich.console import Console

from cannabis_ml._io.terminal import show_messages_literally
from cannabis_ml.evaluation.scores import Evaluation, MulticlassScores
from cannabis_ml.hooks import ResultHook, metrics_table

ODD = ["[old]", "[/red]", "[bold]x", "a [link=x]b", "[", "[]", "\\[x]"]

LOG = """
import logging, logging.config, sys
from pathlib import Path
import yaml
from cannabis_ml.evaluation.scores import Evaluation, MulticlassScores
from cannabis_ml.hooks import TerminalHook
logging.config.dictConfig(yaml.safe_load(Path("conf/logging.yml").read_text()))
TerminalHook().after_context_created()
logging.getLogger("cannabis_ml").info("Class %s of %s", sys.argv[1], "/data/[/red]")
logging.getLogger("cannabis_ml").info("Loading %s", sys.argv[1], extra={"rich_format": ["red"]})
logging.getLogger("cannabis_ml").info("Marked %s", sys.argv[1], extra={"markup": True})
"""


@pytest.mark.parametrize("name", ODD)
def test_log_lines_hold_names_as_they_are(processes, name):
    done = processes.run(["-c", LOG, name], env={**os.environ, "COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert f"Class {' '.join(name.split())} of /data/[/red]" in said
    assert f"Loading {' '.join(name.split())}" in said
    assert f"Marked {' '.join(name.split())}" in said


@pytest.mark.parametrize("name", ODD)
def test_tables_hold_names_as_they_are(name):
    scores = MulticlassScores.model_construct(n=10, groups=7, accuracy=0.5, macro_f1=0.25)
    metrics = Evaluation.model_construct(heads={name: scores})
    console = Console(width=120, file=io.StringIO())
    console.print("\n", metrics_table("tier3", metrics), markup=False)
    assert f" {name} " in console.file.getvalue()


def test_a_second_call_changes_nothing():
    handler = logging.StreamHandler()
    handler.markup = True
    logging.getLogger().addHandler(handler)
    try:
        show_messages_literally()
        show_messages_literally()
        assert handler.markup is False
        assert len(handler.filters) == 1
    finally:
        logging.getLogger().removeHandler(handler)


SESSION = """
import logging, sys
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(sys.argv[1])
with KedroSession.create(project_path=sys.argv[1], env="test") as session:
    session.load_context()
    logging.getLogger("cannabis_ml").warning("Class [/red] of [old], \\u75c5")
"""


@pytest.mark.slow
def test_sessions_started_below_the_project_log_names_as_they_are(copy_project, tmp_path):
    """Kedro looks for conf/logging.yml where the command was typed, and there it has none."""
    project = copy_project(tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-c", SESSION, project],
        check=False,
        cwd=project / "notebooks",
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "DO_NOT_TRACK": "1", "PYTHONIOENCODING": "ascii"},
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert "Class [/red] of [old], \\u75c5" in said
    assert "Traceback" not in said
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["[/red]", "[old]", ":smile:", "\\[bold]"])
def test_results_are_listed_with_paths_as_they_are(name, tmp_path, capsys):
    path = tmp_path / name / "page.html"
    dataset = TextDataset(filepath=str(path), metadata={"look_here": "page"})
    dataset.save("")
    end = node(lambda: "", None, "page")
    ResultHook().after_pipeline_run(Pipeline([end]), DataCatalog({"page": dataset}))
    assert str(path) in capsys.readouterr().out
