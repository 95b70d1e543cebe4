"""A small labelled SAE on the embedded model, opened in the explorer."""

import pytest

from mm_sae_plugin import Study
from mm_sae_plugin.applications.explorer import Explorer
from tests.labelled import labelled_sae


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Store and labelled SAE."""
    folder = tmp_path_factory.mktemp("explorer")
    labelled_sae(folder, 2500, d_sae=192, k=12, training_steps=500)
    return folder


@pytest.fixture(scope="session")
def study(folder) -> Study:
    return Study.open(folder / "sae")


@pytest.fixture(scope="session")
def explorer(study) -> Explorer:
    return Explorer.open(study)
