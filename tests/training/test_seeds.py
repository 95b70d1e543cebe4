"""Several seeds side by side: each SAE is the one that its seed gives by itself."""

from dataclasses import replace

import pytest
import torch
import wandb
from sae_lens import SAE, LoggingConfig, StandardTrainingSAEConfig

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import load_sae
from mm_sae_plugin.training import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    train_seeds,
)
from mm_sae_plugin.training.as_trained import config_as_trained, varied
from mm_sae_plugin.training.trainer import STEPS_PER_CHECK, WatchedTrainer
from tests.training.conftest import METADATA

ARCHITECTURES = (
    *("topk", "batchtopk", "matryoshka_batchtopk", "jumprelu", "standard", "gated"),
    *("matching_pursuit", "sparse_topk", "sparse_batchtopk"),
)


def short(**options) -> MultimodalSAERunnerConfig:
    training = {"d_sae": 48, "k": 6, "training_steps": 40, "train_batch_size_samples": 128}
    return MultimodalSAERunnerConfig(**{**training, **options})


def together(cfg, seeds, pairs):
    return train_seeds(cfg, seeds, acts_image=pairs[0], acts_text=pairs[1], metadata=METADATA)


def alone(cfg, pairs) -> SAE:
    runner = MultimodalSAETrainingRunner(
        cfg, acts_image=pairs[0], acts_text=pairs[1], metadata=METADATA
    )
    return runner.run().sae


def assert_same(sae: SAE, expected: SAE) -> None:
    assert sae.cfg.to_dict() == expected.cfg.to_dict()
    weights = expected.state_dict()
    assert sae.state_dict().keys() == weights.keys()
    for name, value in sae.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_is_bit_for_bit_what_its_seed_gives_alone(pairs, architecture):
    cfg = short(architecture=architecture)
    trained = together(cfg, (3, 8), pairs)
    assert list(trained) == [3, 8]
    for seed, result in trained.items():
        assert_same(result.sae, alone(replace(cfg, seed=seed), pairs))
        assert not result.sae.training and not result.sae.W_dec.requires_grad
    assert not torch.equal(trained[3].sae.W_dec, trained[8].sae.W_dec)


@pytest.mark.parametrize(
    "options",
    [
        {"normalize": "per_modality_center_scale"},
        {"lr_scheduler_name": "cosineannealing", "lr_end": 1e-5, "dead_feature_window": 12},
        {
            "sae": StandardTrainingSAEConfig(
                d_in=32,
                d_sae=20,
                l1_coefficient=0.1,
                normalize_activations="expected_average_only_in",
            )
        },
    ],
)
def test_whatever_the_config_says_holds_for_all(pairs, options):
    cfg = short(**options)
    moved = 7 * pairs[0] + 3, pairs[1]
    for seed, result in together(cfg, (0, 5), moved).items():
        expected = MultimodalSAETrainingRunner(
            replace(cfg, seed=seed), acts_image=moved[0], acts_text=moved[1], metadata=METADATA
        ).run()
        assert_same(result.sae, expected.sae)
        assert result.normalization.method == expected.normalization.method
        assert torch.equal(result.normalization.mean, expected.normalization.mean)
        assert result.evaluation == expected.evaluation


def test_global_randomness_is_left_alone(pairs):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    together(short(), (0, 1), pairs)
    assert torch.equal(torch.rand(1), expected)


def test_each_is_saved_in_a_folder_of_its_own(pairs, tmp_path):
    cfg = short(out=tmp_path / "seeds", normalize="per_modality_scale")
    trained = together(cfg, (0, 1), pairs)
    for seed, result in trained.items():
        folder = tmp_path / "seeds" / f"seed_{seed}"
        assert result.path == folder
        sae, normalization = load_sae(folder)
        assert torch.equal(sae.W_dec, result.sae.W_dec)
        assert normalization.method == "per_modality_scale"
        assert config_as_trained(folder).seed == seed
        assert (folder / "evaluation.json").is_file()
    with pytest.raises(UserError, match="seed_1 already holds a trained SAE"):
        together(cfg, (1, 2), pairs)
    assert not (tmp_path / "seeds" / "seed_2").exists()
    together(replace(cfg, overwrite=True, training_steps=20), (1,), pairs)
    assert not torch.equal(load_sae(tmp_path / "seeds" / "seed_1")[0].W_dec, trained[1].sae.W_dec)


