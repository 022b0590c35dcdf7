"""Names on the terminal, as they are."""

import io
import logging
import os
import subprocess
import sys

import pytest
from rich.console import Console

from cannabis_ml.hooks import metrics_table
from cannabis_ml.terminal import show_messages_literally

ODD = ["[old]", "[/red]", "[bold]x", "a [link=x]b", "[", "[]", "\\[x]"]

LOG = """
import logging, logging.config, sys
from pathlib import Path
import yaml
import cannabis_ml.settings
logging.config.dictConfig(yaml.safe_load(Path("conf/logging.yml").read_text()))
cannabis_ml.settings.show_messages_literally()
logging.getLogger("cannabis_ml").info("Class %s of %s", sys.argv[1], "/data/[/red]")
logging.getLogger("cannabis_ml").info("Loading %s", sys.argv[1], extra={"rich_format": ["red"]})
logging.getLogger("cannabis_ml").info("Marked %s", sys.argv[1], extra={"markup": True})
"""


@pytest.mark.parametrize("name", ODD)
def test_log_lines_hold_names_as_they_are(name):
    done = subprocess.run(
        [sys.executable, "-c", LOG, name],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert f"Class {' '.join(name.split())} of /data/[/red]" in said
    assert f"Loading {' '.join(name.split())}" in said
    assert f"Marked {' '.join(name.split())}" in said


@pytest.mark.parametrize("name", ODD)
def test_tables_hold_names_as_they_are(name):
    scores = {"kind": "multiclass", "n": 10, "groups": 7, "accuracy": 0.5, "macro_f1": 0.25}
    console = Console(width=120, file=io.StringIO())
    console.print("\n", metrics_table("tier3", {"heads": {name: scores}}), markup=False)
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
