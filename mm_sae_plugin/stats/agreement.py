"""How far ways of classifying agree, beyond what chance would give."""

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


def krippendorff_alpha(ratings: Sequence[Sequence[str | None]]) -> float | None:
    """Krippendorff's alpha of any number of raters for names without an order (2004; 2011).

    Every two answers to one thing are compared, weighted so that a thing counts by the number of
    its answers; things with fewer than two answers say nothing.

    Parameters
    ----------
    ratings : sequence of sequences of str or None
        One sequence for each rater, all of the same things in the same order; None where a rater
        gave no answer.

    Returns
    -------
    float or None
        1 for perfect agreement, 0 for that of chance, below 0 for less; None where no two answers
        can be compared, or all are alike.
    """
    agree, counts = 0.0, Counter()
    for answers in zip(*ratings, strict=True):
        given = Counter(answer for answer in answers if answer is not None)
        if given.total() < 2:
            continue
        agree += sum(n * (n - 1) for n in given.values()) / (given.total() - 1)
        counts += given
    if len(counts) < 2:
        return None
    chance = sum(n * (n - 1) for n in counts.values()) / (counts.total() - 1)
    return (agree - chance) / (counts.total() - chance)
