"""A process that reads from the hub of `tests/hub_server.py`."""

import json
import os
import subprocess
import sys

import pytest

_READER = """
import json, sys
from cannabis_ml.datasets.source_photos import SourcePhotosDataset
for line in sys.stdin:
    try:
        photos = SourcePhotosDataset(source=json.loads(line)).load()
        told = photos.astype(object).where(photos.notna(), None).to_dict("list")
    except Exception as error:
        told = {"error": str(error.__cause__ or error)}
    print("\\n>>>" + json.dumps(told), flush=True)
"""


class Reader:
    """A process that reads sources: what `HF_ENDPOINT` says is only looked at on import."""

    def __init__(self, home, endpoint, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _READER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=kept
            | {
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(home),
                "PYTHONPATH": os.pathsep.join(sys.path),
            }
            | environment,
        )

    def __call__(self, **source):
        """The columns of a source as lists, or `{"error": message}`."""
        self._process.stdin.write(json.dumps({"kind": "hub", **source}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(">>>"):
                return json.loads(line[3:])
        raise AssertionError(f"the reader ended with {self._process.wait()}")

    def close(self):
        # Killed, not only told by the end of its input: a process forked off this one since then
        # holds that open too.
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def read(hub, tmp_path_factory):
    """Read a source of kind `hub`: `read(repo=…, revision=…, path=…)`."""
    reader = Reader(tmp_path_factory.mktemp("hf"), hub.url)
    yield reader
    reader.close()
