"""Models by name: real loading code on models saved by the test itself."""

import json
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP, load_model
from mm_sae_plugin.models.inputs import Deferred
from tests.models.conftest import toy_tokenizer
from tests.models.tiny import TEXT, VISION, Tiny, build

TINY = "mm-sae-tiny-test"
"""A model name that open_clip knows while these tests run."""


@pytest.fixture(scope="module")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Register a tiny architecture with open_clip, as its users do."""
    config = dict(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT)
    path = tmp_path_factory.mktemp("configs") / f"{TINY}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return config


@pytest.fixture
def checkpoint(vit: Tiny, tmp_path: Path) -> Path:
    """The tiny ViT's weights in a file."""
    path = tmp_path / "weights.pt"
    torch.save(vit.clip.state_dict(), path)
    return path


def test_random_weights_are_announced(tiny_config: dict) -> None:
    with pytest.warns(UserWarning, match=f"{TINY} was given no weights and is random"):
        model = load_model(TINY)
    assert not model.training and not model.clip.training
    assert model.cfg.model_name == TINY
    assert model.weights_id.startswith("sha256:")


def test_a_local_checkpoint_gives_its_weights_and_one_id_in_every_dtype(
    tiny_config: dict, checkpoint: Path, vit: Tiny
) -> None:
    model = load_model(TINY, pretrained=str(checkpoint))
    pixels, tokens = vit.inputs()
    with torch.no_grad():
        image, text = model(images=pixels, texts=tokens)
        expected = vit.embed(pixels, tokens)
    assert torch.equal(image, expected[0]) and torch.equal(text, expected[1])
    half = HookedCLIP.from_open_clip(TINY, str(checkpoint), dtype=torch.bfloat16)
    assert half.cfg.dtype == "bfloat16"
    assert half.weights_id == model.weights_id == HookedCLIP.wrap(vit.clip).weights_id


