"""Memory of one photo is there for the next."""

import subprocess
import sys

import pytest

PROGRAM = """
import io, resource, sys, threading
import numpy as np
from PIL import Image
from cannabis_ml.photos.decode import decode
from cannabis_ml.photos.resize import center_crop_resize
from cannabis_ml._io.allocator import reuse_memory

if sys.argv[1] == "reuse" and not reuse_memory():
    sys.exit("not glibc")

file = io.BytesIO()
noise = np.random.default_rng(0).integers(90, 130, (3000, 4000, 3), dtype=np.uint8)
Image.fromarray(noise).save(file, "JPEG")
data = file.getvalue()

def photos(count):
    for _ in range(count):
        body = bytes(bytearray(data))  # each request has its own
        center_crop_resize(decode(body, reduce_to=1280), 160)

def later():
    photos(3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    photos(10)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=later)
thread.start()
thread.join()
"""


STEPS = """
import resource, sys
from contextlib import nullcontext
from pathlib import Path
import numpy as np
from cannabis_ml._io.allocator import keeping_memory

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20

def step():
    forward = [np.ones((40 + k) << 17) for k in range(4)]  # each over the largest that glibc keeps
    return sum(map(len, forward))

before = megabytes()
with keeping_memory() if sys.argv[1] == "keep" else nullcontext():
    step()
    faults = page_faults()
    for _ in range(5):
        step()
    faults = page_faults() - faults
print(faults, megabytes() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_step_finds_the_memory_of_the_last_which_is_given_back_at_the_end():
    def measured(how):
        command = [sys.executable, "-c", STEPS, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return map(int, done.stdout.split())

    kept, left = measured("keep")
    before, _ = measured("as it is")
    assert kept < before / 5, (kept, before)
    assert left < 40, left


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_pixels_are_not_taken_from_the_kernel_for_each_photo():
    def page_faults(how):
        command = [sys.executable, "-c", PROGRAM, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "not glibc" in done.stderr:
            pytest.skip("the C library is not glibc")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    reused, before = page_faults("reuse"), page_faults("as it is")
    assert reused < before / 5, (reused, before)
