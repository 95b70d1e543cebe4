"""A tiny CLIP with a labelled SAE, and tiny pipelines around the same CLIP."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mm_sae_plugin import Study
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.stats import ModalityConfig
from tests.interventions.pipelines.parts import save_clip
from tests.interventions.pipelines.tiny import CASES, Case
from tests.labelled import labelled_sae


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two OpenMP threads on a busy small machine can be 50 times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def study(tmp_path_factory, clip_folder) -> Study:
    """An SAE of the tiny CLIP, through the package's own steps."""
    folder = tmp_path_factory.mktemp("pipelines")
    cfg = ModalityConfig(rule="paper")
    return Study.open(
        labelled_sae(
            folder,
            400,
            cfg,
            model_name=f"hf:{clip_folder}",
            d_sae=64,
            k=8,
            training_steps=100,
            train_batch_size_samples=128,
        )
    )


@pytest.fixture(scope="session")
def edit(study) -> FeatureEdit:
    stats = study.labels.statistics
    fires = stats.channel("fires_image") + stats.channel("fires_text")
    return FeatureEdit.set(study, 3.0, latents=fires.topk(6).indices.tolist())


_built: dict[str, Any] = {}


@pytest.fixture(params=list(CASES))
def case(request) -> Case:
    """Each supported class in turn."""
    return CASES[request.param]


@pytest.fixture
def pipeline(request, case, clip_folder) -> Any:
    """A tiny pipeline of the class, built once."""
    name = request.node.callspec.params["case"]
    if name not in _built:
        _built[name] = case.build(clip_folder)
    return _built[name]