def test_a_local_folder_of_open_clip(tiny_config: dict, vit: Tiny, tmp_path: Path) -> None:
    config = dict(model_cfg=tiny_config, preprocess_cfg={"mean": [0.5] * 3, "std": [0.25] * 3})
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(vit.clip.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    model = load_model(f"local-dir:{tmp_path}")
    assert model.weights_id == HookedCLIP.wrap(vit.clip).weights_id
    assert model.preprocess is not None
    white = model.preprocess(Image.new("L", (50, 40), 255))
    torch.testing.assert_close(white, torch.full((3, 32, 32), 2.0))


def test_the_image_transform_travels_to_worker_processes(
    tiny_config: dict, checkpoint: Path
) -> None:
    model = load_model(TINY, pretrained=str(checkpoint))
    assert model.preprocess is not None
    picture = Image.radial_gradient("L").convert("P")
    pixels = model.preprocess(picture)
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32
    assert torch.equal(pickle.loads(pickle.dumps(model.preprocess))(picture), pixels)


def test_captions_are_tokenised_by_the_models_own_tokenizer() -> None:
    tokenizer = Deferred("tokenizer of ViT-B-32", open_clip.get_tokenizer, ("ViT-B-32",))
    tokens = pickle.loads(pickle.dumps(tokenizer))(["a photo of a cat"])
    assert tokens.shape == (1, 77)
    assert tokens[0, 0] == 49406 and 49407 in tokens[0]


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("vit-b32", None, r"no model 'vit-b32'.*'ViT-B-32'"),
        ("factorwrld", None, r"no model 'factorwrld'.*'factorworld'"),
        ("zzzzzzzz", None, r"factorworld-robust need no network, open_clip\.list_models\(\) lists"),
        ("ViT-B-32", "laion2b_s34b_b78k", r"no weights 'laion2b_s34b_b78k'.*'laion2b_s34b_b79k'"),
        ("ViT-B-32", "missing.pt", r"no weights 'missing\.pt', neither as a tag nor as a file"),
        ("local-dir:/nowhere", None, r"could not load 'local-dir:/nowhere'"),
        ("hf:./no/such/folder", None, r"found no model './no/such/folder'"),
    ],
)
def test_what_cannot_be_found_is_named(name: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(name, pretrained)


def test_a_damaged_checkpoint_is_named(tiny_config: dict, checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"could not load '{TINY}' with weights '.*weights\.pt'"):
        load_model(TINY, pretrained=str(checkpoint))


def test_a_checkpoint_of_another_shape_is_named(tiny_config: dict, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save(build("vit-custom-text").clip.state_dict(), other)
    with pytest.raises(UserError, match=rf"could not load '{TINY}'"):
        load_model(TINY, pretrained=str(other))


def save_tokenizer(folder: Path, words: list[str]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<unk>", *words])}
    vocabulary["<eos>"] = 99
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 99)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_transformers_folder(kind: str, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    tiny = build(f"transformers-{kind}")
    tiny.clip.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, ["a", "cat", "dog"])
    size = {"height": 32, "width": 32}
    processor = CLIPImageProcessor if kind == "clip" else SiglipImageProcessor
    processor(size=size, crop_size=size).save_pretrained(tmp_path)

    model = load_model(f"hf:{tmp_path}")
    assert model.cfg.family == f"transformers.{kind}"
    assert model.weights_id == HookedCLIP.wrap(tiny.clip).weights_id
    pixels, tokens = tiny.inputs()
    with torch.no_grad():
        image, text = model(images=pixels, texts=tokens)
        expected = tiny.embed(pixels, tokens)
    assert torch.equal(image, expected[0]) and torch.equal(text, expected[1])

    assert model.tokenizer is not None and model.preprocess is not None
    assert model.tokenizer(["a cat", "a a a a a a a a a a a a a a a"]).tolist() == [
        [1, 3, 4, 99] + [0] * 8,
        [1] + [3] * 10 + [99],
    ]
    picture = Image.linear_gradient("L")
    worker = pickle.loads(pickle.dumps(model.preprocess))
    assert worker(picture).shape == (3, 32, 32)
    assert torch.equal(worker(picture), model.preprocess(picture))


def test_a_transformers_folder_without_tokenizer_still_embeds_images(tmp_path: Path) -> None:
    tiny = build("transformers-clip")
    tiny.clip.save_pretrained(tmp_path)
    model = HookedCLIP.from_transformers(str(tmp_path))
    assert model(images=tiny.inputs()[0])[0] is not None
    with pytest.raises(UserError, match=r"The tokenizer of .* could not be loaded.*no vocabulary"):
        model(texts=["a cat"])


def test_another_kind_of_transformers_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a 'bert' model: only 'clip' and 'siglip'"):
        load_model(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    "name", ["factorworld", "factorworld-declip", "factorworld-biased", "factorworld-robust"]
)
def test_the_embedded_models_keep_their_name_and_id(
    name: str, vit: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = ModuleType("embedded")
    embedded.load_embedded = lambda name: SimpleNamespace(  # type: ignore[attr-defined]
        model=vit.clip.train(),
        tokenizer=toy_tokenizer,
        preprocess=None,
        name=name,
        weights_id=f"{name}:1",
    )
    monkeypatch.setitem(sys.modules, "mm_sae_plugin.factorworld.embedded", embedded)
    model = load_model(name, dtype=torch.bfloat16)
    assert (model.cfg.model_name, model.weights_id) == (name, f"{name}:1")
    assert model.cfg.dtype == "bfloat16" and not model.clip.training
    assert model(texts="a red cat")[1] is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "family", "n_hooks"),
    [
        ("ViT-B-32", "open_clip.vit", 128),
        ("ViT-B-16-SigLIP", "open_clip.timm_vit", 128),
        ("coca_ViT-B-32", "open_clip.coca", 128),
        ("RN50", "open_clip.resnet", 66),
        ("convnext_base", "open_clip.timm_conv", 66),
    ],
)
@pytest.mark.filterwarnings("ignore:.*was given no weights")
def test_published_architectures_at_full_size(name: str, family: str, n_hooks: int) -> None:
    model = load_model(name)
    assert model.cfg.family == family
    shapes = model.hook_shapes()
    assert len(shapes) == len(model.hook_dict) == n_hooks
    assert shapes["vision.hook_normalized"] == ("batch", model.cfg.d_joint)
    height, width = model.cfg.image_size
    pixels = torch.randn(2, 3, height, width)
    with torch.no_grad():
        (image, _), _ = model.run_with_cache(images=pixels)
        assert torch.equal(
            image, model.family.normalize(model.family.encode_image(model.clip, pixels))
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nope",
            r"no model 'nope': .*factorworld, .*, factorworld-robust .*open_clip\.list_models",
        ),
        ("factorwold", r"did you mean 'factorworld'.*\? .*open_clip\.list_models"),
        (
            "ViT-B-33",
            r"did you mean 'ViT-B-32'.*factorworld, factorworld-declip, factorworld-biased",
        ),
        (None, r"by its name, such as 'factorworld' .*, not by None"),
        (3, "not by an int"),
    ],
)
def test_a_model_that_there_is_not_is_refused(any_types, name, message):
    with pytest.raises(UserError, match=message):
        load_model(name)


def test_weights_of_another_kind_are_refused(any_types):
    with pytest.raises(UserError, match="a tag or the path of a checkpoint, not an int"):
        load_model("ViT-B-32", 3)  # pyright: ignore[reportArgumentType]
