"""The recipe: it learns, it resumes as if never stopped, and it is what the cards come from."""

from typing import Any

import pytest
import torch

from mm_sae_plugin.factorworld.recipes.train_clip import (
    TrainCLIPConfig,
    contrastive_loss,
    train_clip,
)
from mm_sae_plugin.factorworld.recipes.training_data import batches_of_groups


def _config(folder, **changes):
    small: dict[str, Any] = {
        "n_pairs": 64,
        "batch_size": 16,
        "lr_warm_up_steps": 2,
        "label_steps": 3,
    }
    small |= {"n_steps": 6, "checkpoint_every": 3, "cache": folder / "cache", "out": folder / "run"}
    return TrainCLIPConfig(**(small | changes))


@pytest.mark.parametrize("self_supervision", [0.0, 0.5])
def test_resumed_training_ends_at_the_same_weights(tmp_path, self_supervision):
    cfg = _config(tmp_path, self_supervision=self_supervision)
    whole = train_clip(cfg).state_dict()

    class Stop(Exception):
        pass

    def stop_after_checkpoint(step):
        if step == 4:
            raise Stop

    stopped = _config(tmp_path, self_supervision=self_supervision, out=tmp_path / "stopped")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        from mm_sae_plugin.factorworld.recipes import train_clip as module

        rate = module._learning_rate
        patch.setattr(
            module, "_learning_rate", lambda s, c: (stop_after_checkpoint(s), rate(s, c))[1]
        )
        train_clip(stopped)
    resumed = train_clip(stopped).state_dict()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_training_lowers_the_loss(tmp_path, capsys):
    train_clip(_config(tmp_path, n_steps=1, checkpoint_every=1))
    first = float(capsys.readouterr().out.split("losses ")[1].split()[0])
    cfg = _config(tmp_path, out=tmp_path / "longer", n_steps=50, checkpoint_every=50)
    train_clip(cfg)
    last = float(capsys.readouterr().out.split("losses ")[-1].split()[0])
    assert last < first


def test_contrastive_loss_is_low_only_for_matching_rows():
    rows = torch.eye(8)
    assert contrastive_loss(rows, rows, torch.tensor(50.0)) < 1e-6
    assert contrastive_loss(rows, rows.flip(0), torch.tensor(50.0)) > 10


def test_batches_hold_whole_groups_and_every_pair_once():
    batches = batches_of_groups(64, 16, 8, seed=0)
    seen = torch.cat([next(batches) for _ in range(4)])
    assert seen.sort().values.equal(torch.arange(64))
    assert (seen.view(-1, 8) // 8).eq(seen.view(-1, 8)[:, :1] // 8).all()