@pytest.mark.parametrize("architecture", ["topk", "sparse_topk"])
def test_one_that_diverges_stops_all_and_saves_nothing(pairs, tmp_path, architecture):
    cfg = short(architecture=architecture, lr=1e6, training_steps=1000, out=tmp_path / "seeds")
    with pytest.raises(UserError, match=r"has diverged: .* of 1000.*lower the learning rate"):
        together(cfg, (0, 1), pairs)
    assert not list(tmp_path.glob("seeds/*/*"))


def test_all_are_looked_at_while_they_train_and_at_the_end(pairs, monkeypatch):
    checked, check = [], WatchedTrainer.check

    def counting(self):
        checked.append(self.n_training_steps)
        check(self)

    monkeypatch.setattr(WatchedTrainer, "check", counting)
    together(short(training_steps=130), (0, 1), pairs)
    assert checked == [STEPS_PER_CHECK - 1] * 2 + [130] * 2


def test_losses_of_all_are_logged_and_the_run_is_closed(pairs, monkeypatch):
    names, closed = set(), []
    monkeypatch.setattr(wandb, "init", lambda **_: None)
    monkeypatch.setattr(wandb, "log", lambda values, step: names.update(values))
    monkeypatch.setattr(wandb, "finish", lambda exit_code=0: closed.append(exit_code))
    logger = LoggingConfig(log_to_wandb=True, wandb_log_frequency=5, eval_every_n_wandb_logs=2)
    trained = together(short(logger=logger), (0, 1), pairs)
    assert {"seed_0/losses/overall_loss", "seed_1/losses/overall_loss"} <= names
    assert closed == [0]
    assert_same(trained[1].sae, alone(short(seed=1), pairs))


@pytest.mark.parametrize(
    ("options", "seeds", "message"),
    [
        ({}, (), "at least one seed"),
        ({}, (1, 2, 1), r"each once: not \[1, 2, 1\]"),
        ({"resume": True}, (1,), "keep no checkpoints"),
        ({"architecture": "gated", "dtype": "bfloat16"}, (1,), "gated cannot be trained in bfloat"),
        ({"train_batch_size_samples": 7}, (1,), "must be even"),
    ],
)
def test_wrong_options_are_told_in_one_line(pairs, options, seeds, message):
    with pytest.raises(UserError, match=message):
        together(short(**options), seeds, pairs)


@pytest.mark.parametrize("architecture", ["batchtopk", "jumprelu", "matryoshka_batchtopk", "ready"])
def test_a_folder_says_how_to_train_its_sae_again(pairs, tmp_path, architecture):
    options = {"lr": 2e-3, "adam_beta2": 0.98, "seed": 4, "normalize": "per_modality_scale"}
    if architecture == "ready":
        options["sae"] = StandardTrainingSAEConfig(d_in=32, d_sae=20, l1_coefficient=0.02)
    else:
        options["architecture"] = architecture
    cfg = short(out=tmp_path / "sae", **options)
    first = alone(cfg, pairs)
    again = config_as_trained(tmp_path / "sae")
    assert again.out is None and again.training_steps == 40 and again.seed == 4
    second = alone(again, pairs)
    for name, weights in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], weights), name
    larger = varied(again, d_sae=96, k=5)
    assert alone(larger, pairs).cfg.d_sae == 96


def test_a_folder_that_does_not_say_how_is_told(pairs, tmp_path):
    alone(short(out=tmp_path / "sae"), pairs)
    path = tmp_path / "sae" / "runner_cfg.json"
    path.write_text(path.read_text().replace('"n_steps"', '"n_stops"'))
    (tmp_path / "sae" / "checksums.json").unlink()
    with pytest.raises(UserError, match=r"runner_cfg\.json cannot be read"):
        config_as_trained(tmp_path / "sae")
    path.unlink()
    with pytest.raises(UserError, match=r"does not say how its SAE was trained.*training="):
        config_as_trained(tmp_path / "sae")
