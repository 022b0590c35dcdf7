"""What Modal runs in a container: imports the function's file, calls it, and keeps the outcome.

    python modal_container.py MODULE.py FUNCTION OUTCOME.json

A cancelled call gets an exception in its main thread (here by SIGUSR1), a machine that is taken
away KeyboardInterrupt (by SIGINT).
"""

import importlib.util
import json
import signal
import sys
from pathlib import Path


class InputCancellation(BaseException):
    """As `modal.exception.InputCancellation`, which loads too much for tests."""


def cancel(*_):
    raise InputCancellation


def main(module, function, outcome):
    signal.signal(signal.SIGUSR1, cancel)
    spec = importlib.util.spec_from_file_location(Path(module).stem, module)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    try:
        told = {"value": getattr(loaded, function)()}
    except InputCancellation:
        told = {"cancelled": True}
    except Exception as error:
        told = {"error": f"{type(error).__name__}: {error}"}
    Path(outcome).write_text(json.dumps(told))
    return 0 if "value" in told else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
