"""Every latent in one line, as the data of a table that can be searched and sorted."""

from collections.abc import Sequence
from typing import Any

from mm_sae_plugin.report.choice import ranked_latents
from mm_sae_plugin.report.excerpts import clipped
from mm_sae_plugin.report.latent_cards import LatentCards
from mm_sae_plugin.report.ties import tie
from mm_sae_plugin.stats.dominance import ModalityDominance

# Lines that are there without a script; a script makes the others as they are asked for.
N_STATIC = 200
_N_WORDS, _N_LETTERS = 4, 60


def index_table(
    dominance: ModalityDominance, cards: LatentCards, with_card: Sequence[int]
) -> dict[str, Any]:
    """Columns of the table, compact: a page about 16,384 latents should still open at once.

    Returns
    -------
    dict
        `columns` for the script: lists with one entry a latent, best first within each class and
        the dense ones behind; `classes` are numbers into `names`. `rows`: the first lines, for
        those who run no script.
    """
    ranked = ranked_latents(dominance)
    order = [latent for members in ranked.values() for latent in members]
    names = list(ranked)
    carded = set(with_card)
    scores, intervals = dominance.scores.tolist(), dominance.intervals.tolist()
    scored = (dominance.alive & ~dominance.scores.isnan()).tolist()
    columns: dict[str, list[Any]] = {
        "latent": order,
        "class": [names.index(dominance.classes[i]) for i in order],
        "score": [round(scores[i], 3) if scored[i] else None for i in order],
        "low": [round(intervals[i][0], 3) for i in order],
        "high": [round(intervals[i][1], 3) for i in order],
        "image": [_percent(cards.rates["image"][i]) for i in order],
        "text": [_percent(cards.rates["text"][i]) for i in order],
        "about": [_about(dominance, cards, i) for i in order],
        "dense": [int(cards.dense[i]) for i in order],
        "card": [int(i in carded) for i in order],
    }
    rows = [
        {name: column[line] for name, column in columns.items()}
        | {"class": names[columns["class"][line]]}
        for line in range(min(len(order), N_STATIC))
    ]
    return {"columns": columns, "names": names, "rows": rows, "n": len(order)}


def _percent(rate: float) -> float:
    """Rounded, but what is above 0 stays above it."""
    return max(round(100 * rate, 2), 0.01) if rate > 0 else 0.0


def _about(dominance: ModalityDominance, cards: LatentCards, latent: int) -> str:
    """What it may stand for: the known factor, the words its captions share, or one caption; then
    what it is one half of."""
    known = cards.truth.get(latent)
    parts = [] if known is None else [f"{known.factor} = {known.value or '(absent)'}"]
    said = "" if known is None else known.value.lower()
    shared = [word for word in cards.shared_words(latent) if word != said][:_N_WORDS]
    if shared:
        parts.append(", ".join(shared))
    captions = cards.strongest_captions(latent)
    if not parts and captions:
        parts.append(f"“{clipped(captions[0], _N_LETTERS)}”")
    belongs = tie(dominance, latent)
    return " · ".join([*parts, belongs] if belongs else parts)
