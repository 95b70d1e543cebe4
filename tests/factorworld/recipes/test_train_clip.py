"""The recipe: it learns, it resumes as if never stopped, and it is what the cards come from."""

import math
import re
import shlex
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import tyro

from mm_sae_plugin.factorworld.embedded import load_embedded, read_card
from mm_sae_plugin.factorworld.recipes import train_clip as recipe
from mm_sae_plugin.factorworld.recipes.train_clip import TrainCLIPConfig, train_clip
from mm_sae_plugin.factorworld.recipes.training_data import batches_of_groups


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where all trainings of this file find the same drawn pairs."""
    return tmp_path_factory.mktemp("cache")


def _config(out, cache, **changes):
    small: dict[str, Any] = {
        "n_pairs": 64,
        "batch_size": 16,
        "lr_warm_up_steps": 2,
        "label_steps": 3,
        "n_steps": 6,
        "checkpoint_every": 3,
        # Processors without bfloat16 take a second for a step of this size.
        "bfloat16": False,
    }
    return TrainCLIPConfig(out=out, cache=cache, **(small | changes))


@pytest.mark.parametrize("self_supervision", [0.0, 0.5])
def test_resumed_training_ends_at_the_same_weights(tmp_path, cache, self_supervision):
    cfg = _config(tmp_path / "whole", cache, self_supervision=self_supervision)
    whole = train_clip(cfg).state_dict()

    class Stop(Exception):
        pass

    taken = []
    normalize_pixels = recipe.normalize_pixels

    def stop_at_the_fifth_batch(images):
        taken.append(images)
        if len(taken) == 5:
            raise Stop
        return normalize_pixels(images)

    stopped = _config(tmp_path / "stopped", cache, self_supervision=self_supervision)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(recipe, "normalize_pixels", stop_at_the_fifth_batch)
        train_clip(stopped)
    resumed = train_clip(stopped).state_dict()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert not all(torch.equal(whole[k], v) for k, v in recipe.build_model().state_dict().items())


def test_training_starts_from_an_embedded_model(tmp_path, cache):
    still = _config(tmp_path, cache, init="factorworld", n_steps=1, lr=0.0)
    trained = train_clip(still).state_dict()
    start = load_embedded("factorworld").model.state_dict()
    assert all(torch.equal(trained[key], value) for key, value in start.items())
    stages = torch.load(tmp_path / recipe.CHECKPOINT, weights_only=True)["stages"]
    assert stages[:-1] == read_card("factorworld")["stages"]


def test_training_lowers_the_loss_in_bfloat16_too(tmp_path, cache, capsys):
    for n_steps, bfloat16 in ((1, True), (40, False)):
        out = tmp_path / f"{n_steps}"
        train_clip(_config(out, cache, n_steps=n_steps, checkpoint_every=50, bfloat16=bfloat16))
    first, last = re.findall(r"losses ([\d.]+)", capsys.readouterr().out)
    assert float(last) < float(first)


def test_the_loss_is_symmetric_cross_entropy():
    """open_clip's ``ClipLoss`` is what the recipe says it trains with."""
    from open_clip.loss import ClipLoss

    generator = torch.Generator().manual_seed(0)
    first, second = F.normalize(torch.randn(2, 8, 16, generator=generator), dim=-1)
    scale = torch.tensor(14.0)
    odds = (scale * first @ second.T).exp()
    expected = -(
        (odds.diag() / odds.sum(1)).log().mean() + (odds.diag() / odds.sum(0)).log().mean()
    )
    torch.testing.assert_close(ClipLoss()(first, second, scale), expected / 2)
    assert ClipLoss()(torch.eye(8), torch.eye(8), torch.tensor(50.0)) < 1e-6
    assert ClipLoss()(torch.eye(8), torch.eye(8).flip(0), torch.tensor(50.0)) > 10


@pytest.mark.parametrize("first_step", [0, 2, 7])
def test_the_rate_rises_to_its_peak_and_falls_to_zero_wherever_it_starts(tmp_path, first_step):
    cfg = _config(tmp_path, tmp_path, n_steps=12, lr_warm_up_steps=4, lr=0.1)
    # The rate that a restored optimizer brings along does not matter.
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=0.03)
    schedule = recipe._schedule(optimizer, cfg, first_step)
    for step in range(first_step, 12):
        falling = 0.05 * (1 + math.cos(math.pi * (step - 4) / 8))
        expected = 0.1 * step / 4 if step < 4 else falling
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        schedule.step()


def test_batches_hold_whole_groups_and_every_pair_once():
    batches = batches_of_groups(64, 16, 8, seed=0)
    seen = torch.cat([next(batches) for _ in range(4)])
    assert seen.sort().values.equal(torch.arange(64))
    assert (seen.view(-1, 8) // 8).eq(seen.view(-1, 8)[:, :1] // 8).all()


def test_the_commands_of_the_recipe_are_those_of_the_shipped_models():
    text = (recipe.__doc__ or "").replace("\\\n", " ")
    name = recipe.__name__
    lines = re.findall(rf"python -m {re.escape(name)} (--out .*)", text)
    stages = [tyro.cli(TrainCLIPConfig, args=shlex.split(line)) for line in lines]
    assert len(stages) == 3
    for model, n_stages in (("factorworld", 2), ("factorworld-declip", 3)):
        shipped = read_card(model)["stages"]
        assert len(shipped) == n_stages
        for cfg, stage in zip(stages, shipped, strict=False):
            assert stage["steps"] == cfg.n_steps
            given = stage.keys() - {"steps"}
            assert {key: stage[key] for key in given} == {k: str(getattr(cfg, k)) for k in given}
