"""Captions of any length, cut so that a card stays readable."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mm_sae_plugin.stats.words import Piece, pieces

# About three lines of a card; a little more is shown rather than a button for one word.
_SHORT, _SLACK = 180, 40
# What stands in front of the first shared word, when the cut moves to it.
_LEAD = 60
# Nobody reads on, and a page should not carry whole documents.
_WHOLE = 6000
_JOINER = "\u200d"


@dataclass(frozen=True)
class Excerpt:
    """A caption as it is shown: at once, and after *more*."""

    short: list[Piece]
    """What is shown at once."""
    whole: list[Piece] | None
    """What *more* shows; None where the short form is all."""
    n_left_out: int = 0
    """Characters that not even *more* shows."""

    @classmethod
    def of(cls, caption: str, shared: Sequence[str] = ()) -> "Excerpt":
        """Cut a caption; the part that is shown holds the first shared word, if there is one."""
        caption = " ".join(caption.split())
        if len(caption) <= _SHORT + _SLACK:
            return cls(pieces(caption, shared), None)
        kept = caption[: _cut(caption, _WHOLE)] if len(caption) > _WHOLE else caption
        whole = pieces(kept, shared)
        start = _start(whole)
        end = start + _cut(kept[start:], _SHORT)
        short = pieces(kept[start:end].strip(), shared)
        if start:
            short = [Piece("… ", False), *short]
        if end < len(caption):
            short.append(Piece(" …", False))
        return cls(short, whole, len(caption) - len(kept))


def clipped(text: str, length: int) -> str:
    """The beginning of a text, with … where something was cut."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: _cut(text, length)].rstrip()} …"


def _start(whole: list[Piece]) -> int:
    """Where the short form begins: at the caption's start if a shared word is in reach of it."""
    before = 0
    for piece in whole:
        if piece.marked:
            break
        before += len(piece.text)
    else:
        return 0
    if before <= _SHORT - _LEAD:
        return 0
    text = "".join(piece.text for piece in whole)
    gap = text.find(" ", before - _LEAD, before)
    return before if gap < 0 else gap + 1


def _cut(text: str, limit: int) -> int:
    """Where to cut: between words if one ends in reach, and never inside a character."""
    if len(text) <= limit:
        return len(text)
    space = text.rfind(" ", limit // 2, limit + 1)
    if space >= 0:
        return space
    end = limit
    while end > limit // 2 and _belongs_to_previous(text, end):
        end -= 1
    return end


def _belongs_to_previous(text: str, i: int) -> bool:
    """Whether what stands at `i` is one with what stands before: accents, joined emoji."""
    letter = text[i]
    return (
        letter == _JOINER
        or text[i - 1] == _JOINER
        or unicodedata.category(letter).startswith("M")
        or 0x1F3FB <= ord(letter) <= 0x1F3FF
    )
