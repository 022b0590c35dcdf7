"""Processes that are forked from one that has libraries loaded.

Loading Kedro, MLflow and pandas takes four of the five seconds of a command that ends in a message;
loading PyTorch and Lightning as much. Here the first process pays for it. Each is a process of its
own, with its own folder, environment and output, and may be killed.
"""

import contextlib
import gc
import importlib
import json
import math
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEDRO = (
    "IPython",
    "cv2",
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
"""No `kedro.framework`: when it is loaded it reads the project's logging configuration. And nothing
of the project, which each copy has for itself; nor PyTorch, which data stages do without."""

TRAINING = ("datasets", "cv2", "cannabis_ml.training.train")


class ForkServer:
    """The process with the libraries, started where it is first needed; a context manager.

    Args:
        libraries: Modules that it loads.
    """

    def __init__(self, libraries):
        self._libraries, self._process, self._count = libraries, None, 0
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process:
            self._process.communicate()
        self._folder.cleanup()

    def run(self, command, **options):
        """As `subprocess.run` of `python COMMAND…` with its output captured as text."""
        return self.start(command, **options).wait()

    def start(self, command, cwd=None, env=None):
        """Start `python COMMAND…`: a script, `-m MODULE` or `-c CODE`, and its arguments."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *self._libraries], stdin=subprocess.PIPE, text=True
            )
        self._count += 1
        results = Path(self._folder.name, str(self._count))
        results.mkdir()
        request = {
            "command": [str(part) for part in command],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ) if env is None else env,
            "results": str(results),
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Forked(self._process, request["command"], results)


class Forked:
    """A process that a `ForkServer` started."""

    def __init__(self, server, command, results):
        self._server, self._command, self._results = server, command, results

    def wait(self, timeout=math.inf):
        """Its exit code, that of a signal negative, and what it printed."""
        ended = self._results / "ended"
        until = time.monotonic() + timeout
        while not ended.exists():
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(self._command, timeout)
            self._pause()
        printed = [(self._results / name).read_text("utf-8") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(self._command, int(ended.read_text()), *printed)

    def wait_for(self, line):
        """Until it has printed a line."""
        printed = self._results / "stdout"
        while not printed.exists() or line not in printed.read_text("utf-8").splitlines():
            if (self._results / "ended").exists():
                done = self.wait()
                assert line in done.stdout.splitlines(), done.stdout + done.stderr
            self._pause()

    def first_line(self):
        """The first line that it prints."""
        printed = self._results / "stdout"
        while not (printed.exists() and "\n" in printed.read_text("utf-8")):
            if (self._results / "ended").exists():
                done = self.wait()
                raise AssertionError(f"{self._command} printed nothing: {done.stderr}")
            self._pause()
        return printed.read_text("utf-8").splitlines()[0]

    def send_signal(self, number):
        os.kill(int((self._results / "pid").read_text()), number)

    def _pause(self):
        assert self._server.poll() is None, f"the server ended: {self._server.poll()}"
        time.sleep(0.01)


def _serve(libraries):
    """Give the next request in each process that is to run one, and None when all is done."""
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    base = [path for path in sys.path[1:] if path not in own]
    for name in libraries:
        with contextlib.suppress(ImportError):  # not every extra is installed everywhere
            importlib.import_module(name)
    gc.freeze()  # else the first collection in a child copies all pages
    for line in sys.stdin:
        if not os.fork():
            request = json.loads(line)
            _wait_for_another(Path(request["results"]))
            given = request["env"].get("PYTHONPATH", "").split(os.pathsep)
            sys.path[:] = [*filter(None, given), *base]
            return request
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return None


def _wait_for_another(results):
    """Go on in a child of this process, which itself writes down how that one ended."""
    child = os.fork()
    if child:
        (results / "pid").write_text(str(child))
        _, status = os.waitpid(child, 0)
        (results / "ending").write_text(str(os.waitstatus_to_exitcode(status)))
        (results / "ending").rename(results / "ended")
        os._exit(0)


def _become(request):
    """Take the folder, the environment and the output that the process is to have."""
    for name in ("SIGHUP", "SIGINT", "SIGTERM"):  # where `nohup` or a shell's `&` ignores them
        if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
            usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(getattr(signal, name), usual)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(request["results"], name), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)


if __name__ == "__main__" and (request := _serve(sys.argv[1:])):
    _become(request)
    first, *arguments = request["command"]
    if first == "-m":
        sys.path.insert(0, request["cwd"])
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *arguments[1:]]
        exec(arguments[0], {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(first).parent))
        sys.argv = [first, *arguments]
        runpy.run_path(first, run_name="__main__")
