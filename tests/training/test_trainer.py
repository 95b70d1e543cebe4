from dataclasses import replace

import pytest
import torch
from sae_lens.training.sae_trainer import SAETrainer

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from mm_sae_plugin.training.trainer import STEPS_PER_CHECK, WatchedTrainer

ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "standard", "gated", "sparse_topk")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_that_diverges_stops_and_saves_nothing(make_runner, tmp_path, architecture):
    runner = make_runner(
        architecture=architecture, lr=1e6, training_steps=1000, out=tmp_path / "sae"
    )
    with pytest.raises(UserError, match=r"has diverged: .* of 1000.*lower the learning rate"):
        runner.run()
    assert not (tmp_path / "sae").exists()


def test_half_precision_is_told_to_be_the_reason(make_runner, tmp_path):
    with pytest.raises(UserError, match=r"NaN or infinite from step \d+ of 40.*float32"):
        make_runner(dtype="float16", out=tmp_path / "sae").run()
    assert not (tmp_path / "sae").exists()


def test_what_was_sound_is_kept(make_runner, tmp_path, monkeypatch):
    step = WatchedTrainer.step

    def spoilt_at_the_end(self, batch):
        if self.n_training_steps == 30:
            with torch.no_grad():
                self.sae.b_dec[3] = torch.nan
        return step(self, batch)

    monkeypatch.setattr(WatchedTrainer, "step", spoilt_at_the_end)
    with pytest.raises(UserError, match="NaN or infinite from step 31 of 40"):
        make_runner(out=tmp_path, n_checkpoints=3).run()
    assert not (tmp_path / "cfg.json").exists()
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    # At step 31 a third was due, and refused.
    assert sorted(kept) == ["1408", "2688"]


def test_it_stops_soon_and_looks_seldom(make_runner, monkeypatch):
    checks, steps = [], []
    check, step = WatchedTrainer.check, WatchedTrainer.step

    def counting_check(self):
        checks.append(len(steps))
        check(self)

    def counting_step(self, batch):
        steps.append(1)
        return step(self, batch)

    monkeypatch.setattr(WatchedTrainer, "check", counting_check)
    monkeypatch.setattr(WatchedTrainer, "step", counting_step)
    make_runner(training_steps=250).run()
    assert checks == [STEPS_PER_CHECK, 2 * STEPS_PER_CHECK, 250]
    checks.clear(), steps.clear()  # pyright: ignore[reportUnusedExpression]
    with pytest.raises(UserError, match="has diverged"):
        make_runner(training_steps=250, dtype="float16").run()
    assert checks == [STEPS_PER_CHECK]


def test_the_watched_trainer_takes_sae_lens_steps(make_runner):
    runners = make_runner(), make_runner()
    for runner, kind in zip(runners, (SAETrainer, WatchedTrainer), strict=True):
        kind(
            cfg=runner.trainer_config(),
            sae=runner.sae,
            data_provider=runner.data.provider(128, 0),
        ).fit()
    for name, weights in runners[0].sae.state_dict().items():
        assert torch.equal(runners[1].sae.state_dict()[name], weights), name


@pytest.mark.parametrize("dtype", ["float17", "float8", "int8", "half"])
def test_an_unknown_dtype_is_told_with_the_known_ones(dtype):
    with pytest.raises(UserError, match="choose one of float32, float64, float16, bfloat16"):
        MultimodalSAERunnerConfig(dtype=dtype)


def test_known_dtypes_are_those_of_sae_lens():
    from sae_lens.constants import DTYPE_MAP

    from mm_sae_plugin.training.config import DTYPES

    assert {name.removeprefix("torch.") for name in DTYPE_MAP} == {*DTYPES}


def test_an_architecture_that_knows_one_dtype_only_is_told_in_one_line(pairs):
    cfg = MultimodalSAERunnerConfig(
        architecture="gated", dtype="bfloat16", d_sae=48, k=6, training_steps=5
    )
    runner = MultimodalSAETrainingRunner(cfg, acts_image=pairs[0], acts_text=pairs[1])
    with pytest.raises(UserError, match="gated cannot be trained in bfloat16"):
        runner.run()


@pytest.mark.parametrize("factor", [1e4, 1e30])
def test_a_reconstruction_out_of_all_proportion_stops_the_training(
    make_runner, monkeypatch, factor
):
    """Also where its error is too large for a number of single precision."""
    step = SAETrainer.step

    def far_off(self, batch):
        output = step(self, batch)
        return replace(output, sae_out=output.sae_out.detach() * factor)

    monkeypatch.setattr(SAETrainer, "step", far_off)
    with pytest.raises(UserError, match=r"the reconstruction's error is \S+ at step 100 of 250"):
        make_runner(training_steps=250).run()
