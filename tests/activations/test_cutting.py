"""Captions longer than the context are counted, whatever the tokenizer."""

import warnings
from dataclasses import dataclass

import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.activations.cutting import CutCaptions
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer
from mm_sae_plugin.models.inputs import Deferred, TransformersTokenizer
from tests.activations.pictures import noise_pairs, tokenize

CONTEXT = 9
_WORDS = ("cat", "dog", "sun", "sea", "one", "two")
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<cls>", "<unk>")


def _fast(template, **special) -> PreTrainedTokenizerFast:
    ids = {word: i for i, word in enumerate((*_SPECIAL, *_WORDS))}
    backend = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    backend.post_processor = TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single=template, special_tokens=[(name, ids[name]) for name in _SPECIAL]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


def _hf(template, mode="", **special) -> HFTokenizer:
    tokenizer = HFTokenizer.__new__(HFTokenizer)
    tokenizer.tokenizer = _fast(template, **special)
    tokenizer.context_length = CONTEXT
    tokenizer.tokenizer_mode = mode
    tokenizer.strip_sep_token = False
    tokenizer.clean_fn = lambda x: x.strip()
    return tokenizer


def _siglip() -> SigLipTokenizer:
    tokenizer = SigLipTokenizer.__new__(SigLipTokenizer)
    # The end and the padding are one token, as in the published ones.
    tokenizer.tokenizer = _fast("$A <eos>", pad_token="<eos>", eos_token="<eos>")
    tokenizer.context_length = CONTEXT
    return tokenizer


def _transformers(template, **special) -> TransformersTokenizer:
    return TransformersTokenizer(_fast(template, **special), CONTEXT)


def _load(special):
    return _transformers("<bos> $A <eos>", **special)


_CLIP = dict(pad_token="<eos>", eos_token="<eos>", bos_token="<bos>")
_BERT = dict(pad_token="<pad>", cls_token="<cls>", eos_token="<eos>", bos_token="<bos>")
# The tokenizer, and how many tokens of its own it adds to a caption.
TOKENIZERS = {
    "open_clip": (lambda: SimpleTokenizer(context_length=CONTEXT), 2),
    "open_clip-hf": (lambda: _hf("<cls> $A <eos>", **_BERT), 2),
    "open_clip-hf-class-token": (lambda: _hf("$A", mode="clips", **_BERT), 3),
    "open_clip-siglip": (_siglip, 1),
    "transformers": (lambda: _transformers("<cls> $A <eos>", **_BERT), 2),
    "transformers-clip": (lambda: _transformers("<bos> $A <eos>", **_CLIP), 2),
    "transformers-no-end": (lambda: _transformers("$A", pad_token="<pad>"), 0),
    "deferred": (lambda: Deferred("tokenizer", _load, (_CLIP,)), 2),
    "factorworld": (lambda: WordTokenizer(_WORDS, CONTEXT), 2),
    "function": (lambda: WordTokenizer(_WORDS, CONTEXT).__call__, 2),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_captions_are_cut_exactly_beyond_the_context(name):
    build, n_special = TOKENIZERS[name]
    tokenizer = build()
    captions = [" ".join((_WORDS * 3)[:n]) for n in range(1, 16)]
    expected = [n + n_special > CONTEXT for n in range(1, 16)]
    tokens = tokenizer(captions)
    before = tokens.clone()
    are_cut = CutCaptions(tokenizer)
    assert are_cut.context_length == CONTEXT
    assert are_cut(captions, tokens).tolist() == expected
    # The caller's own tokenizer goes on as it was.
    assert torch.equal(tokenizer(captions), before)


def test_a_word_that_looks_like_padding_is_not_taken_for_it():
    # open_clip pads with 0, which is also its exclamation mark.
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    captions = ["cat " * n + "!" * m for n in range(9) for m in (1, 3)]
    expected = [len(tokenizer.encode(caption)) + 2 > CONTEXT for caption in captions]
    assert {True, False} <= set(expected)
    assert CutCaptions(tokenizer)(captions, tokenizer(captions)).tolist() == expected


def test_half_a_word_lost_is_a_caption_cut():
    tokenizer = SimpleTokenizer(context_length=CONTEXT)
    long_word = "cat " * 5 + "monosemanticity"
    assert len(tokenizer.encode(long_word)) == 9
    assert CutCaptions(tokenizer)([long_word], tokenizer([long_word])).tolist() == [True]


@dataclass
class Counted:
    """Counts what it is asked."""

    context_length: int = CONTEXT
    asked: int = 0

    def __call__(self, captions):
        self.asked += len(captions)
        return WordTokenizer(_WORDS, self.context_length)(captions)


def test_short_captions_cost_nothing():
    tokenizer = Counted()
    are_cut = CutCaptions(tokenizer)
    tokens = tokenizer(["cat dog"] * 100)
    before = tokenizer.asked
    assert not are_cut(["cat dog"] * 100, tokens).any()
    assert tokenizer.asked == before


CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0)


def test_the_store_counts_them_and_says_so(model, tmp_path):
    long = {f"image {i} said 0": f"image {i} said far too much for it" for i in range(0, 20, 3)}
    with pytest.warns(UserWarning, match="7 of 20 captions are longer than the 6 tokens.*cut"):
        store = extract(model, noise_pairs(20, captions=long), tmp_path / "s", CFG)
    manifest = ActivationStore.open(store.path).manifest
    assert (manifest.n_captions_cut, manifest.context_length) == (7, 6)
    with pytest.warns(UserWarning, match="7 of 20 captions"):
        extract(model, noise_pairs(20, captions=long), tmp_path / "s", CFG)


def test_they_are_counted_over_an_interruption(model, tmp_path):
    long = {f"image {i} said 0": f"image {i} said far too much for it" for i in (0, 3, 19)}
    with pytest.raises(KeyboardInterrupt):
        extract(model, noise_pairs(20, captions=long, interrupt_at=17), tmp_path / "s", CFG)
    with pytest.warns(UserWarning, match="3 of 20 captions"):
        store = extract(model, noise_pairs(20, captions=long), tmp_path / "s", CFG)
    assert store.manifest.n_captions_cut == 3


def test_nothing_is_said_where_nothing_is_cut(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = extract(model, noise_pairs(10), tmp_path / "s", CFG)
    assert (store.manifest.n_captions_cut, store.manifest.context_length) == (0, 6)
    alone = ExtractConfig(num_workers=0, text_hook=None)
    images = extract(model, noise_pairs(10), tmp_path / "images", alone)
    assert images.manifest.n_captions_cut is None and images.manifest.context_length is None


def test_skipped_captions_do_not_count(model, tmp_path):
    long = {f"image {i} said 0": f"image {i} said far too much for it" for i in (0, 3)}
    cfg = ExtractConfig(batch_size=8, num_workers=0, max_skipped=1.0)
    source = noise_pairs(10, captions=long, missing=frozenset({3}))
    assert extract(model, source, tmp_path / "s", cfg).manifest.n_captions_cut == 1


def test_the_function_of_the_tests_has_no_context_of_its_own():
    # Else the tests above would not meet a tokenizer of which little is known.
    assert not hasattr(tokenize, "context_length")
