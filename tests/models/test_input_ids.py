"""Ids of image transforms and tokenizers: by what they do."""

import subprocess
import sys
from functools import partial
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor

from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.input_ids import tokenizer_digest, transform_digest
from tests.models.conftest import toy_tokenizer
from tests.models.tiny import Tiny


def transform(**settings: Any) -> Any:
    return image_transform_v2(PreprocessCfg(**{"size": 64, **settings}), is_train=False)


OTHERS = [
    dict(mean=(0.5, 0.5, 0.5)),
    dict(std=(0.3, 0.3, 0.3)),
    dict(interpolation="bilinear"),
    dict(resize_mode="squash"),
    dict(resize_mode="longest"),
    dict(size=72),
]


@pytest.mark.parametrize("settings", OTHERS, ids=str)
def test_another_transform_has_another_id(settings: dict) -> None:
    assert transform_digest(transform(**settings)) != transform_digest(transform())


@pytest.mark.parametrize("size", [32, 224, 512])
def test_interpolation_is_seen_at_every_size(size: int) -> None:
    bicubic, bilinear = (
        transform_digest(transform(size=size, interpolation=name))
        for name in ("bicubic", "bilinear")
    )
    assert bicubic != bilinear


def _flipped(inner: Any, picture: Any) -> Tensor:
    return inner(picture).flip(-1)


def _again(inner: Any, picture: Any) -> Tensor:
    # The noise of another machine's last bits.
    return inner(picture).double() + 1e-8


def test_a_closure_counts_for_what_it_does() -> None:
    plain = transform_digest(transform())
    assert transform_digest(partial(_flipped, transform())) != plain
    assert transform_digest(partial(_again, transform())) == plain
    assert transform_digest(lambda picture: transform()(picture)) == plain


def test_a_transform_of_transformers_and_one_of_open_clip_that_agree() -> None:
    from transformers import CLIPImageProcessor

    from mm_sae_plugin.models.inputs import TransformersPreprocess

    size = {"height": 64, "width": 64}
    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=size)
    ours = TransformersPreprocess(processor)
    assert transform_digest(ours) == transform_digest(ours)
    squashed = TransformersPreprocess(CLIPImageProcessor(size=size, crop_size=size))
    assert transform_digest(squashed) != transform_digest(ours)


def test_tokenizers_count_for_what_they_do() -> None:
    clip = open_clip.get_tokenizer("ViT-B-32")
    plain = tokenizer_digest(clip)
    assert tokenizer_digest(open_clip.get_tokenizer("ViT-L-14")) == plain
    shorter = open_clip.get_tokenizer("ViT-B-32", context_length=40)
    assert tokenizer_digest(shorter) != plain
    assert tokenizer_digest(lambda captions: clip([c.lower() + "." for c in captions])) != plain
    assert tokenizer_digest(toy_tokenizer) != plain


def test_word_lists_that_differ_in_one_word() -> None:
    from mm_sae_plugin.factorworld.tokenizer import WordTokenizer

    words = ["a", "zebra"]
    ids = {tokenizer_digest(WordTokenizer([*words, last], 12)) for last in ("oboe", "harp")}
    assert len(ids) == 2


def test_the_model_names_both(vit: Tiny) -> None:
    bare = HookedCLIP.wrap(vit.clip)
    assert bare.transform_id is None and bare.tokenizer_id is None
    model = HookedCLIP.wrap(vit.clip, tokenizer=toy_tokenizer, preprocess=transform(size=32))
    assert model.transform_id == transform_digest(transform(size=32))
    assert model.tokenizer_id == tokenizer_digest(toy_tokenizer)
    model.preprocess = partial(_flipped, transform(size=32))
    assert model.transform_id != transform_digest(transform(size=32))


def test_ids_are_the_same_in_another_process() -> None:
    code = (
        "import open_clip; from mm_sae_plugin.models.input_ids import tokenizer_digest as t;"
        "print(t(open_clip.get_tokenizer('ViT-B-32')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == tokenizer_digest(open_clip.get_tokenizer("ViT-B-32"))


def test_the_id_of_the_default_transform_does_not_drift() -> None:
    """A store made last year must be found again: this id may change with a new format only."""
    assert transform_digest(transform(size=224)) == "sha256:5b580238c3826cbe"
    assert tokenizer_digest(lambda captions: torch.ones(len(captions), 3, dtype=torch.long)) == (
        "sha256:dec7c488222aba77"
    )
