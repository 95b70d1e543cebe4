import pytest
import torch

from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import ModalityNormalization, load_sae
from tests.saes.tiny import tiny_sae


def test_what_is_saved_is_loaded(tmp_path):
    sae = tiny_sae(normalization="per_modality_scale")
    sae.save_model(tmp_path)
    acts = torch.randn(30, 8)
    measured = ModalityNormalization.measure("per_modality_scale", acts, 4 * acts)
    measured.save(tmp_path)
    loaded, normalization = load_sae(tmp_path)
    assert torch.equal(loaded(acts), sae(acts))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert torch.equal(normalization.scale, measured.scale)
    assert normalization.method == "per_modality_scale"


def test_an_sae_without_normalisation_has_the_identity(tmp_path):
    tiny_sae().save_model(tmp_path)
    assert load_sae(tmp_path)[1].is_identity


def test_a_lost_normalisation_is_named(tmp_path):
    tiny_sae(normalization="per_modality_scale").save_model(tmp_path)
    with pytest.raises(UserError, match=r"normalization\.safetensors is missing"):
        load_sae(tmp_path)


def test_a_folder_that_cannot_be_read_is_said_to_be_so(tmp_path):
    for opened in (load_sae, ActivationStore.open):
        with pytest.raises(UserError, match=r"x cannot be read \(File name too long\)"):
            opened(tmp_path / ("x" * 300))


def test_a_folder_without_an_sae_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is not an SAE folder: it has no cfg\.json"):
        load_sae(tmp_path)


def test_damaged_weights_are_told(tmp_path):
    tiny_sae().save_model(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        load_sae(tmp_path)
