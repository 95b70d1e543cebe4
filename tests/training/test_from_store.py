"""From a model through a store on disk to an SAE, and back to the model."""

import pytest
import torch

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import check_encoder, load_sae
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.activations.pictures import noise_pairs
from tests.activations.tiny import tiny_clip


def short(**options) -> MultimodalSAERunnerConfig:
    training = {"d_sae": 24, "k": 4, "training_steps": 200, "train_batch_size_samples": 32}
    return MultimodalSAERunnerConfig(**{**training, **options})


@pytest.fixture(scope="module")
def model():
    return tiny_clip()


def extracted(model, path, **options):
    cfg = ExtractConfig(batch_size=16, shard_size=40, num_workers=0, **options)
    return extract(model, noise_pairs(60, captions_each=2), path, cfg, progress=False)


def test_joint_store_to_sae_and_back_into_the_model(model, tmp_path):
    store = extracted(model, tmp_path / "store")
    cfg = short(acts=tmp_path / "store", out=tmp_path / "sae")
    result = MultimodalSAETrainingRunner(cfg).run()
    # Each distinct image once, each caption once.
    assert result.evaluation.n_rows == {"image": 60, "text": 120}
    sae, normalization = load_sae(tmp_path / "sae")
    assert normalization.is_identity
    assert sae.cfg.metadata.store_key == store.manifest.key
    assert sae.cfg.metadata.hook_name_text == "text.hook_normalized"
    check_encoder(sae, store)
    check_encoder(sae, model)
    images, _ = model(images=torch.zeros(2, 3, 16, 16))
    with model.saes(sae):
        spliced, _ = model(images=torch.zeros(2, 3, 16, 16))
    torch.testing.assert_close(spliced, sae(images))
    with pytest.raises(UserError, match="trained on tiny"):
        check_encoder(sae, tiny_clip(seed=1))


def test_tokens_of_one_tower(model, tmp_path):
    hook = "vision.blocks.1.hook_resid_post"
    store = extracted(model, tmp_path / "store", image_hook=hook, text_hook=None, token_mode="all")
    cfg = short(out=tmp_path / "sae")
    result = MultimodalSAETrainingRunner(cfg, store).run()
    n_tokens = store.manifest.n_tokens
    assert n_tokens == 5
    assert result.evaluation.n_rows == {"image": 60 * n_tokens}
    assert result.sae.cfg.d_in == 16
    assert result.sae.cfg.metadata.hook_name == hook
    assert result.sae.cfg.metadata.hook_name_text is None
    with model.saes(result.sae):
        model(images=torch.zeros(1, 3, 16, 16))
