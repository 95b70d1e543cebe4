"""Weights from files and folders: their transform, tokenizer, activation function and safety."""

import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP, load_model, transforms
from mm_sae_plugin.models.input_ids import transform_digest
from tests.models.tiny import TEXT, VISION, Tiny, build

TINY = "mm-sae-tiny-files"
HALF = (0.5, 0.5, 0.5)
SIGLIP = dict(mean=HALF, std=HALF, interpolation="bicubic", resize_mode="squash")


@pytest.fixture(autouse=True, scope="module")
def _known_to_open_clip(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    for name, more in ((TINY, {}), (f"{TINY}-quickgelu", {"quick_gelu": True})):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(dict(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT, **more)))
        open_clip.add_model_config(path)


@pytest.fixture
def checkpoint(vit: Tiny, tmp_path: Path) -> str:
    """The tiny ViT's weights in a file."""
    torch.save(vit.clip.state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """Tags that are published under the tiny model's name, for a test to fill."""
    tags: dict[str, dict] = {}
    module = open_clip.pretrained
    monkeypatch.setattr(module, "list_pretrained_tags_by_model", lambda name: list(tags))
    monkeypatch.setattr(
        module, "get_pretrained_cfg", lambda name, tag: tags.get(tag, {}) if name == TINY else {}
    )
    return tags


def expected_id(**settings: Any) -> str:
    return transform_digest(image_transform_v2(PreprocessCfg(size=32, **settings), is_train=False))


def test_a_file_takes_the_transform_that_the_published_tags_agree_on(
    checkpoint: str, published: dict
) -> None:
    published |= {"one": SIGLIP, "two": dict(SIGLIP, mean=list(HALF), interpolation=None)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(TINY, checkpoint)
    assert model.transform_id == expected_id(**SIGLIP) != expected_id()


def test_tags_that_say_nothing_mean_open_clips_default(checkpoint: str, published: dict) -> None:
    published |= {"one": {}, "two": {"url": "somewhere", "quick_gelu": True}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(TINY, checkpoint).transform_id == expected_id()


def test_our_defaults_are_open_clips() -> None:
    assert {
        key: getattr(PreprocessCfg(), key) for key in transforms._DEFAULTS
    } == transforms._DEFAULTS


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({}, "a guess, open_clip's default: .* are none that would tell"),
        ({"one": SIGLIP, "two": {}}, rf"differ in it \(one, two\).* such as {TINY}/one"),
    ],
)
def test_a_guess_is_announced(checkpoint: str, published: dict, tags: dict, message: str) -> None:
    published |= tags
    with pytest.warns(UserWarning, match=message):
        assert load_model(TINY, checkpoint).transform_id == expected_id()


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "ViT-SO400M-14-SigLIP-384", "ViT-B-32"])
def test_published_names_agree_with_their_tags(name: str, vit: Tiny) -> None:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    vit.clip.visual.preprocess_cfg = dict(size=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agreed = transforms.agreed_transform(name, vit.clip)
    for tag in list_pretrained_tags_by_model(name):
        cfg = get_pretrained_cfg(name, tag)
        settings = {k: cfg[k] for k in SIGLIP if cfg.get(k)}
        assert transform_digest(agreed) == expected_id(**settings), tag


def test_a_chosen_transform_counts(checkpoint: str, published: dict, tmp_path: Path) -> None:
    published |= {"one": SIGLIP}
    path = tmp_path / "transform.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in (dict(std=[0.3] * 3), dict(preprocess_cfg=dict(std=[0.3] * 3))):
            path.write_text(json.dumps(content))
            model = load_model(TINY, checkpoint, preprocess=str(path))
            assert model.transform_id == expected_id(std=(0.3,) * 3)
        by_tag = load_model(TINY, checkpoint, preprocess=f"{TINY}/one")
    assert by_tag.transform_id == expected_id(**SIGLIP)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "does not describe an image transform"),
        ("[1]", "does not describe an image transform"),
        ('{"image_mean": [1, 1, 1]}', "its keys are image_mean"),
        ('{"mean": [1, 1]}', "mean is .*, not three numbers"),
        ('{"std": [0, 1, 1]}', "std is .*, not three numbers"),
        ('{"mean": 0.5}', "does not describe"),
        ('{"interpolation": "nearest"}', "interpolation is 'nearest', not one of bicubic"),
        ('{"resize_mode": "crop"}', "resize_mode is 'crop', not one of shortest"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_transform(
    checkpoint: str, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "transform.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_model(TINY, checkpoint, preprocess=str(path))


@pytest.mark.filterwarnings("ignore:The image transform of this file is a guess")
def test_another_tokenizer_keeps_to_the_models_length(checkpoint: str) -> None:
    model = load_model(TINY, checkpoint, tokenizer="ViT-B/32")
    tokens = model.to_tokens(["a red cup"])
    assert tokens.shape == (1, 12)
    clip = open_clip.get_tokenizer("ViT-B-32", context_length=12)
    assert torch.equal(tokens, clip(["a red cup"]))
    assert model.tokenizer_id == load_model(TINY, checkpoint).tokenizer_id
    with pytest.raises(UserError, match=r"no tokenizer of 'ViT-B-33': did you mean 'ViT-B-32'"):
        load_model(TINY, checkpoint, tokenizer="ViT-B-33")


@pytest.mark.filterwarnings("ignore:The image transform of this file is a guess")
def test_a_tokenizer_of_transformers(checkpoint: str, tmp_path: Path) -> None:
    from tests.models.test_loading import save_tokenizer

    save_tokenizer(tmp_path / "words", ["a", "red", "cup"])
    model = load_model(TINY, checkpoint, tokenizer=f"hf:{tmp_path / 'words'}")
    assert model.to_tokens(["a red cup"]).tolist() == [[1, 3, 4, 5, 99] + [0] * 7]


@pytest.mark.filterwarnings("ignore:The image transform of this file is a guess")
def test_quick_gelu_is_another_model_by_whichever_name(checkpoint: str) -> None:
    plain = load_model(TINY, checkpoint)
    quick = load_model(TINY, checkpoint, force_quick_gelu=True)
    named = load_model(f"{TINY}-quickgelu", checkpoint)
    assert quick.weights_id == named.weights_id != plain.weights_id
    assert quick.cfg.model_name == named.cfg.model_name == f"{TINY}-quickgelu"
    assert quick.legacy_weights_id == plain.legacy_weights_id
    again = load_model(f"{TINY}-quickgelu", checkpoint, force_quick_gelu=True)
    assert again.cfg.model_name == f"{TINY}-quickgelu"


@pytest.mark.filterwarnings("ignore:.*random")
def test_one_name_for_one_model(vit: Tiny) -> None:
    model = load_model(TINY.replace("mm-sae", "mm/sae"))
    assert model.cfg.model_name == TINY


@pytest.mark.parametrize(
    "options", [dict(tokenizer="ViT-B-32"), dict(preprocess="a.json"), dict(force_quick_gelu=True)]
)
@pytest.mark.parametrize("name", ["factorworld", "hf:somewhere"])
def test_what_brings_its_own_parts_takes_no_others(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{name} brings its own tokenizer"):
        load_model(name, **options)


def test_weights_for_a_model_that_brings_its_own() -> None:
    with pytest.raises(UserError, match="factorworld brings its own weights"):
        load_model("factorworld", "openai")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(device="mps:9"), "no mps device"),
        (dict(device="gpu"), "no device 'gpu'"),
        (dict(dtype="float99"), "Models do not run in 'float99'"),
    ],
)
def test_devices_and_types_are_checked_first(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model("factorworld", **options)
    with pytest.raises(UserError, match=message):
        HookedCLIP.from_open_clip("no such model", **options)


def test_a_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are a folder: .* local-dir:"):
        load_model(TINY, str(tmp_path))


def test_a_folder_as_a_name_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-clip").mkdir()
    with pytest.raises(UserError, match=r"is a folder: give local-dir:my-clip .* or hf:my-clip"):
        load_model("my-clip")


class Mark:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def _advises_unsafety(text: str) -> bool:
    return any(word in text for word in ("weights_only", "add_safe_globals", "trust_remote"))


@pytest.mark.parametrize("how", ["torch", "pickle", "module"])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, vit: Tiny, how: str) -> None:
    path, mark = tmp_path / "weights.pt", tmp_path / "was-run"
    content: Any = vit.clip if how == "module" else {"weight": Mark(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"weights\.pt' \(it is .*a pickle") as error:
        load_model(TINY, str(path))
    assert not _advises_unsafety(str(error.value)) and "\n" not in str(error.value)
    assert not mark.exists()


def test_a_scripted_model_is_named(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "weights.pt")
    with pytest.raises(UserError, match="it is a TorchScript archive") as error:
        load_model(TINY, str(tmp_path / "weights.pt"))
    assert not _advises_unsafety(str(error.value))


@pytest.mark.parametrize("content", [b"", b"hello", b"version https://git-lfs", b"\x80\x02."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"could not load .*weights") as error:
        load_model(TINY, str(path))
    assert not _advises_unsafety(str(error.value)) and "\n" not in str(error.value)


def test_a_pickle_in_a_folder_of_transformers(tmp_path: Path) -> None:
    tiny = build("transformers-clip")
    tiny.clip.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"weight": Mark(tmp_path / "was-run")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"The weights of .* could not be loaded") as error:
        load_model(f"hf:{tmp_path}")
    assert not _advises_unsafety(str(error.value))
    assert not (tmp_path / "was-run").exists()


def test_a_pickle_in_a_folder_of_open_clip(tmp_path: Path) -> None:
    config = dict(model_cfg=dict(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT))
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save({"weight": Mark(tmp_path / "was-run")}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="it is a pickle of more than plain tensors"):
        load_model(f"local-dir:{tmp_path}")
    assert not (tmp_path / "was-run").exists()


def test_a_picture_goes_through_the_chosen_transform(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(dict(mean=[0, 0, 0], std=[0.5, 0.5, 0.5])))
    model = load_model(TINY, checkpoint, preprocess=str(tmp_path / "t.json"))
    pixels = model.to_pixels([Image.new("RGB", (40, 30), "white")])
    torch.testing.assert_close(pixels, torch.full((1, 3, 32, 32), 2.0))
