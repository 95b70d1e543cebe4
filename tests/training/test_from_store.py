"""From a model through a store on disk to an SAE, and back to the model."""

from dataclasses import replace

import pytest
import torch

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.commands.mds import MdsCommand
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.saes import check_encoder, load_sae
from mm_sae_plugin.stats import ModalityConfig, ModalityDominance
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


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_a_kept_checkpoint_is_labelled_behind_its_normalisation(model, tmp_path, architecture):
    hooks = {"image_hook": "vision.hook_pooled", "text_hook": "text.hook_pooled"}
    store = extracted(model, tmp_path / "store", **hooks)
    cfg = short(
        out=tmp_path / "sae",
        architecture=architecture,
        normalize="per_modality_center_scale",
        n_checkpoints=1,
    )
    runner = MultimodalSAETrainingRunner(cfg, store)
    runner.run()
    (checkpoint,) = (tmp_path / "sae" / "checkpoints").iterdir()
    # The store is found, although the checkpoint lies deeper than the SAE.
    MdsCommand(checkpoint, settings=ModalityConfig(min_activations=1)).run()
    labels = ModalityDominance.load(checkpoint)
    assert labels.store_key == store.manifest.key
    assert not (tmp_path / "sae/modality.parquet").exists()
    # By hand: the normalisation that the training measured, and the SAE at the checkpoint.
    assert not runner.normalization.is_identity
    sae, _ = load_sae(checkpoint)
    rows = store.image_rows()[store.image_index], store.text_rows()
    for modality, acts in zip(MODALITIES, rows, strict=True):
        fires = (sae.encode(runner.normalization.apply(acts, modality)) > 0).sum(0).double()
        assert torch.equal(labels.statistics.channel(f"fires_{modality}"), fires)
        assert not torch.equal((sae.encode(acts) > 0).sum(0).double(), fires)


def test_a_training_goes_on_from_a_labelled_checkpoint(model, tmp_path):
    store = extracted(model, tmp_path / "store")
    cfg = short(out=tmp_path / "sae", n_checkpoints=1)
    whole = MultimodalSAETrainingRunner(cfg, store).run()
    (checkpoint,) = (tmp_path / "sae" / "checkpoints").iterdir()
    MdsCommand(checkpoint).run()
    # Not even damaged labels keep it from going on.
    (checkpoint / "modality.parquet").write_bytes(b"cut short")
    (tmp_path / "sae/cfg.json").unlink()
    again = MultimodalSAETrainingRunner(replace(cfg, resume=True), store).run()
    assert torch.equal(again.sae.W_dec, whole.sae.W_dec)


def test_a_store_may_be_given_by_its_folder(model, tmp_path):
    store = extracted(model, tmp_path / "store")
    for given in (store.path, str(store.path)):
        runner = MultimodalSAETrainingRunner(short(), given)
        assert isinstance(runner.data.acts_image, torch.Tensor)
        assert torch.equal(runner.data.acts_image, store.image_rows())
