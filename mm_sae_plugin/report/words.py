"""Which words the strongest captions of a latent have in common."""

import re
from collections import Counter
from collections.abc import Sequence
from html import escape

from mm_sae_plugin.stats.significance import binomial_tail

_WORD = re.compile(r"[\w#@'’-]+|[?!]")


class SharedWords:
    """Marks words that the shown captions share and that captions at large do not.

    Parameters
    ----------
    captions : sequence of str
        All captions, to know how common a word is anyway.
    """

    def __init__(self, captions: Sequence[str]) -> None:
        self._n = max(len(captions), 1)
        self._common = Counter(word for caption in captions for word in _words(caption))

    def shared(self, shown: Sequence[str]) -> set[str]:
        """Words in most of the shown captions, more often than captions at random would have.

        A handful of captions shares words by accident, so the binomial odds must be below 1 in
        200; two captions can hardly reach that.
        """
        counts = Counter(word for caption in shown for word in _words(caption))
        return {
            word
            for word, count in counts.items()
            if count >= 0.6 * len(shown)
            and binomial_tail(count, len(shown), self._common[word] / self._n) < 5e-3
        }

    def html(self, caption: str, shared: set[str]) -> str:
        """The caption, escaped, with the shared words in `<mark>`."""
        parts, end = [], 0
        for match in _WORD.finditer(caption):
            parts.append(escape(caption[end : match.start()]))
            word = escape(match.group())
            parts.append(f"<mark>{word}</mark>" if match.group().lower() in shared else word)
            end = match.end()
        return "".join(parts) + escape(caption[end:])


def _words(caption: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(caption)}
