"""Every kept checkpoint opens as the SAE that SAELens' trainer would have saved there."""

import copy
import json
import pickle

import pytest
import torch
from sae_lens import SAE, StandardTrainingSAEConfig

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.saes import load_sae
from mm_sae_plugin.training import checkpoints
from mm_sae_plugin.training.trainer import WatchedTrainer

ARCHITECTURES = (
    *("topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "standard", "gated"),
    *("abstopk", "matching_pursuit", "sparse_topk", "sparse_batchtopk"),
    *("aligned_topk", "group_topk"),
)
OF_SAE_LENS = ("expected_average_only_in", "covariance_whitening")


@pytest.fixture
def saved_by_sae_lens(monkeypatch, tmp_path):
    """Let SAELens write the inference SAE wherever a checkpoint is taken, and return the folder."""
    folder = tmp_path / "expected"
    save = WatchedTrainer.save_checkpoint

    def save_both(self, checkpoint_name, *rest):
        sae, scaler = copy.deepcopy(self.sae), self.activation_scaler
        if scaler.scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening is not None:
            whitening = scaler.whitening
            sae.fold_activation_whitening(
                whitening.mean, whitening.matrix, whitening.inverse_matrix
            )
        sae.save_inference_model(folder)
        save(self, checkpoint_name, *rest)

    monkeypatch.setattr(WatchedTrainer, "save_checkpoint", save_both)
    return folder


def assert_opens_as(checkpoint, folder, pairs):
    expected = SAE.load_from_disk(folder)
    sae, normalization = load_sae(checkpoint)
    assert type(sae) is type(expected)
    assert sae.cfg.to_dict() == expected.cfg.to_dict()
    for name, weights in expected.state_dict().items():
        assert torch.equal(sae.state_dict()[name], weights), name
    assert not any(p.requires_grad for p in sae.parameters())
    return sae, normalization


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_of_every_architecture(make_runner, tmp_path, pairs, saved_by_sae_lens, architecture):
    runner = make_runner(
        architecture=architecture,
        n_checkpoints=1,
        out=tmp_path / "sae",
        normalize="per_modality_scale",
    )
    runner.run()
    (checkpoint,) = (tmp_path / "sae" / "checkpoints").iterdir()
    sae, normalization = assert_opens_as(checkpoint, saved_by_sae_lens, pairs)
    assert torch.equal(normalization.scale, runner.normalization.scale)
    if architecture != "abstopk":
        assert bool((SAEFeatureMap(sae, normalization).encode(pairs[0], "image") >= 0).all())


@pytest.mark.parametrize("normalize_activations", OF_SAE_LENS)
def test_with_the_trainers_own_normalisation(
    make_runner, tmp_path, pairs, saved_by_sae_lens, normalize_activations
):
    cfg = StandardTrainingSAEConfig(
        d_in=32, d_sae=48, l1_coefficient=0.1, normalize_activations=normalize_activations
    )
    make_runner(sae=cfg, n_checkpoints=1, training_steps=200, out=tmp_path / "sae").run()
    (checkpoint,) = (tmp_path / "sae" / "checkpoints").iterdir()
    sae, _ = assert_opens_as(checkpoint, saved_by_sae_lens, pairs)
    assert sae.cfg.normalize_activations == "none"
    acts = pairs[1]
    error = (sae(acts) - acts).square().sum() / (acts - acts.mean(0)).square().sum()
    assert error < 0.6
    (checkpoint / "activation_scaler.json").unlink()
    (checkpoint / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"activation_scaler\.json is missing"):
        load_sae(checkpoint)


def test_as_sae_lens_or_an_earlier_version_wrote_it(make_runner, tmp_path):
    make_runner(architecture="batchtopk", n_checkpoints=1, out=tmp_path).run()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (checkpoint / "checksums.json").unlink()
    (checkpoint / "multimodal_state.json").unlink()
    assert load_sae(checkpoint)[0].cfg.architecture() == "jumprelu"


def test_a_flipped_byte_is_named(make_runner, tmp_path):
    make_runner(n_checkpoints=1, out=tmp_path).run()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    for folder in (tmp_path, checkpoint):
        path = folder / "sae_weights.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError, match=rf"{path} is not as it was written"):
            load_sae(folder)
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(UserError, match=r"sae_weights\.safetensors is not as it was written"):
        make_runner(out=tmp_path, resume=True).run()


def test_a_pickle_is_refused_without_advice(make_runner, tmp_path):
    make_runner(n_checkpoints=1, out=tmp_path).run()
    (tmp_path / "cfg.json").unlink()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (checkpoint / "checksums.json").unlink()
    spoilt = checkpoint / "trainer_state.pt"
    spoilt.write_bytes(pickle.dumps(pytest.approx(1)))
    with pytest.raises(UserError) as told:
        make_runner(out=tmp_path, resume=True).run()
    assert "weights_only" not in str(told.value) and "\n" not in str(told.value)
    assert "it is a pickle of something else" in str(told.value)
    weights = checkpoint / "sae_weights.safetensors"
    weights.write_bytes(pickle.dumps(pytest.approx(1)))
    with pytest.raises(UserError, match="cannot be read") as told:
        load_sae(checkpoint)
    assert "weights_only" not in str(told.value) and "\n" not in str(told.value)


def test_every_row_counts_when_a_training_is_resumed(make_runner, tmp_path, pairs, caplog):
    runner = make_runner(n_checkpoints=1, out=tmp_path)
    runner.run()
    (tmp_path / "cfg.json").unlink()
    # Same sum, same rows at both ends.
    changed = pairs[0].clone()
    changed[[500, 501]] = changed[[501, 500]]
    other = type(runner)(
        runner.cfg.__class__(**{**vars(runner.cfg), "resume": True}),
        acts_image=changed,
        acts_text=pairs[1],
    )
    with pytest.raises(UserError, match="was made with activations = rows:"):
        other.run()
    # A checkpoint of an earlier version knows no better.
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    path = checkpoint / checkpoints.STATE_FILENAME
    path.write_text(path.read_text().replace(runner.data.key, runner.data.older_key))
    make_runner(n_checkpoints=1, out=tmp_path, resume=True).run()
    assert "by an earlier version" in caplog.text


def test_an_unreadable_state_is_named(make_runner, tmp_path):
    make_runner(n_checkpoints=1, out=tmp_path).run()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    (checkpoint / checkpoints.STATE_FILENAME).write_text("{")
    (tmp_path / "cfg.json").unlink()
    with pytest.raises(UserError, match=rf"{checkpoint.name} cannot be read"):
        make_runner(out=tmp_path, resume=True).run()


def test_labels_of_a_checkpoint_leave_it_sound(make_runner, tmp_path):
    make_runner(n_checkpoints=1, out=tmp_path).run()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    path = checkpoint / "cfg.json"
    content = json.loads(path.read_text())
    content["metadata"]["modality"] = {"rule": "interval"}
    path.write_text(json.dumps(content))
    assert load_sae(checkpoint)[0].cfg.metadata.modality == {"rule": "interval"}
