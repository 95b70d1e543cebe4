"""Encoders that judge features, by every kind of name, from weights that the test made."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch.nn.functional import normalize

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.models import load_model
from mm_sae_plugin.models.independent import load_encoder
from mm_sae_plugin.models.weights import identify_weights

CAPTIONS = ["a red star", "a red moon", "two blue cars in the snow"]


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    world = FactorWorld(seed=11)
    return [world.draw(number) for number in range(5)]


def test_the_classifier_gives_what_it_makes_of_pictures(pictures):
    from mm_sae_plugin.factorworld.classifier import as_pixels, classifier_card, load_classifier

    encoder = load_encoder("factorworld-classifier")
    rows = encoder.embed_images(iter(pictures))
    import numpy as np

    with torch.no_grad():
        pixels = as_pixels(np.stack([np.asarray(picture) for picture in pictures]))
        expected = load_classifier().features(pixels)
    torch.testing.assert_close(rows, normalize(expected, dim=1))
    assert encoder.identity == f"sha256:{classifier_card()['sha256'][:16]}"
    with pytest.raises(UserError, match=r"reads images alone: name an encoder of captions"):
        encoder.embed_texts(CAPTIONS)
    with pytest.raises(UserError, match=r"64 × 64 pixels, not 50 × 40: name another"):
        encoder.embed_images([pictures[0].resize((50, 40))])


def test_captions_are_alike_that_share_words():
    encoder = load_encoder("tfidf-words")
    rows = encoder.embed_texts([*CAPTIONS, "a red star"])
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))
    cosines = rows @ rows.T
    assert cosines[0, 3] == pytest.approx(1)
    assert 0 < cosines[0, 1] < 1 and cosines[0, 2] == 0
    # A word that few captions have weighs more: "star" is shared by two, "red" by three.
    shared = encoder.embed_texts(["red star", "red moon", "blue star", "red sun"])
    assert shared[0] @ shared[2] > shared[0] @ shared[1]
    with pytest.raises(UserError, match=r"reads captions alone: name an encoder of images"):
        encoder.embed_images([])
    with pytest.raises(UserError, match=r"found no words in 2 captions"):
        encoder.embed_texts(["!", "?"])


def test_a_clip_sees_both_and_is_refused_where_it_is_interpreted(pictures):
    encoder = load_encoder("factorworld-declip")
    model = load_model("factorworld-declip")
    with torch.no_grad():
        image, text = model(images=pictures, texts=CAPTIONS)
    torch.testing.assert_close(encoder.embed_images(pictures), image)
    torch.testing.assert_close(encoder.embed_texts(CAPTIONS), text)
    encoder.refuse_as_interpreted(load_model("factorworld").weights_id)
    with pytest.raises(UserError, match=r"factorworld-declip is the encoder that is interpreted"):
        encoder.refuse_as_interpreted(model.weights_id)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_timm_model_from_a_file(pictures, suffix, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("test_vit", pretrained=False, num_classes=7)
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(whole.state_dict(), path)
    encoder = load_encoder(f"timm:test_vit@{path}")
    transform: Any = create_transform(**resolve_model_data_config(whole))
    headless: Any = whole.eval()
    headless.reset_classifier(0)
    with torch.no_grad():
        expected = headless(torch.stack([transform(picture) for picture in pictures]))
    torch.testing.assert_close(encoder.embed_images(pictures), normalize(expected, dim=1))
    assert encoder.identity == identify_weights(headless).current
    with pytest.raises(UserError, match="is the encoder that is interpreted"):
        encoder.refuse_as_interpreted(encoder.identity)


def test_what_timm_cannot_load_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"timm could not load 'no_such_model'"):
        load_encoder("timm:no_such_model")
    with pytest.raises(UserError, match=r"timm could not load 'test_vit' .*give its weights in a"):
        load_encoder(f"timm:test_vit@{tmp_path / 'missing.pt'}")
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"other.safetensors is no checkpoint of timm:test_vit: "):
        load_encoder(f"timm:test_vit@{path}")


@pytest.fixture(scope="module")
def vision_folder(tmp_path_factory) -> Path:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    sizes: Any = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config = ViTConfig(**sizes, intermediate_size=16, image_size=32, patch_size=8)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *words]))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes: Any = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    config = BertConfig(vocab_size=len(tokenizer), **sizes, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_transformers_model_of_images(pictures, vision_folder):
    from transformers import ViTImageProcessor, ViTModel

    encoder = load_encoder(f"hf:{vision_folder}")
    model: Any = ViTModel.from_pretrained(vision_folder, add_pooling_layer=False)
    pixels = ViTImageProcessor.from_pretrained(vision_folder)(pictures, return_tensors="pt")
    with torch.no_grad():
        expected = model(**pixels).last_hidden_state.mean(1)
    torch.testing.assert_close(encoder.embed_images(pictures), normalize(expected, dim=1))
    assert encoder.of_texts is None


def test_a_transformers_model_of_text_leaves_padding_out(text_folder):
    from transformers import AutoTokenizer, BertModel

    encoder = load_encoder(f"hf:{text_folder}")
    tokenizer: Any = AutoTokenizer.from_pretrained(text_folder)
    model: Any = BertModel.from_pretrained(text_folder)
    rows = encoder.embed_texts(CAPTIONS)
    for row, caption in zip(rows, CAPTIONS, strict=True):
        with torch.no_grad():
            alone = model(**tokenizer(caption, return_tensors="pt")).last_hidden_state.mean(1)
        torch.testing.assert_close(row, normalize(alone, dim=1)[0])
    assert encoder.of_images is None


def test_what_transformers_cannot_load_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"transformers found no model '/nowhere'"):
        load_encoder("hf:/nowhere")
    with pytest.raises(UserError, match=r"There is no model 'factorwrld'.*'factorworld'"):
        load_encoder("factorwrld")
