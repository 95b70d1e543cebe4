import signal

import pytest
import torch

from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.training.synthetic import synthetic_pairs

METADATA = {
    "model_name": "tiny",
    "weights_id": "sha256:0123456789abcdef",
    "hook_name_image": "vision.hook_normalized",
    "hook_name_text": "text.hook_normalized",
}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def ctrl_c_is_heard():
    """Undo what `nohup … &` sets: a parent that ignores Ctrl-C has children that ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def pairs():
    return synthetic_pairs()


@pytest.fixture
def make_runner(pairs):
    """Build a runner for a short training on the synthetic pairs."""

    def make(**options):
        defaults = {"d_sae": 48, "k": 6, "training_steps": 40, "train_batch_size_samples": 128}
        cfg = MultimodalSAERunnerConfig(**{**defaults, **options})
        return MultimodalSAETrainingRunner(
            cfg, acts_image=pairs[0], acts_text=pairs[1], metadata=METADATA
        )

    return make
