"""What goes up."""

import os
import sys
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.job import Job
from cannabis_ml.launchers.package import files_left_out, pack, sent_files

sys.path.insert(0, str(Path(__file__).parent))
from contract import PRIVATE, files_of, git

JOB = Job(name="x", backend="local", command=("run",), secrets=("HF_TOKEN",))


@pytest.fixture
def project(tmp_path):
    """A few files of every kind in a git checkout."""
    root = tmp_path / "project"
    for name in (
        "src/a.py",
        "src/run.sh",
        "conf/base/x.yml",
        "pyproject.toml",
        "docs/b.md",
        *PRIVATE,
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "src/run.sh").chmod(0o755)
    (root / ".gitignore").write_text("__pycache__/\n/conf/local/\n/data/\nmlruns/\n.venv\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "add", "--force", "conf/local/tracked.yml", "data/01_raw/tracked.csv")
    return root


def test_code_and_configuration_go_up_and_nothing_else(project, tmp_path):
    pack(project, JOB, tmp_path / "p.tar.gz")
    sent = {"src/a.py", "src/run.sh", "conf/base/x.yml", "pyproject.toml", "job.json"}
    assert set(files_of(tmp_path / "p.tar.gz")) == sent


def test_files_go_up_as_they_are_now(project, tmp_path):
    (project / "src/a.py").write_text("changed since")
    pack(project, JOB, tmp_path / "p.tar.gz")
    assert files_of(tmp_path / "p.tar.gz")["src/a.py"] == b"changed since"


def test_the_same_project_and_job_give_the_same_bytes(project, tmp_path):
    first = pack(project, JOB, tmp_path / "p.tar.gz")
    os.utime(project / "src/a.py", (1, 1))
    assert pack(project, JOB, tmp_path / "q.tar.gz") == first
    (project / "src/a.py").write_text("other")
    assert pack(project, JOB, tmp_path / "r.tar.gz") != first


def test_what_git_does_not_know_yet_is_named(project):
    (project / "src/new.py").write_text("")
    (project / "conf/local/credentials.yml").write_text("")
    assert files_left_out(project) == ["src/new.py"]
    assert "src/new.py" not in sent_files(project)


@pytest.mark.parametrize("target", ["/etc/passwd", "../data/01_raw/tracked.csv"])
def test_a_link_out_of_what_is_sent_is_refused(project, tmp_path, target):
    (project / "src/link").symlink_to(target)
    git(project, "add", "src/link")
    with pytest.raises(LaunchError, match=r"1 file of .* cannot be sent: src/link"):
        pack(project, JOB, tmp_path / "p.tar.gz")
    assert not (tmp_path / "p.tar.gz").exists()


def test_a_folder_without_git_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(LaunchError, match="git init && git add -A"):
        pack(tmp_path, JOB, tmp_path / "p.tar.gz")
