"""Each case in a fresh interpreter: what is imported once cannot be undone."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchvision_imports_whatever_pytorch_is_beside_it():
    code = """
from cannabis_ml.networks.compat import ready_torchvision
first = ready_torchvision()
assert ready_torchvision() == first
import torchvision, timm
assert ready_torchvision() == first
print("fine")
"""
    assert "fine" in run(code)


def test_operators_of_a_whole_install_are_left_alone():
    code = """
import torch
torch.ops.load_library = lambda path: None
from cannabis_ml.networks import compat
assert not compat.ready_torchvision()
assert not compat._declared
"""
    run(code)


@pytest.mark.parametrize("module", ["networks.params", "evaluation.metrics", "networks.compat"])
def test_light_modules_import_no_torch(module: str):
    run(f"import sys, cannabis_ml.{module}; assert 'torch' not in sys.modules")


def test_checkpoint_type_imports_no_torch():
    rooms = "cannabis_ml.datasets.checkpoint, cannabis_ml.networks.checkpoint"
    run(f"import sys, {rooms}; assert 'torch' not in sys.modules")
