import pytest
import torch
from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

from mm_sae_plugin.training import evaluate_per_modality, evaluation


@pytest.fixture
def sae():
    """Latents that copy one dimension each, of which two are cut off."""
    cfg = TopKTrainingSAEConfig(d_in=4, d_sae=6, k=3, rescale_acts_by_decoder_norm=False)
    sae = TopKTrainingSAE(cfg)
    with torch.no_grad():
        sae.W_dec.zero_()
        sae.W_enc.zero_()
        for latent, dimension in enumerate((0, 1, 2)):
            sae.W_dec[latent, dimension] = sae.W_enc[dimension, latent] = 1.0
    return sae


def test_figures_are_those_of_the_definition(sae):
    images = torch.zeros(100, 4)
    images[:50, 0], images[50:, 3] = 2.0, 1.0
    texts = torch.zeros(60, 4)
    texts[:, 1], texts[:30, 2] = 1.0, 3.0
    result = evaluate_per_modality(sae, images, texts)
    # Image: dimension 3 is lost. Variance about the mean: 1 in dimension 0, a quarter in 3.
    variance = images.var(dim=0, correction=0).sum().item()
    assert result.explained_variance["image"] == pytest.approx(1 - 0.5 / variance)
    assert result.explained_variance["text"] == pytest.approx(1.0)
    # Zero-filled TopK slots are no firings.
    assert result.l0 == {"image": 0.5, "text": 1.5}
    assert result.n_never_firing_by_modality == {"image": 5, "text": 4}
    assert result.n_never_firing == 3
    assert result.n_rows == {"image": 100, "text": 60}


def test_chunks_do_not_matter(sae, monkeypatch):
    images, texts = torch.randn(101, 4), torch.randn(77, 4)
    whole = evaluate_per_modality(sae, images, texts)
    monkeypatch.setattr(evaluation, "_CHUNK_ELEMENTS", 6 * 10)
    parts = evaluate_per_modality(sae, images, texts)
    assert parts.n_never_firing == whole.n_never_firing and parts.l0 == pytest.approx(whole.l0)
    assert parts.explained_variance == pytest.approx(whole.explained_variance, rel=1e-9)


def test_one_side_alone(sae):
    result = evaluate_per_modality(sae, None, torch.randn(20, 4))
    assert set(result.l0) == {"text"}
    assert result.n_never_firing == result.n_never_firing_by_modality["text"]
    assert set(result.metrics()) == {
        "sparsity/never_firing",
        "sparsity/text/never_firing",
        "metrics/text/explained_variance",
        "metrics/text/l0",
    }
