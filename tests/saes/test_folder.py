from types import SimpleNamespace

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import ModalityNormalization, check_encoder, load_sae
from tests.saes.tiny import tiny_sae


def store(**changes):
    manifest = {
        "model_name": "tiny",
        "weights_id": "sha256:aaaa",
        "image_hook": "vision.hook_proj",
        "text_hook": "text.hook_proj",
        "d_image": 8,
        "d_text": 8,
    }
    return SimpleNamespace(manifest=SimpleNamespace(**{**manifest, **changes}))


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


def test_a_folder_without_an_sae_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is not an SAE folder: it has no cfg\.json"):
        load_sae(tmp_path)


def test_damaged_weights_are_told(tmp_path):
    tiny_sae().save_model(tmp_path)
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be read"):
        load_sae(tmp_path)


def test_the_right_encoder_is_accepted():
    check_encoder(tiny_sae(), store())
    check_encoder(tiny_sae(), SimpleNamespace(weights_id="sha256:aaaa"))
    # An SAE of unknown origin can only be checked for its width.
    check_encoder(tiny_sae(weights_id=None, hook_name_image=None, hook_name_text=None), store())


def test_another_encoder_is_refused_naming_both():
    message = r"trained on tiny \(sha256:aaaa\).*come from other \(sha256:bbbb\)"
    with pytest.raises(UserError, match=message):
        check_encoder(tiny_sae(), store(model_name="other", weights_id="sha256:bbbb"))
    model = SimpleNamespace(
        cfg=SimpleNamespace(model_name="other", weights_id="sha256:bbbb"), weights_id="sha256:bbbb"
    )
    with pytest.raises(UserError, match=r"trained on tiny.*this model is other \(sha256:bbbb\)"):
        check_encoder(tiny_sae(), model)


def test_another_hook_is_refused_naming_both():
    with pytest.raises(UserError, match=r"trained at 'text.hook_proj'.*'text.hook_pooled'"):
        check_encoder(tiny_sae(), store(text_hook="text.hook_pooled"))


def test_another_width_is_refused():
    with pytest.raises(UserError, match="takes vectors of width 8, but the store's are 9 wide"):
        check_encoder(tiny_sae(weights_id=None), store(d_image=9))
