"""Words of captions, and which the strongest captions of a latent have in common."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from mm_sae_plugin.stats.significance import binomial_tail

WORD = re.compile(r"[\w#@'’-]+|[?!]")
"""What counts as a word of a caption; two marks do as well, since captions differ by them."""
# Odds that a word is shared by accident, at most; and accidents to expect among all words of the
# captions shown together, since long captions have hundreds of words.
_ODDS, _ACCIDENTS = 5e-3, 0.15


def words_of(caption: str) -> list[str]:
    """Words of a caption in lower case, in their order."""
    return [word.lower() for word in WORD.findall(caption)]


class Piece(NamedTuple):
    """A stretch of a caption."""

    text: str
    """As it was written."""
    marked: bool
    """Whether it is a word that the captions share."""


class SharedWords:
    """Finds words that the shown captions share and that captions at large do not.

    Parameters
    ----------
    captions : sequence of str
        All captions, to know how common a word is anyway.
    """

    def __init__(self, captions: Sequence[str]) -> None:
        self._n = max(len(captions), 1)
        self._common = Counter(word for caption in captions for word in _words(caption))
        self._odds = cache(binomial_tail)

    def shared(self, shown: Sequence[str]) -> list[str]:
        """Words in most of the shown captions, more often than captions at random would have.

        A handful of captions shares words by accident, so the binomial odds must be below 1 in
        200, and lower where there are many words; two captions can hardly reach that.

        Returns
        -------
        list of str
            In lower case, the least accidental first.
        """
        counts = Counter(word for caption in shown for word in _words(caption))
        limit = min(_ODDS, _ACCIDENTS / max(len(counts), 1))
        odds = {
            word: self._odds(count, len(shown), self._common[word] / self._n)
            for word, count in counts.items()
            if count >= 0.6 * len(shown)
        }
        return sorted((w for w in odds if odds[w] < limit), key=lambda w: (odds[w], w))


def pieces(caption: str, shared: Sequence[str]) -> list[Piece]:
    """Cut a caption so that the shared words stand alone; joined, the pieces are the caption."""
    marked, found, end = set(shared), [], 0
    for match in WORD.finditer(caption):
        if match.group().lower() in marked:
            if end < match.start():
                found.append(Piece(caption[end : match.start()], False))
            found.append(Piece(match.group(), True))
            end = match.end()
    return [*found, Piece(caption[end:], False)] if end < len(caption) else found


@lru_cache(maxsize=4096)
def _words(caption: str) -> frozenset[str]:
    return frozenset(words_of(caption))
