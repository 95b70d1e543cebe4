import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import ModalityNormalization, fold_normalization
from mm_sae_plugin.saes.normalization import METHODS, MODALITIES
from tests.saes.tiny import tiny_sae

IMAGES = 5 * torch.randn(400, 8, generator=torch.Generator().manual_seed(0)) + 2
TEXTS = 0.3 * torch.randn(500, 8, generator=torch.Generator().manual_seed(1)) - 1


class Store:
    captions = ("a", "b")

    def image_rows(self):
        return IMAGES

    def text_rows(self):
        return TEXTS

    def iter_pairs(self, chunk):
        for start in range(0, len(IMAGES), chunk):
            stop = min(start + chunk, len(IMAGES))
            yield IMAGES[start:stop], TEXTS[start:stop], torch.arange(start, stop)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_does_what_its_name_says(method):
    normalization = ModalityNormalization.measure(method, IMAGES, TEXTS)
    for modality, acts in zip(MODALITIES, (IMAGES, TEXTS), strict=True):
        normalized = normalization.apply(acts, modality)
        if "center" in method:
            assert normalized.mean(dim=0).abs().max() < 1e-5
        if "scale" in method:
            assert normalized.norm(dim=1).mean().item() == pytest.approx(8**0.5, rel=1e-5)
        torch.testing.assert_close(normalization.undo(normalized, modality), acts)


def test_one_sided_data_leaves_the_other_side_as_it_is():
    normalization = ModalityNormalization.measure("per_modality_center_scale", IMAGES, None)
    assert torch.equal(normalization.apply(TEXTS, "text"), TEXTS)


def test_constant_activations_are_left_at_their_scale():
    acts = torch.ones(10, 8)
    normalization = ModalityNormalization.measure("per_modality_center_scale", acts, TEXTS)
    assert bool(normalization.apply(acts, "image").isfinite().all())


def test_unknown_method_is_refused():
    with pytest.raises(UserError, match="Unknown normalisation 'zscore'"):
        ModalityNormalization.measure("zscore", IMAGES, TEXTS)


@pytest.mark.parametrize("architecture", ["topk", "jumprelu"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_folding_gives_an_sae_that_needs_no_outside_state(architecture, modality):
    sae = tiny_sae(architecture, normalization="per_modality_center_scale")
    acts = IMAGES if modality == "image" else TEXTS
    normalization = ModalityNormalization.measure("per_modality_center_scale", IMAGES, TEXTS)
    folded = fold_normalization(sae, normalization, modality)
    normalized = normalization.apply(acts, modality)
    torch.testing.assert_close(folded.encode(acts), sae.encode(normalized), atol=1e-4, rtol=1e-4)
    expected = normalization.undo(sae(normalized), modality)
    torch.testing.assert_close(folded(acts), expected, atol=1e-4, rtol=1e-4)
    tower = "vision" if modality == "image" else "text"
    assert folded.cfg.metadata.hook_name == f"{tower}.hook_proj"
    assert folded.cfg.metadata.normalization == "none"
    # The original is as it was.
    assert sae.cfg.metadata.hook_name == "vision.hook_proj"
    assert not torch.equal(folded.W_enc, sae.W_enc)
