"""What Vertex AI and SageMaker have in common: a container with a disk of its own, and a bucket."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cannabis_ml._io.files import file_sha256
from cannabis_ml.launchers.backend import LaunchError
from cannabis_ml.launchers.job import FolderPhotos, Job
from cannabis_ml.launchers.package import Places, variables

DRIVER = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
}
"""Variables with which a container of any image gets GPUs and their driver, as NVIDIA's images set
them: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit (user guide)."""


def check_variables(job: Job, provider: str) -> None:
    """Refuse more variables than a provider takes together with those of every job.

    Raises:
        LaunchError: There are too many.
    """
    if len(job.environment) > 80:
        raise LaunchError(f"{provider} takes 100 variables; {len(job.environment)} are too many.")


def container_variables(job: Job, package: Path, there: str, kept: str) -> dict[str, str]:
    """Variables of a container that works on its own disk.

    Args:
        job: What is wanted.
        package: The archive on this machine.
        there: Its path in the container.
        kept: Folder in the container that survives it: gets `results` and, as mirror, `kept`.
    """
    places = Places(
        package=there,
        work="/tmp/cannabis-ml/work",
        data="/tmp/cannabis-ml/data",
        results=f"{kept}/results",
        mirror=f"{kept}/kept",
    )
    driver = DRIVER if job.machine.gpu else {}
    return driver | variables(job, places, file_sha256(package))


def photo_folder(photos: FolderPhotos, prefix: str) -> tuple[Path, str]:
    """A folder of photos on this machine, and the prefix of its objects in the bucket.

    Args:
        photos: Name the folder.
        prefix: Of all objects of this project.
    """
    folder = Path(photos.path).expanduser().absolute()
    key = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return folder, f"{prefix}/photos/{key}/"
