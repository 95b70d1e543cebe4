"""How far two ways of classifying agree, beyond what chance would give."""

from collections import Counter
from collections.abc import Sequence


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa (1960) of two classifications of the same things.

    Returns
    -------
    float or None
        1 for perfect agreement, 0 for that of chance; None where nothing was classified, or one
        of the two calls everything alike, so that it can agree no better than by chance.
    """
    assert len(first) == len(second)
    n = len(first)
    if n == 0:
        return None
    agree = sum(a == b for a, b in zip(first, second, strict=True)) / n
    counts = Counter(first), Counter(second)
    if min(len(counts[0]), len(counts[1])) == 1:
        return None
    chance = sum(counts[0][name] * counts[1][name] for name in counts[0]) / n**2
    return (agree - chance) / (1 - chance)
