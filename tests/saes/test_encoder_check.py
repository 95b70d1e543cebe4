import warnings
from types import SimpleNamespace

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import (
    ModalityNormalization,
    check_encoder,
    check_tower,
    fold_normalization,
)
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


def test_another_tokenizer_or_transform_is_refused_naming_both():
    sae = tiny_sae(transform_id="sha256:tt", tokenizer_id="sha256:kk")
    check_encoder(sae, store(transform_id="sha256:tt", tokenizer_id="sha256:kk"))
    # Older stores note neither.
    check_encoder(sae, store())
    with pytest.raises(UserError, match=r"image transform sha256:tt, but .* is sha256:other"):
        check_encoder(sae, store(transform_id="sha256:other"))
    model = SimpleNamespace(weights_id="sha256:aaaa", tokenizer_id="sha256:other", cfg=None)
    with pytest.raises(UserError, match=r"tokenizer sha256:kk, but .* is sha256:other"):
        check_encoder(sae, model)


def test_what_knows_only_the_weights_is_accepted_with_a_word():
    new = {"weights_id": "encoder:cccc", "legacy_weights_id": "sha256:aaaa"}
    with pytest.warns(UserWarning, match="agree in the weights"):
        check_encoder(tiny_sae(), store(**new))
    with pytest.warns(UserWarning, match="agree in the weights"):
        check_encoder(tiny_sae(**new), store())  # pyright: ignore[reportArgumentType]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_encoder(tiny_sae(**new), store(**new))  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"trained on tiny \(sha256:bbbb\)"):
        check_encoder(tiny_sae(weights_id="sha256:bbbb"), store(**new))


def test_an_sae_folded_for_one_modality_refuses_the_other_tower():
    measured = ModalityNormalization.measure(
        "per_modality_center", torch.randn(9, 8), torch.randn(9, 8) + 1
    )
    sae = tiny_sae(normalization="per_modality_center")
    for where in ("image", "text", "vision.hook_proj", "text.hook_proj"):
        check_tower(sae, where)
    for_images = fold_normalization(sae, measured, "image")
    for_texts = fold_normalization(sae, measured, "text")
    for where in ("image", "vision.hook_proj"):
        check_tower(for_images, where)
        with pytest.raises(UserError, match="folded for text activations"):
            check_tower(for_texts, where)
    for where in ("text", "text.blocks.1.hook_resid_post"):
        check_tower(for_texts, where)
        with pytest.raises(UserError, match="folded for image activations"):
            check_tower(for_images, where)
