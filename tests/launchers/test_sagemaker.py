"""Jobs on SageMaker."""

import sys
from pathlib import Path

import pytest

from cannabis_ml.launchers.backend import LaunchError, open_backend
from cannabis_ml.launchers.backends.sagemaker import OFFERS, SageMakerSettings, training_job
from cannabis_ml.launchers.job import Job, Machine

sys.path.insert(0, str(Path(__file__).parent))
from contract import Place, RestartingContract, photos_of, send_photos
from sagemaker_server import Aws, problems

READS = (b"GET", b"HEAD")
ROLE = "arn:aws:iam::123456789012:role/trainer"


@pytest.fixture
def aws(tmp_path, monkeypatch):
    aws = Aws(tmp_path / "aws")
    for name, value in aws.variables.items():
        monkeypatch.setenv(name, value)
    yield aws
    aws.close()


@pytest.fixture
def settings():
    return {"role": ROLE, "bucket": "bucket", "poll_seconds": 0.2}


class TestSageMaker(RestartingContract):
    @pytest.fixture
    def place(self, aws, settings, tmp_path):
        def packages():
            s3, to = aws.client("s3"), tmp_path / "packages"
            to.mkdir()
            for item in s3.list_objects_v2(Bucket="bucket")["Contents"]:
                if "/package/" in item["Key"]:
                    s3.download_file("bucket", item["Key"], str(to / Path(item["Key"]).name))
            return list(to.iterdir())

        return Place(
            open_backend("sagemaker", settings),
            preempt=lambda name: aws.jobs[name].take_away(),
            wire=lambda: b"\n".join(aws.sent),
            packages=packages,
            environment={"CANNABIS_ML_MIRROR_SECONDS": "0"},
            machine=Machine(minutes=20, spot=True),
        )

    def test_photos_of_a_folder_are_sent_once_and_are_there(self, place, counting, tmp_path, aws):
        folder, photos = send_photos(place, counting, tmp_path, 3)
        (link,) = aws.folder.glob("job-*/disk/tmp/cannabis-ml/data/01_raw/photos")
        assert photos_of(link) == photos_of(folder)
        (folder / "0/leaf one.jpg").unlink()
        (folder / "1/leaf one.jpg").write_bytes(b"photo x")
        aws.sent.clear()
        place.submit(counting, place.job("1", photos=photos), tmp_path)
        asked = [sent.split(b"\n")[0].split() for sent in aws.sent]
        changes = [method for method, url in asked if b"/photos/" in url and method not in READS]
        assert changes == [b"PUT", b"DELETE"]


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.name)
def test_a_job_is_what_sagemaker_takes(offer):
    machine = Machine(
        gpu=offer.gpu or None,
        gpus=max(1, offer.gpus),
        cpus=offer.cpus,
        memory_gb=offer.memory_gb,
        minutes=90,
        spot=True,
    )
    job = Job(name="leaf", backend="sagemaker", command=("run",), machine=machine, attempts=4)
    settings = SageMakerSettings(role=ROLE, bucket="bucket", wait_minutes=10)
    asked = training_job(job, {"package": "a/"}, {"A": "b"}, settings)
    assert problems("CreateTrainingJob", asked) == []
    assert asked["ResourceConfig"]["InstanceType"] == offer.name
    assert asked["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 5400,
        "MaxWaitTimeInSeconds": 6000,
    }
    assert asked["RetryStrategy"] == {"MaximumRetryAttempts": 3}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"TrainingName": "leaf"}, "Unknown parameter in input"),
        (
            {"RoleArn": "the role of the trainer"},
            "RoleArn: 'the role of the trainer' does not match",
        ),
        ({"Environment": {"A": "b" * 600}}, "600 characters, at most 512"),
        (
            {"ResourceConfig": {"InstanceType": "ml.t4", "InstanceCount": 1, "VolumeSizeInGB": 9}},
            "enum",
        ),
    ],
)
def test_the_stand_in_refuses_what_sagemaker_would(change, problem):
    job = Job(name="leaf", backend="sagemaker", command=("run",))
    settings = SageMakerSettings(role=ROLE, bucket="bucket")
    asked = training_job(job, {"package": "a/"}, {"A": "b"}, settings) | change
    assert any(problem in found for found in problems("CreateTrainingJob", asked))


def test_what_aws_refuses_is_told_in_a_sentence(aws, settings):
    with pytest.raises(LaunchError, match="Requested resource not found"):
        open_backend("sagemaker", settings).state("leaf")


def test_without_credentials_one_sentence_tells_what_to_do(settings, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(LaunchError, match="There are no AWS credentials: run `aws configure sso`"):
        open_backend("sagemaker", settings).state("leaf")


def test_a_job_that_sagemaker_cannot_hold_is_refused(settings):
    backend = open_backend("sagemaker", settings)
    job = Job(name="leaf", backend="sagemaker", command=("run",), environment={"A": "b" * 600})
    with pytest.raises(LaunchError, match="512 characters at most: A"):
        backend.check(job)
