"""A small labelled SAE on the embedded model."""

import pytest

from mm_sae_plugin import Study
from mm_sae_plugin.stats import ModalityConfig
from tests.labelled import labelled_sae


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("steering")
    cfg = ModalityConfig(rule="paper")
    return Study.open(labelled_sae(folder, 800, cfg, d_sae=128, k=10, training_steps=200))
