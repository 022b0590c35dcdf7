"""The function that Modal calls in its container, where this file is without the package."""

import os
import signal
import subprocess


def run() -> int:
    """Run the job's start command; its exit code.

    Modal interrupts by an exception where it takes the machine away (KeyboardInterrupt) or the call
    is cancelled (InputCancellation): the command is then told to end, and writes what it has. Its
    output is printed here, as Modal counts only that as output of the call.

    Raises:
        RuntimeError: The command was killed, such as for memory: Modal tries again.
    """
    child = subprocess.Popen(
        ["sh", "-c", os.environ["CANNABIS_ML_START"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # an interrupt is for this process alone
    )
    try:
        code = _print_until_ended(child)
    except BaseException:
        child.send_signal(signal.SIGTERM)
        _print_until_ended(child)
        raise
    if code < 0 or code > 128:
        raise RuntimeError(f"the job was ended by signal {-code if code < 0 else code - 128}")
    return code


def _print_until_ended(child: "subprocess.Popen[str]") -> int:
    for line in child.stdout or ():
        print(line, end="", flush=True)
    return child.wait()
