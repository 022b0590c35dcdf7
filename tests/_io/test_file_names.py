import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cannabis_ml._io.file_names import on_disk, printable

LATIN = os.fsdecode(b"caf\xe9")
LONE = "\ud800"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_utf8_holds_stays_as_it_is(name):
    assert printable(name) == name


@given(st.binary())
def test_every_name_of_a_file_fits_into_tables(name):
    pa.array([printable(os.fsdecode(name))], pa.string())


@pytest.mark.parametrize(
    ("name", "said"),
    [(LATIN, "caf\\xe9"), (f"ü{LATIN}", "ücaf\\xe9"), (LONE, "\\ud800"), (Path(LATIN), "caf\\xe9")],
)
def test_what_it_does_not_hold_is_escaped(name, said):
    assert printable(name) == said


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe", b"a\xc3\xa4\xe4", b"\xe4\xb8", b"\\xe9"])
def test_an_escaped_name_finds_its_file(name, tmp_path):
    file = tmp_path / os.fsdecode(name)
    file.touch()
    assert on_disk(printable(file)) == file


def test_a_name_that_has_backslashes_comes_first(tmp_path):
    for name in ("caf\\xe9", LATIN):
        (tmp_path / name).write_text(ascii(name), "utf-8")
    assert on_disk(tmp_path / "caf\\xe9").read_text("utf-8") == ascii("caf\\xe9")


@pytest.mark.parametrize("name", ["gone", "gone\\xe9", "nul\0\\xe9", LONE])
def test_what_is_not_there_keeps_its_name(name, tmp_path):
    assert on_disk(tmp_path / name) == tmp_path / name


def test_names_are_found_where_the_locale_knows_ascii_alone(tmp_path):
    (tmp_path / "ä").touch()
    code = (
        "import os, sys; from cannabis_ml._io.file_names import *; names = os.listdir(os.getcwd());"
        "print(sys.getfilesystemencoding(), ascii(printable(names[0])),"
        " on_disk(printable(names[0])).is_file())"
    )
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **plain},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[1:] == ["'\\xe4'", "True"]
