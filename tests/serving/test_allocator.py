"""Memory of one photo is there for the next."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, threading
import numpy as np
from cannabis_ml.serving.allocator import reuse_memory

if sys.argv[1] == "reuse" and not reuse_memory():
    sys.exit("not glibc")

def photos():
    for _ in range(40):
        pixels = [np.ones((1500, 2000, 3), np.uint8), np.ones((1500, 2000), np.uint8)]
        del pixels

thread = threading.Thread(target=photos)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_pixels_are_not_taken_from_the_kernel_for_each_photo():
    def page_faults(how):
        command = [sys.executable, "-c", PROGRAM, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "not glibc" in done.stderr:
            pytest.skip("the C library is not glibc")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert page_faults("reuse") < page_faults("as it is") / 5
