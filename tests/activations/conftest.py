"""Shared by the tests of extraction and of what is built on it."""

import pytest
import torch

from tests.activations.tiny import tiny_clip


@pytest.fixture(scope="session")
def model():
    """Return a tiny CLIP; no test changes it."""
    torch.set_num_threads(1)
    return tiny_clip()
