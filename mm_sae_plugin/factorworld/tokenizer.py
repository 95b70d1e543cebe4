"""A word tokenizer for FactorWorld's captions that also takes words it has never seen."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

WORD = re.compile(r"#?\w+|[.!?]")
"""What counts as a word of a caption."""


class WordTokenizer:
    """Map captions to token ids, one id a word.

    Id 0 is padding. A word outside the vocabulary becomes ``unk_token_id``, which the embedded
    models met in training. The end-of-text id is the largest, where open_clip's text tower pools.

    Parameters
    ----------
    words
        The known words, lower case.
    context_length
        Length of every token row; longer captions are cut.
    """

    def __init__(self, words: Sequence[str], context_length: int):
        self.words = tuple(words)
        self.context_length = context_length
        self.unk_token_id = len(self.words) + 1
        self.sot_token_id = len(self.words) + 2
        self.eot_token_id = len(self.words) + 3
        self._ids = {word: index for index, word in enumerate(self.words, start=1)}

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words, padding, unknown, start and end."""
        return len(self.words) + 4

    def encode(self, text: str) -> list[int]:
        """Return the ids of the words of ``text``, without start, end and padding."""
        return [self._ids.get(word, self.unk_token_id) for word in WORD.findall(text.lower())]

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of ``text`` that are outside the vocabulary, in order."""
        return [word for word in WORD.findall(text.lower()) if word not in self._ids]

    def __call__(self, texts: str | Sequence[str]) -> Int[Tensor, "batch context"]:
        """Return int64 token rows for one caption or several."""
        texts = [texts] if isinstance(texts, str) else texts
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(tokens, texts, strict=True):
            ids = [self.sot_token_id, *self.encode(text)[: self.context_length - 2]]
            row[: len(ids) + 1] = torch.tensor([*ids, self.eot_token_id])
        return tokens
