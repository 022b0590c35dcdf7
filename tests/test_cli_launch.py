"""`cannabis_ml launch`, as it is typed."""

import pytest
import yaml


@pytest.fixture
def project(copy_project, tmp_path):
    return copy_project(tmp_path / "project")


@pytest.fixture
def launch(processes, project):
    """`launch("list")`: what was printed, and the exit code."""

    def launch(*arguments):
        return processes.run(["-m", "cannabis_ml", "launch", *arguments], cwd=project)

    return launch


def known(project, command, seconds, backend="modal", tiers=None):
    """Keep a measurement, as a probe would have."""
    from cannabis_ml.launchers.job import Job, Machine
    from cannabis_ml.launchers.probing import keep_throughput
    from cannabis_ml.launchers.throughput import Throughput

    job = Job(name="x", backend=backend, command=command, machine=Machine(gpu="T4"))
    measured = Throughput(
        machine="there", command=command, photos=800, start=seconds, nodes={}, tiers=tiers or {}
    )
    keep_throughput(project / "data/09_tracking/launches", job, measured)


def test_an_estimate_names_time_money_and_the_source_of_prices(launch, project):
    known(project, ("run", "--env", "full", "--pipeline=train"), 3240.0)
    options = ("--env", "full", "--gpu", "T4", "--estimate")
    done = launch("modal", *options, "--", "run", "--pipeline=train")
    assert done.returncode == 0, done.stderr
    assert "About 1 h 00 min on T4 + half a physical core + memory." in done.stdout
    # 0.5904 + 4 × 0.02358 + 16 × 0.007992 for the hour, and 5 GB for a week at 0.09 a month
    assert "About $0.92: machine $0.81 at $0.81 an hour, storage $0.10" in done.stdout
    assert "(2026-05-07)" in done.stdout
    assert not list(project.glob("data/09_tracking/launches/*/job.json"))


def test_what_would_exceed_the_limit_is_refused_before_anything_is_sent(launch, project):
    known(project, ("run", "--pipeline=train"), 36_000.0)
    options = ("--gpu", "T4", "--limit", "2", "--minutes", "900", "--yes")
    done = launch("modal", *options, "--", "run", "--pipeline=train")
    assert done.returncode == 1
    assert "above its limit of $2.00" in done.stderr
    assert not list(project.glob("data/09_tracking/launches/*/job.json"))


def test_an_estimate_goes_by_the_configuration_as_it_is_now(launch, project):
    from cannabis_ml.launchers.throughput import Line, TierRate

    measured = TierRate(
        image_size=160,
        phases={"heads": Line(), "top": Line(each=0.1, sized=0.05)},
        epochs={"heads": 8, "top": 5},
        besides=Line(),
    )
    known(project, ("run", "--pipeline=train"), 200.0, tiers={"tier3": measured})
    parameters = {"tier3": {"model": {"image_size": 320}}}
    (project / "conf/local/parameters.yml").write_text(yaml.safe_dump(parameters))
    done = launch(
        "modal", "--gpu", "T4", "--estimate", "--photos", "1600", "--", "run", "--pipeline=train"
    )
    # 200 + 5 epochs × 1,600 photos × (0.1 + 4 × 0.05), and 6 minutes to set up
    assert "About 49 min" in done.stdout, done.stdout + done.stderr


def test_an_unknown_job_backend_or_setting_is_an_error_in_words(launch, project):
    done = launch("attach", "nothing")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no job nothing" in done.stderr
    (project / "conf/local/launcher.yml").write_text(
        yaml.safe_dump({"limit_usd": -1, "machine": {"gpus": 0}})
    )
    done = launch("local", "--estimate", "--", "run")
    assert done.returncode == 1
    assert "launcher.yml: machine.gpus: " in done.stderr
    assert "limit_usd: " in done.stderr
    assert "Traceback" not in done.stderr
    assert launch("list").stdout == ""


def test_configuration_of_an_environment_changes_single_keys(launch, project):
    (project / "conf/full/launcher.yml").write_text(yaml.safe_dump({"machine": {"minutes": 42}}))
    done = launch("local", "--env", "full", "--estimate", "--", "run")
    assert done.returncode == 0, done.stderr
    assert "at most 42 min on one's own machine" in done.stdout
