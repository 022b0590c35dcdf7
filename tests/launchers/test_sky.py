"""deploy/sky.yaml, a job for another tool: what it runs, and how its results come home."""

import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.project import configure_project

from cannabis_ml.cli_launch import launch
from cannabis_ml.launchers.mirror import LIST

sys.path.insert(0, str(Path(__file__).parent))
from container import Container
from contract import COUNT, PRIVATE, PROJECT, files_of, private_project

SKY = yaml.safe_load((PROJECT / "deploy/sky.yaml").read_text())

SETUP = """
date +%s > ~/started
mkdir -p ~/work ~/venv/bin && tar -xzf {package} -C ~/work
printf '#!/bin/sh\\nexec {python} "$@"\\n' > ~/venv/bin/python && chmod +x ~/venv/bin/python
"""
"""In place of `setup`, which installs packages."""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    project = private_project(tmp_path / "project")
    (project / "src/cannabis_ml/__main__.py").write_text(COUNT)
    monkeypatch.chdir(project)
    configure_project("cannabis_ml")
    return project


def ran(*arguments):
    done = CliRunner().invoke(launch, [str(part) for part in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_packed_job_resumes_and_its_results_come_home(project, tmp_path):
    package, bucket = tmp_path / "package.tar.gz", tmp_path / "bucket"
    bucket.mkdir()
    ran("pack", package, "--name", "first", "--hourly", 3.6, "--limit", 1, "--", "60")
    assert not set(PRIVATE) & set(files_of(package))
    setup = SETUP.format(package=package, python=sys.executable)
    variables = {"JOB": "first", "BUCKET": "jobs", "CANNABIS_ML_MIRROR_SECONDS": "0"}
    machine = Container(
        ["bash", "-c", setup + SKY["run"]],
        variables,
        {"/kept": bucket},
        tmp_path / "machine",
        free_preemptions=True,
    )
    machine.start()
    while not any(line == "line 5" for _, line in list(machine.lines)):
        assert not machine.ended, machine.lines
        machine.wait_for_more(len(machine.lines))
    machine.preempt_once_kept(bucket / "first/kept" / LIST)
    while not machine.ended:
        machine.wait_for_more(len(machine.lines))
    lines = [line for _, line in machine.lines]
    assert (machine.phase, machine.attempt) == ("succeeded", 2), lines
    assert sum(line == "went on from nothing" for line in lines) == 1
    told = ran("fetch", "first", "--from", bucket / "first/results")
    assert "1 results are in data/" in told
    assert (project / "data/08_reporting/counted.txt").read_text() == "59"
    assert "packed      " in ran("list")


def test_a_job_that_another_tool_runs_is_not_asked_for_here(project, tmp_path):
    ran("pack", tmp_path / "package.tar.gz", "--name", "first", "--hourly", 1, "--", "1")
    for command in ("status", "attach", "cancel", "fetch"):
        done = CliRunner().invoke(launch, [command, "first"])
        assert done.exit_code == 1
        assert "first was packed for another tool: ask that." in done.output
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(launch, ["fetch", "first", "--from", str(tmp_path / "empty")])
    assert "There is no results.tar.gz in" in done.output


def test_a_limit_needs_the_price_of_an_hour(project, tmp_path):
    asked = ["pack", str(tmp_path / "package.tar.gz"), "--name", "first", "--limit", "1", "--", "1"]
    done = CliRunner().invoke(launch, asked)
    assert "needs the most that an hour costs: --hourly" in done.output
    assert not (tmp_path / "package.tar.gz").exists()


def test_the_project_s_folder_is_not_sent():
    assert "workdir" not in SKY
    assert list(SKY["file_mounts"]) == ["~/package.tar.gz", "/kept"]


def test_packages_are_those_of_the_lock():
    for name in ("requirements.lock", "requirements-tflite.lock"):
        assert f"--requirement ~/work/{name}" in SKY["setup"]
        assert (PROJECT / name).is_file()
