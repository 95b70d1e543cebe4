"""Which captions are longer than a model's context, and lose what stands beyond it."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class CutCaptions:
    """Finds the captions that a tokenizer cuts; short ones cost nothing.

    A caption is cut when one more token of context gives other tokens, padding apart. That holds
    whatever the tokenizer does with its end, its padding and its ids. It needs a tokenizer that
    keeps its ``context_length``, as those of open_clip, of FactorWorld and ours of transformers
    do. Of any other, a caption counts as cut when its last word changes nothing.

    Parameters
    ----------
    tokenizer
        Turns captions into token ids ``[n, ctx]``, padded at the end.
    """

    def __init__(self, tokenizer: Callable[[list[str]], Int[Tensor, "n ctx"]]) -> None:
        self._tokenizer = tokenizer
        self._blank = tokenizer([""])[0].tolist()
        # A class token may stand behind the padding.
        self._n_behind = int(self._blank[-1] != self._blank[-2])
        self._padding = self._blank[-2]
        self._longer = _with_context(tokenizer, self.context_length + 1)

    @property
    def context_length(self) -> int:
        """Tokens in a caption."""
        return len(self._blank)

    def __call__(
        self, captions: list[str], tokens: Int[Tensor, "captions ctx"]
    ) -> Bool[Tensor, "captions"]:
        """Return which captions are cut.

        Parameters
        ----------
        captions
            Captions.
        tokens
            What the tokenizer made of them, on any device.
        """
        tokens = tokens.cpu()
        # The end token may itself be the padding, so that the last place tells too little.
        ends = tokens[:, : tokens.shape[1] - self._n_behind][:, -2:]
        cut = (ends != self._padding).any(dim=1)
        rows = cut.nonzero()[:, 0].tolist()
        if not rows:
            return cut
        changed = self._are_cut([captions[row] for row in rows], tokens[rows])
        cut[torch.tensor(rows)] = torch.tensor(changed)
        return cut

    def _are_cut(self, captions: list[str], tokens: Tensor) -> list[bool]:
        there = [self._content(row) for row in tokens.tolist()]
        if self._longer is not None:
            longer = self._longer(captions).tolist()
            return [
                content != self._content(row) for content, row in zip(there, longer, strict=True)
            ]
        shorter = [caption.rstrip().rpartition(" ")[0] for caption in captions]
        rows = self._tokenizer(shorter).tolist()
        return [content == self._content(row) for content, row in zip(there, rows, strict=True)]

    def _content(self, row: list[int]) -> list[int]:
        row = row[: len(row) - self._n_behind]
        while row and row[-1] == self._padding:
            row.pop()
        return row


def _with_context(tokenizer: Any, context_length: int) -> Any:
    """Return a copy of a tokenizer with another context, or None if it does not keep its own."""
    # One that is loaded when it is first called holds the thing itself.
    tokenizer = getattr(tokenizer, "loaded", None) or tokenizer
    if not hasattr(tokenizer, "context_length"):
        return None
    longer = copy.copy(tokenizer)
    # Some are frozen dataclasses; the copy is ours alone.
    object.__setattr__(longer, "context_length", context_length)
    return longer if longer([""]).shape[1] == context_length else None
