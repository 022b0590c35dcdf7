"""`cannabis_ml publish` on a finished project."""

import json
import re

import pytest

SECRET = "hf_onlyForTests"


@pytest.fixture
def command(hub_processes, finished):
    """Run the command line in the finished project; what it printed never holds the token."""

    def run(*arguments):
        line = ["-m", "cannabis_ml", "publish", *arguments, "--env", "test"]
        done = hub_processes.start(line, cwd=finished[0]).wait()
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.mark.slow
def test_photos_and_bundle_are_published_from_a_finished_project(command, hub, repo):
    dry = command("photos", "--repo", repo, "--version", "1.0.0", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "Dry run: nothing was uploaded" in dry.stdout
    assert ("dataset", repo) not in hub.repos

    done = command("photos", "--repo", repo, "--version", "1.0.0")
    assert done.returncode == 0, done.stderr
    commit = hub.repos["dataset", repo].tags["1.0.0"]
    assert f"Published {repo} as 1.0.0, at commit {commit}" in done.stdout
    assert f"kind: hub, path: data/01_raw/hub, repo: {repo}, revision: {commit}" in done.stdout

    bundle = command("bundle", "--repo", repo, "--version", "1.0.0", "--photos", repo)
    assert bundle.returncode == 0, bundle.stderr
    assert f"trained on {repo} at commit {commit}" in bundle.stdout
    place = hub.repos["model", repo]
    files = place.commits[place.tags["1.0.0"]]
    rights = json.loads(files["bundle/golden/rights.json"])["photos"]
    assert {(photo["source"], photo["licence"]) for photo in rights} == {("sample", "apache-2.0")}
    told = json.loads(files["publication.json"])
    assert told["photos"] == {"repo": repo, "commit": commit, "version": "1.0.0"}
    card = files["README.md"].decode()
    assert len(re.findall(f"revision: {commit}", card)) == card.count("split: test")
    secrets = [d for p in hub.repos.values() for f in p.commits.values() for d in f.values()]
    assert not any(SECRET.encode() in data for data in secrets)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--repo", "leaves", "--version", "1.0.0"), "write OWNER/NAME"),
        (("--repo", "me/leaves", "--version", "1.0"), "write three numbers"),
    ],
)
def test_what_is_mistyped_is_named(command, arguments, message):
    done = command("photos", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
