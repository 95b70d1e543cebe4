"""Training a non-negative head."""

import math

import pytest
import torch
import torch.nn.functional as F

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import NonNegativeHead
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.training import NCLConfig, train_ncl
from mm_sae_plugin.training.ncl import symmetric_info_nce
from tests.stats.fakes import FakeStore
from tests.training.synthetic import synthetic_pairs


def store() -> FakeStore:
    images, texts = synthetic_pairs(600, noise=0.01)
    return FakeStore(images, texts, torch.arange(600))


def test_equal_codes_cost_the_logarithm_of_the_batch():
    codes = F.normalize(torch.ones(6, 3), dim=1)
    loss = symmetric_info_nce(codes, codes, torch.arange(6), torch.tensor(0.1))
    assert float(loss) == pytest.approx(math.log(6), rel=1e-5)


def test_the_loss_is_both_cross_entropies():
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.rand(5, 4, generator=generator), dim=1) for _ in range(2))
    logits = (image @ text.T / 0.2).double()
    rows = logits.diagonal() - logits.logsumexp(1)
    columns = logits.diagonal() - logits.logsumexp(0)
    expected = -float((rows.mean() + columns.mean()) / 2)
    found = symmetric_info_nce(image, text, torch.arange(5), torch.tensor(0.2))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_captions_of_one_image_are_no_negatives_of_each_other():
    codes = F.normalize(torch.ones(6, 3), dim=1)
    # Three images with two captions each: each is told from the four of the others and itself.
    loss = symmetric_info_nce(codes, codes, torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor(1.0))
    assert float(loss) == pytest.approx(math.log(5), rel=1e-5)
    alone = symmetric_info_nce(codes, codes, torch.zeros(6, dtype=torch.long), torch.tensor(1.0))
    assert float(alone) == 0


@pytest.mark.parametrize("shared", [True, False])
def test_a_trained_head_finds_the_captions(shared):
    pairs = store()
    cfg = NCLConfig(n_features=48, shared=shared, training_steps=200, batch_size=128, lr=5e-3)
    result = train_ncl(pairs, cfg)
    assert result.last_loss < 0.5 * result.first_loss
    assert result.n_never_firing < 48 and 0.01 <= result.temperature < 1
    image, text = (
        result.head.encode(rows, modality)
        for rows, modality in zip((pairs.images, pairs.texts), MODALITIES, strict=True)
    )
    found = (image @ text.T).argmax(1) == torch.arange(600)
    assert float(found.double().mean()) > 0.5
    assert 0 < float((image > 0).double().mean()) < 0.9


def test_the_same_seed_gives_the_same_head_and_leaves_the_global_one_alone(tmp_path):
    cfg = NCLConfig(n_features=8, training_steps=5, batch_size=32, out=tmp_path / "head", seed=3)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = train_ncl(store(), cfg).head
    assert torch.equal(torch.rand(1), expected)
    other = train_ncl(store(), cfg).head
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    saved = NonNegativeHead.load(tmp_path / "head")
    acts = torch.randn(4, 32)
    assert torch.equal(saved.encode(acts, "text"), one.encode(acts, "text"))
    assert saved.metadata["training"]["seed"] == 3


def test_a_training_that_diverges_is_stopped_and_not_saved(tmp_path):
    cfg = NCLConfig(n_features=8, training_steps=60, batch_size=32, lr=1e30, out=tmp_path / "head")
    with pytest.raises(UserError, match=r"has diverged by step 50 of 60: lower .* 1e\+30"):
        train_ncl(store(), cfg)
    assert not (tmp_path / "head").exists()


def test_what_makes_no_training_is_refused():
    with pytest.raises(UserError, match="batch_size must be at least 2"):
        NCLConfig(batch_size=1)
    with pytest.raises(UserError, match="temperature must be above 0"):
        NCLConfig(temperature=0.0)
    with pytest.raises(UserError, match="n_features must be at least 1"):
        NCLConfig(n_features=0)
    one = FakeStore(torch.randn(1, 4), torch.randn(3, 4), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UserError, match="holds fewer than two"):
        train_ncl(one, NCLConfig(n_features=4))
