"""A client that a generator makes of the OpenAPI document."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from cannabis_ml.serving.app import create_app
from cannabis_ml.serving.settings import ServiceSettings

pytestmark = pytest.mark.slow

HEAD = "kind.of thing"
GENERATOR = "openapi-python-client>=0.29,<0.30"


@pytest.fixture(scope="module")
def app(small_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    given = {"feedback": {"database": f"sqlite:///{folder / 'feedback.db'}"}}
    return create_app(small_bundle, ServiceSettings.model_validate(given))


@pytest.fixture(scope="module")
def generated(app, tmp_path_factory):
    """The package that the generator writes, in an environment of the generator's own."""
    folder = tmp_path_factory.mktemp("generated")
    python = folder / "venv" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        subprocess.run(command, check=True, env=clean, cwd=folder, timeout=600)

    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet")
    run(*pip, "--no-compile", GENERATOR)
    (folder / "openapi.json").write_text(json.dumps(app.openapi()))
    generate = (str(python.with_name("openapi-python-client")), "generate", "--meta", "none")
    run(*generate, "--path", "openapi.json", "--output-path", str(folder / "made_client"))
    # 0.29.1 forgets an import where there are bodies of several types and no parameter.
    forgotten = folder / "made_client" / "api" / "feedback" / "feedback.py"
    text = forgotten.read_text().replace("import UNSET, Response", "import UNSET, Response, Unset")
    forgotten.write_text(text)
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"made_client{name}")
    sys.path.remove(str(folder))


def test_it_reports_and_tells_problems_apart(generated, address, jpeg):
    client = generated("").Client(base_url=address)
    analyze, types = generated(".api.default.analyze"), generated(".types")
    photo = types.File(payload=io.BytesIO(jpeg()), file_name="a.jpg", mime_type="image/jpeg")
    form = generated(".models.analyze_files_body").AnalyzeFilesBody(photo=photo)
    report = analyze.sync(client=client, body=form)
    assert report.heads[HEAD].best_guess
    broken = types.File(payload=io.BytesIO(b"no photo"), file_name="a", mime_type="image/jpeg")
    form = generated(".models.analyze_files_body").AnalyzeFilesBody(photo=broken)
    problem = analyze.sync(client=client, body=form)
    assert type(problem).__name__ == "Problem"
    assert problem.status == 422


def test_it_sends_feedback_and_reads_the_status(generated, address, app):
    client = generated("").Client(base_url=address)
    models = generated(".models")
    label = app.state.service.loaded.bundle.taxonomy[HEAD].class_names[0]
    opinion = models.HeadOpinion.from_dict({"head": HEAD, "verdict": "corrected", "label": label})
    submission = models.Submission(
        key="key-1", person="p-1", at=datetime.now(UTC), photo_id="ab" * 32, opinions=[opinion]
    )
    feedback = generated(".api.feedback.feedback")
    assert feedback.sync(client=client, body=submission).taken == 1
    assert feedback.sync(client=client, body=submission).is_retry
    status = generated(".api.feedback.learning_status").sync(client=client)
    assert status.store.people == 1
    assert status.decision.retrain is False


def test_it_sends_a_job_and_follows_it(generated, address, jpeg):
    client, types = generated("").Client(base_url=address), generated(".types")
    photos = [
        types.File(payload=io.BytesIO(jpeg()), file_name=f"{i}.jpg", mime_type="image/jpeg")
        for i in range(3)
    ]
    form = generated(".models.create_job_files_body").CreateJobFilesBody(photo=photos)
    job = generated(".api.jobs.create_job").sync(client=client, body=form)
    assert job.photos == 3
    ask = generated(".api.jobs.job_status")
    while ask.sync(job.id, client=client).state != "done":
        time.sleep(0.05)
    lines = generated(".api.jobs.job_results").sync_detailed(job.id, client=client).content
    assert len(lines.splitlines()) == 3
    assert generated(".api.jobs.delete_job").sync_detailed(job.id, client=client).status_code == 204
    gone = ask.sync(job.id, client=client)
    assert (type(gone).__name__, gone.status) == ("Problem", 404)
