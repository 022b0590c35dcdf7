"""The documentation names only what is there, and builds."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
PAGES = [
    *sorted((PROJECT / "docs").rglob("*.md")),
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
]
FOLDERS = ("src", "conf", "tests", "docs", "notebooks")
MADE_BY_RUNS = ("conf/local",)
ROOTS = (PROJECT, PROJECT / "src/cannabis_ml")
ROOMS = {path.stem for path in (PROJECT / "src/cannabis_ml").iterdir()}


def name_of(page):
    return str(page.relative_to(PROJECT))


def is_ours(path):
    """Whether a path begins with a folder of the repository or with a room."""
    folder = path.partition("/")[0]
    return re.fullmatch(r"[\w.-]+/[\w./-]*\w/?", path) and folder in {*FOLDERS, *ROOMS}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_is_named_exists(page):
    quoted = re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))
    paths = [path for path in quoted if is_ours(path)]
    missing = [
        path
        for path in paths
        if not path.startswith(MADE_BY_RUNS) and not any((r / path).exists() for r in ROOTS)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_to_a_file_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    files = [link.partition("#")[0] for link in links if "://" not in link]
    assert [name for name in files if name and not (page.parent / name).exists()] == []


NOT_OURS = {"datasets.load_from_disk"}
"""Names of libraries that begin like a room."""


def dotted_names(text):
    """Modules, functions and parameters: after `cannabis_ml.`, or beginning with a room."""
    named = re.findall(r"(?:`|::: |import )cannabis_ml\.((?:\w+\.)*\w+)", text)
    named += re.findall(r"from cannabis_ml\.((?:\w+\.)*\w+) import", text)
    quoted = re.findall(r"`((?:\w+\.)+\w+)(?:\([^`]*\))?`", text)
    named += [name for name in quoted if name.partition(".")[0] in ROOMS]
    files = (".py", ".json", ".typed", ".md", ".yml")
    return {name for name in named if not f".{name}".endswith(files)} - NOT_OURS


def is_in_the_code(name):
    """Whether a name below `cannabis_ml` can be imported, fields of Pydantic models included."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            here = importlib.import_module(".".join(["cannabis_ml", *parts[:n]]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if part in getattr(here, "model_fields", {}):
                return True
            if not hasattr(here, part):
                return False
            here = getattr(here, part)
        return True
    return False


def configured_names(value, prefix=""):
    for key, below in value.items() if isinstance(value, dict) else ():
        yield prefix + key
        yield from configured_names(below, f"{prefix}{key}.")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_dotted_name_is_in_the_code_or_the_configuration(page):
    configured = set()
    for file in (PROJECT / "conf/base").glob("*.yml"):
        configured |= set(configured_names(yaml.safe_load(file.read_text("utf-8"))))
    named = dotted_names(page.read_text("utf-8"))
    assert [n for n in sorted(named) if n not in configured and not is_in_the_code(n)] == []


def test_every_identifier_that_a_how_to_names_exists():
    """Names in capitals or CamelCase, alone between backticks."""
    sources = [path.read_text("utf-8") for path in (PROJECT / "src").rglob("*.py")]
    sources += [path.read_text("utf-8") for path in (PROJECT / "tests").rglob("*.py")]
    words = set(re.findall(r"\w+", "\n".join(sources)))
    for page in sorted((PROJECT / "docs/how-to").glob("*.md")):
        named = re.findall(r"`(_?[A-Z]\w+|\w+_\w+)`", page.read_text("utf-8"))
        unknown = [n for n in named if n not in words and n not in MADE_UP]
        assert unknown == [], page.name


def where_do_i_change():
    readme = (PROJECT / "README.md").read_text("utf-8")
    table = readme.partition("## Where do I change")[2].partition("\n## ")[0]
    for row in re.findall(r"^\|(.*)\|$", table, re.MULTILINE):
        _, names, file = row.split("|")
        for name in re.findall(r"`([^`]+)`", names):
            yield name.replace("tierN", "tier1"), file.strip(" `")


def test_every_parameter_that_the_readme_names_is_in_its_file():
    asked = list(where_do_i_change())
    assert len(asked) > 15
    for name, file in asked:
        found = yaml.safe_load((PROJECT / "conf/base" / file).read_text("utf-8"))
        for key in name.split("."):
            assert key in found, f"{name} is not in {file}"
            found = found[key]


def test_the_lock_holds_every_extra_but_two():
    """TensorFlow and Ray are second choices, which would bring every developer a gigabyte."""
    import tomllib

    makefile = (PROJECT / "Makefile").read_text("utf-8")
    makefile = makefile.replace("\\\n", " ")
    locked = re.search(r"^LOCKED := (.*)$", makefile, re.MULTILINE)[1].split()
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert sorted([*locked, "ray", "tensorflow"]) == sorted(project["optional-dependencies"])


MADE_UP = {"tinted_above"}
"""What the examples invent."""


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    """Strict: a page that is not in the menu, a dead link or a dead anchor fails."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api.html").read_text("utf-8")
    assert all(name in api for name in ("check_golden", "BundleManifest", "open_model"))


def test_the_page_on_clusters_has_the_tables_that_its_constants_give():
    path = PROJECT / "tests/benchmarks/cluster_on_paper.py"
    spec = importlib.util.spec_from_file_location("cluster_on_paper", path)
    paper = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = paper  # dataclasses look their module up
    spec.loader.exec_module(paper)
    page = (PROJECT / "docs/cluster.md").read_text("utf-8")
    for table in paper.tables():
        assert table in page, f"Put the new table into docs/cluster.md:\n{table}"
