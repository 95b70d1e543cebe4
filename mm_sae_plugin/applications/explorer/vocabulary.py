"""The words and short phrases that captions are made of, and which caption holds which."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_sae_plugin.stats.words import words_of

_LONGEST = 3
"""Words of a phrase, at most."""


@dataclass(frozen=True)
class Vocabulary:
    """Phrases of one to three words that stand in enough distinct captions."""

    phrases: tuple[str, ...]
    """In lower case, by a single blank; sorted."""
    presence: Any
    """Sparse 0/1 matrix [n_pairs, n_phrases + 1] in float32: which caption holds which phrase. The
    last column is 1 for every caption. Captions that stood in a pair before have an empty row, so
    that what is said a thousand times counts once."""

    @classmethod
    def of(cls, captions: Sequence[str], most: int, least: int = 10) -> "Vocabulary":
        """Collect the phrases of captions.

        Parameters
        ----------
        captions : sequence of str
            One per pair.
        most : int
            Phrases to keep, at most; the more common ones.
        least : int
            Distinct captions that a phrase must stand in.
        """
        first = {}
        for row, caption in enumerate(captions):
            first.setdefault(caption, row)
        spoken = {row: words_of(caption) for caption, row in first.items()}
        counts = _frequent(spoken.values(), least)
        chosen = sorted(phrase for phrase, _ in counts.most_common(most))
        return cls(tuple(map(" ".join, chosen)), _presence(spoken, chosen, len(captions)))

    @property
    def n_captions(self) -> np.ndarray:
        """Distinct captions that hold each phrase; the last entry is all of them."""
        return np.asarray(self.presence.sum(0), dtype=np.float64).ravel()


def _frequent(captions: Iterable[Sequence[str]], least: int) -> Counter[tuple[str, ...]]:
    """Count phrases; a longer one is counted only where both its shorter parts are frequent."""
    captions = list(captions)
    frequent: Counter[tuple[str, ...]] = Counter()
    for length in range(1, _LONGEST + 1):
        counts: Counter[tuple[str, ...]] = Counter()
        for words in captions:
            counts.update(
                phrase
                for phrase in _phrases(words, length)
                if length == 1 or (phrase[:-1] in frequent and phrase[1:] in frequent)
            )
        frequent.update({phrase: n for phrase, n in counts.items() if n >= least})
    return frequent


def _phrases(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def _presence(
    spoken: Mapping[int, Sequence[str]], chosen: Sequence[tuple[str, ...]], n_pairs: int
) -> Any:
    from scipy.sparse import csr_array

    number = {phrase: i for i, phrase in enumerate(chosen)}
    columns, counts = [], np.zeros(n_pairs + 1, dtype=np.int64)
    for row in range(n_pairs):
        if row not in spoken:
            continue
        held = {
            number[phrase]
            for length in range(1, _LONGEST + 1)
            for phrase in _phrases(spoken[row], length)
            if phrase in number
        }
        columns.append(np.fromiter(sorted({*held, len(chosen)}), dtype=np.int32))
        counts[row + 1] = len(columns[-1])
    indices = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)
    ones = np.ones(len(indices), dtype=np.float32)
    shape = (n_pairs, len(chosen) + 1)
    return csr_array((ones, indices, counts.cumsum()), shape=shape)
