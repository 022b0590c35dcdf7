"""The part of Vertex AI's messages that a CustomJob may have, as its server checks them.

Transcribed from google-cloud-aiplatform 2.7.0 (google/cloud/aiplatform_v1/types: custom_job.py,
machine_resources.py, accelerator_type.py, env_var.py, io.py), which is not installed here: it would
bring 120 MB. Names are in the JSON form of proto3; fields that only the server sets are left out.
"""

import re

ACCELERATOR_TYPE = {
    "ACCELERATOR_TYPE_UNSPECIFIED": 0,
    "NVIDIA_TESLA_K80": 1,
    "NVIDIA_TESLA_P100": 2,
    "NVIDIA_TESLA_V100": 3,
    "NVIDIA_TESLA_P4": 4,
    "NVIDIA_TESLA_T4": 5,
    "TPU_V2": 6,
    "TPU_V3": 7,
    "NVIDIA_TESLA_A100": 8,
    "NVIDIA_A100_80GB": 9,
    "TPU_V4_POD": 10,
    "NVIDIA_L4": 11,
    "TPU_V5_LITEPOD": 12,
    "NVIDIA_H100_80GB": 13,
    "NVIDIA_H100_MEGA_80GB": 14,
    "NVIDIA_H200_141GB": 15,
    "NVIDIA_B200": 16,
    "NVIDIA_GB200": 17,
    "NVIDIA_RTX_PRO_6000": 18,
}
STRATEGY = {
    "STRATEGY_UNSPECIFIED": 0,
    "ON_DEMAND": 1,
    "LOW_COST": 2,
    "STANDARD": 3,
    "SPOT": 4,
    "FLEX_START": 6,
}
JOB_STATE = {
    "JOB_STATE_UNSPECIFIED": 0,
    "JOB_STATE_QUEUED": 1,
    "JOB_STATE_PENDING": 2,
    "JOB_STATE_RUNNING": 3,
    "JOB_STATE_SUCCEEDED": 4,
    "JOB_STATE_FAILED": 5,
    "JOB_STATE_CANCELLING": 6,
    "JOB_STATE_CANCELLED": 7,
    "JOB_STATE_PAUSED": 8,
    "JOB_STATE_EXPIRED": 9,
    "JOB_STATE_UPDATING": 10,
    "JOB_STATE_PARTIALLY_SUCCEEDED": 11,
}
MESSAGES = {
    "CustomJob": {
        "displayName": "string!",
        "jobSpec": "CustomJobSpec!",
        "labels": "map",
        "encryptionSpec": "map",
    },
    "CustomJobSpec": {
        "persistentResourceId": "string",
        "workerPoolSpecs": ["WorkerPoolSpec!"],
        "scheduling": "Scheduling",
        "serviceAccount": "string",
        "network": "string",
        "reservedIpRanges": ["string"],
        "pscInterfaceConfig": "map",
        "baseOutputDirectory": "GcsDestination",
        "protectedArtifactLocationId": "string",
        "tensorboard": "string",
        "enableWebAccess": "bool",
        "enableDashboardAccess": "bool",
        "experiment": "string",
        "experimentRun": "string",
        "models": ["string"],
    },
    "WorkerPoolSpec": {
        "containerSpec": "ContainerSpec",
        "pythonPackageSpec": "map",
        "machineSpec": "MachineSpec",
        "replicaCount": "int64",
        "nfsMounts": ["map"],
        "lustreMounts": ["map"],
        "diskSpec": "DiskSpec",
    },
    "ContainerSpec": {
        "imageUri": "string!",
        "command": ["string"],
        "args": ["string"],
        "env": ["EnvVar"],
    },
    "EnvVar": {"name": "string!", "value": "string!"},
    "MachineSpec": {
        "machineType": "string",
        "acceleratorType": ACCELERATOR_TYPE,
        "acceleratorCount": "int32",
        "gpuPartitionSize": "string",
        "tpuTopology": "string",
        "reservationAffinity": "map",
    },
    "DiskSpec": {"bootDiskType": "string", "bootDiskSizeGb": "int32"},
    "Scheduling": {
        "timeout": "duration",
        "restartJobOnWorkerRestart": "bool",
        "strategy": STRATEGY,
        "disableRetries": "bool",
        "maxWaitDuration": "duration",
    },
    "GcsDestination": {"outputUriPrefix": "string!"},
}
"""Per message its fields: a type, `!` where it is required, a list where it repeats, an enum."""


def problems(value, kind="CustomJob", at="job"):
    """What Vertex AI would refuse of a job, in sentences."""
    if isinstance(kind, dict):
        return [] if value in kind else [f"{at}: {value!r} is not a value of this enum"]
    kind = kind.rstrip("!")
    if kind not in MESSAGES:
        return [] if _is(value, kind) else [f"{at}: {value!r} is not a {kind}"]
    if not isinstance(value, dict):
        return [f"{at}: {value!r} is not a {kind}"]
    fields, found = MESSAGES[kind], []
    for name, given in value.items():
        if name not in fields:
            found.append(f"Invalid JSON payload received. Unknown name \"{name}\" at '{at}'")
        elif isinstance(fields[name], list):
            for i, one in enumerate(given):
                found += problems(one, fields[name][0], f"{at}.{name}[{i}]")
        else:
            found += problems(given, fields[name], f"{at}.{name}")
    for name, field in fields.items():
        one = field[0] if isinstance(field, list) else field
        if isinstance(one, str) and one.endswith("!") and not value.get(name):
            found.append(f"{at}: {name} is required")
    return found


def _is(value, kind):
    return {
        "string": lambda: isinstance(value, str),
        "bool": lambda: isinstance(value, bool),
        "int32": lambda: isinstance(value, int) and not isinstance(value, bool),
        "int64": lambda: bool(re.fullmatch(r"\d+", str(value))),
        "duration": lambda: bool(re.fullmatch(r"\d+(\.\d{1,9})?s", str(value))),
        "map": lambda: isinstance(value, dict),
    }[kind]()
