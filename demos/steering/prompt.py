"""What a text encoder of few words takes in of a prompt, in sentences for the page."""

from __future__ import annotations

from mm_sae_plugin.factorworld.tokenizer import WORD, WordTokenizer

_MOST_NAMED = 5


def left_out(tokenizer: WordTokenizer | None, text: str) -> str:
    """Say which words of a text are not known, and which lie beyond what is read; may be empty.

    Parameters
    ----------
    tokenizer : WordTokenizer, optional
        Of the encoder; None for one that knows any word, of which nothing is said.
    text : str
    """
    if tokenizer is None:
        return ""
    words = WORD.findall(text)
    # Start and end take two of the places.
    n_read = tokenizer.context_length - 2
    told = []
    unknown = list(dict.fromkeys(tokenizer.unknown_words(" ".join(words[:n_read]))))
    if unknown:
        named = ", ".join(f"“{word}”" for word in unknown[:_MOST_NAMED])
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        told.append(f"Only words of FactorWorld's captions mean something here; not {named}{more}.")
    if len(words) > n_read:
        told.append(
            f"Only the first {n_read} words are read: “{words[n_read]}” and what follows is cut."
        )
    elif not words:
        told.append("No word of it is read.")
    return " ".join(told)
