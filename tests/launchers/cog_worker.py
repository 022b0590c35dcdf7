"""Runs `train` of a cog.yaml as Cog's worker does: `python cog_worker.py REPOSITORY INPUT OUTPUT`.

A stand-in for the package `cog` of an image: `Input`, `Path`, `Secret`, `BaseModel`. Inputs that
are addresses are downloaded; a cancellation raises in `train`. As with Cog 0.23, logs have what
`train` itself prints, and nothing that its children write.
"""

import importlib.util
import inspect
import json
import os
import pathlib
import signal
import sys
import tempfile
import types
from urllib.request import Request, urlopen

import yaml


class Path(pathlib.PosixPath):
    """A file that comes as an address, and leaves as one."""


class Secret:
    def __init__(self, value):
        self._value = value

    def get_secret_value(self):
        return self._value

    def __repr__(self):
        return "**********"


class BaseModel:
    def __init__(self, **fields):
        missing = set(inspect.get_annotations(type(self))) ^ set(fields)
        assert not missing, missing
        vars(self).update(fields)


class Given:
    def __init__(self, default=..., description="", ge=None):
        self.default, self.ge = default, ge


class CancelationException(BaseException):
    pass


def value_of(kind, given, value, token):
    """An input as `train` gets it."""
    if kind is Secret:
        return Secret(value)
    if kind is Path:
        to = Path(tempfile.mkdtemp(), "file.tar.gz")
        with urlopen(Request(value, headers={"Authorization": f"Bearer {token}"})) as answer:
            to.write_bytes(answer.read())
        return to
    value = kind(value)
    assert given.ge is None or value >= given.ge, (value, given.ge)
    return value


def main(repository, asked, output):
    token = os.environ.pop("COG_TOKEN")
    cog = types.ModuleType("cog")
    vars(cog).update(BaseModel=BaseModel, Input=Given, Path=Path, Secret=Secret)
    sys.modules["cog"] = cog
    file, _, name = yaml.safe_load((repository / "cog.yaml").read_text())["train"].partition(":")
    spec = importlib.util.spec_from_file_location("trainer", repository / file)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    train = getattr(module, name)
    parameters = inspect.signature(train).parameters
    unknown = set(asked) ^ set(parameters)
    assert not unknown, f"inputs {unknown}"
    values = {
        name: value_of(p.annotation, p.default, asked[name], token)
        for name, p in parameters.items()
    }

    log = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.stdout = sys.stderr = os.fdopen(log, "w", buffering=1)

    def cancel(*_):
        raise CancelationException

    signal.signal(signal.SIGTERM, cancel)
    output.write_text(str(train(**values).weights))


if __name__ == "__main__":
    main(
        pathlib.Path(sys.argv[1]),
        json.loads(pathlib.Path(sys.argv[2]).read_text()),
        pathlib.Path(sys.argv[3]),
    )
