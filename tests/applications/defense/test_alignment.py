"""Fine-tuning towards clean vectors: what is aligned, and that a run goes on as it would have."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.alignment import align, batches_of
from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.applications.defense.distances import (
    embedding_distance,
    latent_distance,
    reading_distance,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study

CFG = AlignmentConfig(
    eps=0.1, n_steps=12, batch_size=16, lr=0.02, warm_up_steps=2, checkpoint_every=6, bf16=False
)


def tower():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 8))


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def trained(images, cfg=CFG, out=None):
    net = tower()
    losses = align(net, lambda pixels: pixels - 0.5, images, embedding_distance, cfg, out)
    return net, losses


def weights(net):
    return torch.cat([p.flatten() for p in net.parameters()])


def test_attacked_images_come_nearer_to_clean_ones(images):
    _, losses = trained(images, replace(CFG, n_steps=60))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_an_interrupted_run_goes_on_as_it_would_have(images, tmp_path):
    whole, losses = trained(images)
    trained(images, out=tmp_path)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["losses"] == losses

    class Stop(Exception):
        pass

    def inputs(pixels, calls=[]):  # noqa: B006 -- counts over calls on purpose
        calls.append(0)
        if len(calls) == 85:
            raise Stop
        return pixels - 0.5

    other = tmp_path / "other"
    with pytest.raises(Stop):
        align(tower(), inputs, images, embedding_distance, CFG, other)
    assert len(torch.load(other / "checkpoint.pt", weights_only=True)["losses"]) == 6
    resumed, again = trained(images, out=other)
    assert again == losses and weights(resumed).equal(weights(whole))


def test_another_setting_is_refused(images, tmp_path):
    trained(images, out=tmp_path)
    with pytest.raises(UserError, match="other settings: give another folder, or remove it"):
        trained(images, replace(CFG, seed=1), tmp_path)


def test_parts_of_a_batch_add_up_to_it(images):
    # Without an inner attack, whose starts are drawn part by part.
    cfg = replace(CFG, inner_steps=0, eps=0.0)
    one, _ = trained(images, cfg)
    parts, _ = trained(images, replace(cfg, n_accumulated=4))
    torch.testing.assert_close(weights(one), weights(parts), atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="batch of 16 cannot be cut into 3"):
        replace(CFG, n_accumulated=3)


def test_every_image_comes_once_before_any_comes_again():
    batches = batches_of(20, 5, 0)
    seen = torch.cat([next(batches) for _ in range(4)])
    assert sorted(seen.tolist()) == list(range(20))
    assert not next(batches).equal(seen[:5])


def test_latents_that_are_not_chosen_do_not_count(small_sae):
    study = Study.open(small_sae)
    rows = study.store.image_rows()[:8]
    moved = normalize(rows + 0.3 * rows.flip(0), dim=1)
    n = study.feature_map.n_features
    everything = latent_distance(study.feature_map, torch.ones(n, dtype=torch.bool))
    nothing = latent_distance(study.feature_map, torch.zeros(n, dtype=torch.bool))
    assert (everything(moved, rows) > 0).all() and (nothing(moved, rows) == 0).all()
    assert (everything(rows, rows) == 0).all()
    decoded = [
        study.feature_map.decode(study.feature_map.encode(one, "image"), "image")
        for one in (moved, rows)
    ]
    expected = (decoded[0] - decoded[1]).square().sum(1)
    torch.testing.assert_close(everything(moved, rows), expected, atol=1e-5, rtol=1e-3)


def test_readings_count_by_how_much_a_task_uses_them():
    classes = {"axis": torch.eye(4)[:2]}
    clean = torch.eye(4)[:1]
    used = normalize(clean + 0.3 * torch.eye(4)[1:2], dim=1)
    unused = normalize(clean + 0.3 * torch.eye(4)[2:3], dim=1)
    distance = reading_distance(classes, 10.0, embedding=0.0)
    p, q = (torch.softmax(10 * rows @ classes["axis"].T, 1) for rows in (clean, used))
    torch.testing.assert_close(distance(used, clean), (p * (p / q).log()).sum(1))
    assert distance(used, clean) > 10 * distance(unused, clean)
    assert distance(clean, clean).item() == pytest.approx(0, abs=1e-6)
    whole = reading_distance(classes, 10.0, embedding=1.0)
    added = whole(unused, clean) - distance(unused, clean)
    torch.testing.assert_close(added, embedding_distance(unused, clean))
