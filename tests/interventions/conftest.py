"""A small labelled SAE on the embedded model."""

import pytest

from mm_sae_plugin import Study
from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.stats import ModalityConfig
from tests.labelled import labelled_sae


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("interventions")
    cfg = ModalityConfig(rule="paper")
    return Study.open(labelled_sae(folder, 1500, cfg, d_sae=192, k=12, training_steps=400))


@pytest.fixture(scope="session")
def projected(tmp_path_factory) -> Study:
    """One at the joint space before it is normalised, where vectors are several units long."""
    folder = tmp_path_factory.mktemp("projected")
    sites = ExtractConfig(image_hook="vision.hook_proj", text_hook="text.hook_proj")
    return Study.open(labelled_sae(folder, 600, sites=sites, d_sae=96, k=8, training_steps=150))
