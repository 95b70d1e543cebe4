"""A small labelled SAE on the embedded model."""

import pytest

from mm_sae_plugin import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    Study,
    extract,
    load_model,
    load_pairs,
)
from mm_sae_plugin.stats import ModalityConfig


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("interventions")
    model = load_model("factorworld")
    store = extract(model, load_pairs("factorworld:1500"), folder / "acts", progress=False)
    cfg = MultimodalSAERunnerConfig(out=folder / "sae", d_sae=192, k=12, training_steps=400)
    MultimodalSAETrainingRunner(cfg, store).run()
    study = Study.open(folder / "sae", store, model)
    study.label(ModalityConfig(rule="paper"))
    return study
