"""launcher.yml and what it makes of a job."""

import sys
from pathlib import Path

import pytest
import yaml

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.job import Machine
from cannabis_ml.launchers.settings import LauncherSettings

COMMIT = "156723d161b4522a3bd21264c257ae731aba1a7a"
PHOTOS = f"photos_repo=a/b,photos_commit={COMMIT}"


def job(command=("run",), backend="modal", changes=None, **config):
    return LauncherSettings.read(config).job("x", backend, command, changes or {})


def test_the_file_that_comes_with_the_project_is_sound():
    conf = Path(__file__).parents[2] / "conf/base/launcher.yml"
    settings = LauncherSettings.read(yaml.safe_load(conf.read_text()))
    made = settings.job("x", "modal", ("run",), {})
    assert (made.limit_usd, made.attempts, made.machine.minutes) == (5.0, 3, 180)


def test_what_is_typed_wins_over_the_file():
    made = job(machine={"gpu": "T4", "minutes": 60}, changes={"gpu": "L4", "limit_usd": 2.0})
    assert made.machine == Machine(gpu="L4", minutes=60)
    assert made.limit_usd == 2.0


def test_this_machine_needs_no_installation():
    assert job(backend="local").environment == {"CANNABIS_ML_PYTHON": sys.executable}
    assert job(backend="modal").environment == {}


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (("run",), ("run", f"--params={PHOTOS}")),
        (("run", "--params", "x=1"), ("run", "--params", f"{PHOTOS},x=1")),
        (("run", "--params=x=1"), ("run", f"--params={PHOTOS},x=1")),
    ],
)
def test_photos_of_the_hub_reach_the_run_at_their_commit(command, sent):
    assert job(command, photos={"kind": "hub", "repo": "a/b", "commit": COMMIT}).command == sent


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"photos": {"kind": "hub", "repo": "a/b", "commit": "main"}}, "photos.hub.commit"),
        ({"fetch": ["../conf"]}, "not a plain path below data/"),
        ({"fetch": ["/etc"]}, "not a plain path below data/"),
        ({"machine": {"gpu": "T4", "vram": 16}}, "machine.vram"),
        ({"backends": {"azure": {}}}, "'azure' is not one of local, ssh"),
        ({"limit_usd": 0}, "limit_usd"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(config, told):
    with pytest.raises(LaunchError, match=r"^launcher\.yml") as caught:
        LauncherSettings.read(config)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"environment": {"HF_TOKEN": "x"}, "secrets": ["HF_TOKEN"]}, "both in environment and"),
        ({"secrets": ["HF TOKEN"]}, "'HF TOKEN' cannot be the name of a variable"),
    ],
)
def test_a_job_that_cannot_be_is_refused(config, told):
    with pytest.raises(LaunchError, match=told):
        job(**config)


def test_a_backend_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(LaunchError, match="'azure' is not a backend; there are: local, ssh"):
        open_backend("azure", {})
    with pytest.raises(LaunchError, match=r"launcher\.yml, backends\.local: rooot: Extra"):
        open_backend("local", {"rooot": "x"})
