"""A small photo set in which colour tells the class, and a network that is small enough to test."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import datasets
import pytest
import torch

from cannabis_ml.taxonomy import Taxonomy

BACKBONE = "test_efficientnet"

_spec = importlib.util.spec_from_file_location("loop", Path(__file__).with_name("loop.py"))
loop = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loop)

SIDE = loop.SIDE


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    """One head of each kind."""
    return loop.TAXONOMY


@pytest.fixture(scope="session")
def photo_set() -> datasets.Dataset:
    """24 training and 8 validation photos; every fifth lacks a label of some head."""
    return loop.draw_photo_set()


@pytest.fixture(scope="session")
def complete_photo_set() -> datasets.Dataset:
    """The same photos with every label known."""
    return loop.draw_photo_set(complete=True)


@pytest.fixture(scope="session")
def backbone_file(tmp_path_factory) -> Path:
    """Weights of a backbone that counts as pretrained."""
    from cannabis_ml.models.weights import create_backbone

    path = tmp_path_factory.mktemp("weights") / "start.pth"
    torch.manual_seed(5)
    torch.save(create_backbone(BACKBONE, 32).state_dict(), path)
    return path
