import json
import subprocess
import sys

import pytest
import torch
from sae_lens import SAE, StandardTrainingSAEConfig

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import load_sae
from mm_sae_plugin.saes.normalization import MODALITIES
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner

ARCHITECTURES = (
    *("topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "standard", "gated"),
    *("abstopk", "matching_pursuit", "sparse_topk", "sparse_batchtopk"),
    *("aligned_topk", "group_topk"),
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_learns_and_is_saved(make_runner, tmp_path, architecture):
    start = make_runner(architecture=architecture, training_steps=1, lr=1e-9).run().evaluation
    result = make_runner(architecture=architecture, training_steps=250, out=tmp_path).run()
    for modality in ("image", "text"):
        before, after = start.explained_variance[modality], result.evaluation.explained_variance
        assert after[modality] > max(0.4, before + 0.05), modality
        assert 1 < result.evaluation.l0[modality] < 24, modality
    reloaded = SAE.load_from_disk(tmp_path)
    for name, weights in reloaded.state_dict().items():
        assert torch.equal(weights, result.sae.state_dict()[name]), name


def test_topk_explains_both_modalities_sparsely_without_dead_latents(make_runner):
    evaluation = make_runner(d_sae=64, k=8, lr=4e-3, training_steps=500).run().evaluation
    assert min(evaluation.explained_variance.values()) >= 0.85
    assert max(evaluation.l0.values()) <= 8
    assert evaluation.n_never_firing <= 4


def test_folder_loads_where_the_package_is_never_imported(make_runner, pairs, tmp_path):
    result = make_runner(out=tmp_path / "sae").run()
    acts = torch.cat([side[:64] for side in pairs])
    torch.save({"acts": acts, "expected": result.sae(acts)}, tmp_path / "check.pt")
    program = """
import sys, torch
from sae_lens import SAE
check = torch.load("check.pt")
sae = SAE.load_from_disk("sae")
difference = (sae(check["acts"]) - check["expected"]).abs().max().item()
assert difference <= 1e-5, difference
assert not any(name.startswith("mm_sae_plugin") for name in sys.modules)
print(sae.cfg.metadata.weights_id, sae.cfg.metadata.hook_name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["sha256:0123456789abcdef", "vision.hook_normalized"]


def test_folder_says_where_the_sae_comes_from(make_runner, tmp_path):
    runner = make_runner(out=tmp_path)
    result = runner.run()
    metadata = json.loads((tmp_path / "cfg.json").read_text())["metadata"]
    assert metadata["model_name"] == "tiny"
    assert metadata["hook_name_image"] == "vision.hook_normalized"
    assert metadata["hook_name_text"] == "text.hook_normalized"
    assert metadata["normalization"] == "none"
    assert metadata["store_key"] == runner.data.key
    assert json.loads((tmp_path / "evaluation.json").read_text()) == result.evaluation.to_dict()
    # Nothing half-written stays behind, and the identity needs no file.
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        *("cfg.json", "sae_weights.safetensors", "sparsity.safetensors"),
        *("runner_cfg.json", "evaluation.json", "checksums.json"),
    }


def test_seed_decides_the_weights_and_global_randomness_is_left_alone(make_runner):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = make_runner(seed=3).run().sae.W_dec
    assert torch.equal(torch.rand(1), expected)
    torch.manual_seed(99)
    assert torch.equal(make_runner(seed=3).run().sae.W_dec, first)
    assert not torch.equal(make_runner(seed=4).run().sae.W_dec, first)


def test_one_tower_trains_on_tokens(pairs):
    cfg = MultimodalSAERunnerConfig(d_sae=48, k=6, training_steps=300, train_batch_size_samples=130)
    metadata = {"hook_name_image": "vision.blocks.1.hook_resid_post"}
    runner = MultimodalSAETrainingRunner(cfg, acts_image=pairs[0], metadata=metadata)
    batch = next(runner.data.provider(130, 0))
    assert batch.shape == (130, pairs[0].shape[1])
    result = runner.run()
    assert set(result.evaluation.explained_variance) == {"image"}
    assert result.evaluation.explained_variance["image"] > 0.6
    assert result.sae.cfg.metadata.hook_name == "vision.blocks.1.hook_resid_post"


@pytest.mark.parametrize("architecture", ["aligned_topk", "group_topk"])
def test_one_tower_has_no_pairs(pairs, architecture):
    cfg = MultimodalSAERunnerConfig(architecture=architecture, d_sae=48, k=6)
    with pytest.raises(UserError, match=f"{architecture} compares .* of one tower alone"):
        MultimodalSAETrainingRunner(cfg, acts_text=pairs[1])


@pytest.mark.parametrize("architecture", ["aligned_topk", "group_topk"])
def test_autocast_trains_on_pairs_and_their_weight_can_be_chosen(make_runner, architecture):
    strong = {"architecture": architecture, "pair_coefficient": 1.0, "training_steps": 200}
    plain = make_runner(**{**strong, "pair_coefficient": 0.0}).run()
    for autocast in (False, True):
        result = make_runner(**strong, autocast=autocast).run()
        assert all(bool(weights.isfinite().all()) for weights in result.sae.parameters())
        details = result.sae.cfg.metadata.training_architecture_details
        assert details["pair_coefficient"] > 0 and details["pair_warm_up_steps"] == 10
        assert result.evaluation.explained_variance != plain.evaluation.explained_variance


def test_a_ready_sae_config_is_used(make_runner, pairs):
    sae_cfg = StandardTrainingSAEConfig(d_in=pairs[0].shape[1], d_sae=20, l1_coefficient=0.02)
    result = make_runner(sae=sae_cfg).run()
    assert result.sae.cfg.architecture() == "standard"
    assert result.sae.cfg.d_sae == 20


def test_sae_lens_own_normalisation_is_folded(make_runner, pairs):
    sae_cfg = StandardTrainingSAEConfig(
        d_in=pairs[0].shape[1],
        d_sae=48,
        l1_coefficient=0.1,
        normalize_activations="expected_average_only_in",
    )
    result = make_runner(sae=sae_cfg, training_steps=400).run()
    assert result.sae.cfg.normalize_activations == "none"
    assert min(result.evaluation.explained_variance.values()) > 0.6


def test_normalisation_is_measured_saved_and_reused(pairs, tmp_path):
    acts_image, acts_text = 7 * pairs[0] + 3, pairs[1]
    cfg = MultimodalSAERunnerConfig(
        d_sae=48,
        k=6,
        training_steps=400,
        train_batch_size_samples=128,
        out=tmp_path,
        normalize="per_modality_center_scale",
    )
    runner = MultimodalSAETrainingRunner(cfg, acts_image=acts_image, acts_text=acts_text)
    result = runner.run()
    assert min(result.evaluation.explained_variance.values()) > 0.6
    sae, normalization = load_sae(tmp_path)
    for modality, acts in zip(MODALITIES, (acts_image, acts_text), strict=True):
        normalized = normalization.apply(acts, modality)
        assert normalized.mean(dim=0).abs().max() < 1e-4
        assert normalized.norm(dim=1).mean().item() == pytest.approx(32**0.5, rel=1e-4)
        recons = normalization.undo(sae(normalized), modality)
        error = (recons - acts).square().sum() / (acts - acts.mean(dim=0)).square().sum()
        expected = 1 - result.evaluation.explained_variance[modality]
        assert error.item() == pytest.approx(expected, rel=1e-3)


def test_an_existing_sae_is_not_overwritten_by_accident(make_runner, tmp_path):
    make_runner(out=tmp_path).run()
    before = (tmp_path / "sae_weights.safetensors").read_bytes()
    (tmp_path / "modality.parquet").touch()
    with pytest.raises(UserError, match="already holds a trained SAE"):
        make_runner(out=tmp_path, seed=1)
    assert (tmp_path / "sae_weights.safetensors").read_bytes() == before
    make_runner(out=tmp_path, seed=1, overwrite=True).run()
    assert (tmp_path / "sae_weights.safetensors").read_bytes() != before
    assert not (tmp_path / "modality.parquet").exists()


def test_a_full_disk_is_told_in_one_line(make_runner, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    runner = make_runner(out=tmp_path)
    monkeypatch.setattr(type(runner.sae), "save_inference_model", no_space)
    with pytest.raises(UserError, match="The disk is full"):
        runner.run()
    assert not (tmp_path / "cfg.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "topkk"}, "Unknown architecture 'topkk'.*batchtopk"),
        ({"k": 49}, "k = 49 must lie between 1 and d_sae = 48"),
        ({"normalize": "scale"}, "Unknown normalisation 'scale'"),
        ({"train_batch_size_samples": 7}, "must be even"),
        ({"lr_warm_up_steps": 30, "lr_decay_steps": 30}, "more than the 40 steps"),
        ({"training_pairs": 100}, "not both"),
        ({"pair_coefficient": 0.1}, "'topk' has no loss on pairs"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"n_checkpoints": 2}, "Checkpoints need a place"),
    ],
)
def test_wrong_options_are_told_in_one_line(make_runner, options, message):
    with pytest.raises(UserError, match=message):
        make_runner(**options).run()


def test_activations_that_are_not_finite_are_refused(pairs):
    spoilt = pairs[0].clone()
    spoilt[5, 3] = float("nan")
    with pytest.raises(UserError, match="image activations hold NaN"):
        MultimodalSAETrainingRunner(
            MultimodalSAERunnerConfig(), acts_image=spoilt, acts_text=pairs[1]
        )
