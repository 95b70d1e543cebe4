"""Which words of a caption carry a latent."""

from dataclasses import dataclass

from mm_sae_plugin.applications.explorer.given import one_latent
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.stats.words import WORD
from mm_sae_plugin.study import Study


@dataclass(frozen=True)
class WordWeight:
    """A word of a caption, and what it does for a latent."""

    word: str
    """As it is written."""
    start: int
    """Where it begins in the caption."""
    stop: int
    """Where it ends."""
    fall: float
    """How much the latent's activation falls when the word is left out; below 0 where it rises."""


def word_weights(study: Study, latent: int, caption: str) -> list[WordWeight]:
    """Leave every word of a caption out in turn and see how much a latent falls.

    Words that stand for each other (a colour said twice) each seem to weigh nothing, and what a
    shorter caption does by being shorter is counted as the word's.

    Parameters
    ----------
    study : Study
    latent : int
    caption : str

    Returns
    -------
    list of WordWeight
        In the order of the caption; ``caption[word.start : word.stop] == word.word``.

    Raises
    ------
    UserError
        If there is no such latent, or the caption holds no word.
    """
    latent = one_latent(study, latent)
    if not isinstance(caption, str):
        raise UserError(f"A caption must be a string, not {kind_of(caption)}.")
    words = list(WORD.finditer(caption))
    if not words:
        raise UserError("The caption is empty: give at least one word.")
    # Blanks around what is left out become one.
    rests = [" ".join((caption[: w.start()] + caption[w.end() :]).split()) for w in words]
    _, codes = study.codes(texts=[caption, *rests])
    assert codes is not None
    whole, *left = codes[:, latent].tolist()
    return [
        WordWeight(word.group(), word.start(), word.end(), whole - rest)
        for word, rest in zip(words, left, strict=True)
    ]
