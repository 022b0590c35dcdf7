"""The function that Modal calls in its container, where this file is without the package."""

import os
import signal
import subprocess


def run() -> int:
    """Run the job's start command; its exit code.

    Modal interrupts by an exception where it takes the machine away (KeyboardInterrupt) or the call
    is cancelled (InputCancellation): the command is then told to end, and writes what it has.

    Raises:
        RuntimeError: The command was killed, such as for memory: Modal tries again.
    """
    child = subprocess.Popen(["sh", "-c", os.environ["CANNABIS_ML_START"]])
    try:
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    if code < 0 or code > 128:
        raise RuntimeError(f"the job was ended by signal {-code if code < 0 else code - 128}")
    return code
