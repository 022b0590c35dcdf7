"""Runs `kedro …` in processes that are forked from one that has the libraries loaded.

Loading Kedro, MLflow, pandas and matplotlib takes four of the five seconds of a command that ends
in a message. Here the first command pays for it. Each command is a process of its own, with its own
folder, environment and output; of the project nothing is loaded before.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

LOADED = (
    "IPython",
    "albumentations",
    "datasets",
    "dynaconf",
    "jinja2",
    "kedro.io",
    "kedro.runner",
    "kedro_datasets.json",
    "matplotlib.pyplot",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "rich.logging",
    "scipy.stats",
    "sklearn.metrics",
)
"""No `kedro.framework`: when it is loaded it reads the project's logging configuration."""


class KedroServer:
    """The process, started by the first command; a context manager that ends it.

    `server.run(["run", "--env", "test"], cwd=project, env={…})` is like `subprocess.run` of
    `python -m kedro run --env test` with its output captured as text.
    """

    def __init__(self):
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process:
            self._process.communicate()

    def run(self, arguments, cwd, env, folder):
        """Run one command, with its output in files of `folder` until it has ended."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        outputs = [str(Path(folder) / name) for name in ("stdout", "stderr")]
        request = {"arguments": arguments, "cwd": str(cwd), "env": env, "outputs": outputs}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the server of Kedro's commands ended: {self._process.poll()}"
        printed = [Path(path).read_text("utf-8") for path in outputs]
        return subprocess.CompletedProcess(["kedro", *arguments], int(answer), *printed)


def _serve():
    """Answer requests with exit codes; returns the request in the process that is to run it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    base = [path for path in sys.path[1:] if path not in own]
    for name in LOADED:
        with contextlib.suppress(ImportError):  # not every extra is installed everywhere
            importlib.import_module(name)
    gc.freeze()  # else the first collection in a child copies all pages
    for line in sys.stdin:
        child = os.fork()
        if not child:
            answers.close()
            request = json.loads(line)
            given = [
                path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path
            ]
            sys.path[:] = [request["cwd"], *given, *base]
            return request
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()
    return None


if __name__ == "__main__" and (request := _serve()):
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = ["kedro", *request["arguments"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in zip((1, 2), request["outputs"], strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    runpy.run_module("kedro", run_name="__main__", alter_sys=True)
