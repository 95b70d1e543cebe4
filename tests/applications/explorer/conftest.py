"""A small labelled SAE on the embedded model, opened in the explorer."""

import pytest

from mm_sae_plugin import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    Study,
    extract,
    load_model,
    load_pairs,
)
from mm_sae_plugin.applications.explorer import Explorer


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Store and labelled SAE."""
    folder = tmp_path_factory.mktemp("explorer")
    model = load_model("factorworld")
    store = extract(model, load_pairs("factorworld:2500"), folder / "acts", progress=False)
    cfg = MultimodalSAERunnerConfig(out=folder / "sae", d_sae=192, k=12, training_steps=500)
    MultimodalSAETrainingRunner(cfg, store).run()
    Study.open(folder / "sae", store, model).label()
    return folder


@pytest.fixture(scope="session")
def study(folder) -> Study:
    return Study.open(folder / "sae")


@pytest.fixture(scope="session")
def explorer(study) -> Explorer:
    return Explorer.open(study)
