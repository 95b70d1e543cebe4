"""The word tokenizer: every caption word is known, unknown words and long captions are taken."""

import torch

from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.factorworld.architecture import CONTEXT_LENGTH, build_tokenizer


def test_every_caption_is_known_and_fits():
    tokenizer, world = build_tokenizer(), FactorWorld(4)
    for index in range(500):
        caption = world.scene(index).caption
        assert tokenizer.unknown_words(caption) == []
        assert len(tokenizer.encode(caption)) <= CONTEXT_LENGTH - 2


def test_rows_start_and_end_and_are_padded():
    tokenizer = build_tokenizer()
    row = tokenizer("two red cups")[0]
    assert row.shape == (CONTEXT_LENGTH,)
    assert row.dtype == torch.long
    assert row[0] == tokenizer.sot_token_id
    assert row[4] == tokenizer.eot_token_id == row.max() == tokenizer.vocab_size - 1
    assert row[5:].eq(0).all()


def test_case_is_folded_and_unknown_words_share_one_id():
    tokenizer = build_tokenizer()
    assert tokenizer.encode("RED Zeppelin quark") == [
        *tokenizer.encode("red"),
        tokenizer.unk_token_id,
        tokenizer.unk_token_id,
    ]
    assert tokenizer.unknown_words("a RED zeppelin") == ["a", "zeppelin"]


def test_long_and_empty_captions_keep_their_end():
    tokenizer = build_tokenizer()
    rows = tokenizer(["red " * 100, ""])
    assert rows[0, -1] == tokenizer.eot_token_id
    assert rows[1, :2].tolist() == [tokenizer.sot_token_id, tokenizer.eot_token_id]
