"""Functions that workers of a cluster can import."""

import os
import time


def squared(n):
    return n * n


def squared_slowly(n):
    time.sleep(0.01)
    return n * n


class OddError(Exception):
    """An error whose constructor takes other arguments than it keeps."""

    def __init__(self, number, why):
        super().__init__(f"{number}: {why}")


def fail_at_seven(n):
    if n == 7:
        raise KeyError("seven")
    return n


def fail_oddly(n):
    raise OddError(n, "odd")


def end_the_worker(n):
    os._exit(1)


def process_of(n):
    time.sleep(0.01)
    return os.getpid()
