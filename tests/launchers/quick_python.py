"""A Python interpreter for jobs of tests, that has Kedro, MLflow and PyTorch loaded already.

Starting a training takes ten seconds of a core, most of it for imports. `quick_python()` gives the
path of a program that takes arguments as `python` does. `-m cannabis_ml …` runs in a process
forked from one with the libraries loaded, with folder, variables and output of the program; all
else, such as `-m cannabis_ml.launchers.there`, runs in a Python of its own. Nothing of the project
is loaded before: a job runs the code that was sent. The forked process gets the program's SIGTERM,
and is killed with it.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import importlib.util
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
arguments = sys.argv[1:]
if arguments[:2] != ["-m", "cannabis_ml"]:
    os.execv({python!r}, [{python!r}, *arguments])
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = dict(arguments=arguments, cwd=os.getcwd(), env=dict(os.environ))
socket.send_fds(connection, [b"+"], [0, 1, 2])
connection.sendall(json.dumps(request).encode() + b"\\n")
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: connection.sendall(bytes([number])))
told = b""
while part := connection.recv(16):
    told += part
code = int(told or b"-9")
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if code != -9 else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@functools.cache
def quick_python():
    """The program's path; the process with the libraries ends with this one."""
    folder = tempfile.TemporaryDirectory(prefix="quick")
    address = str(Path(folder.name, "socket"))
    environment = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert server.stdout.readline() == b"listening\n"
    program = Path(folder.name, "python")
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o755)

    def end():
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return str(program)


def serve(address):
    """Fork for every connection, until standard input ends; returns in the forked processes."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("listening", flush=True)  # connections wait for the libraries
    base = sys.path[1:]
    spec = importlib.util.spec_from_file_location(
        "fork_server", Path(__file__).parents[1] / "fork_server.py"
    )
    forks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(forks)
    for name in (*forks.KEDRO, "torch", "torch._dynamo"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            return connection, base
        connection.close()


def become(connection, base):
    """Wait for a child that takes the program's place; return its arguments in that child."""
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as reader:
        request = json.loads(reader.readline())
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        with contextlib.suppress(OSError):
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    given = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [request["cwd"], *filter(None, given), *base]
    threading.Thread(target=obey, args=(connection,), daemon=True).start()
    return request["arguments"][1:]


def obey(connection):
    """Take the program's signals, and end with it."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    module, *arguments = become(*serve(sys.argv[1]))
    sys.argv = [module, *arguments]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    # Those of the server may have been files, and these are pipes.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    runpy.run_module(module, run_name="__main__", alter_sys=True)
