"""Boots ComfyUI once, before any test module is imported: they import the pack as `pack` and their models from here."""

import sys
from pathlib import Path

import host
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
_pack = host.boot()


@pytest.fixture(scope="session")
def pack():
    return _pack


@pytest.fixture(autouse=True)
def as_the_server_runs_nodes():
    with torch.inference_mode():
        yield
