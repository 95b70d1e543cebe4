"""What an attack on one picture came to: pictures, words, and every defense's answer."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.applications.defense.one_picture import (
    Outcome,
    as_picture,
    difference_picture,
)
from mm_sae_plugin.demos.defense.drawing import part, pictures, side_by_side, soft, table
from mm_sae_plugin.demos.defense.scores_figure import KEY, scores_figure
from mm_sae_plugin.demos.defense.subject import Subject, called
from mm_sae_plugin.demos.defense.words import verdict

_TABLE = (
    "Static: the picture that was made against the encoder without a defense. Adaptive: a picture "
    "made anew for each row, through its own defense, at the same ε. ✓ is read as what it shows, ✗ "
    "is not; with the probability, and below it that of what it shows."
)


def attacked(
    subject: Subject,
    outcome: Outcome,
    names: Sequence[str],
    defense: str,
    eps: int,
    aim: int | None,
) -> str:
    """Show it; rows of defenses that were not attacked yet stay open.

    Parameters
    ----------
    subject : Subject
    outcome : Outcome
    names : sequence of str
        Of the classes.
    defense : str
        The contender that is looked at.
    eps : int
        The budget, in 1/255.
    aim : int, optional
        Number of the class that the attack leads towards.
    """
    if defense not in outcome.adaptive:
        # The words wait for the second picture.
        return pictures(_pictures(outcome, names, NONE, eps))
    told = "" if aim is None else _led(outcome, names, defense, aim)
    return (
        pictures(_pictures(outcome, names, defense, eps))
        + verdict(outcome, names, defense)
        + told
        + _answers(subject, outcome, names, defense)
        + _scores(outcome, names, defense)
    )


def _pictures(outcome: Outcome, names: Sequence[str], defense: str, eps: int):
    clean, truth = outcome.clean, names[outcome.truth]
    changed = f"change, grey is none, ×\u00a0{127.5 / max(eps, 1):.0f}"
    shown = [(as_picture(clean), f"The picture of {truth} as it is", f"as it is: {truth}")]
    made = [("static", "without knowing the defense", outcome.static)]
    if defense != NONE:
        made.append(("adaptive", f"through {called(defense)}", outcome.adaptive[defense]))
    for kind, how, moved in made:
        told = f"{kind}: made {how}" if defense != NONE else "attacked"
        shown.append((as_picture(moved), f"The picture of {truth} attacked, made {how}", told))
        change = difference_picture(moved, clean, eps / 255)
        shown.append((change, f"What the attack made {how} changed, magnified", changed))
    return shown


def _answers(subject: Subject, outcome: Outcome, names: Sequence[str], defense: str) -> str:
    rows, chosen = [], None
    for name in subject.names:
        said = outcome.said[name]
        if name == defense:
            chosen = len(rows)
        columns = (said.clean, said.static, said.adaptive)
        cells = [_cell(each, names, outcome.truth) for each in columns]
        if name == NONE:
            cells[2] = "the same"
        rows.append((escape(called(name)), *cells))
    heads = ("defense", "as it is", "static", "adaptive")
    return part("What each defense says", table(heads, rows, chosen), soft(_TABLE))


def _cell(shares: Float[Tensor, "k"] | None, names: Sequence[str], truth: int) -> str:
    if shares is None:
        return "not attacked yet"
    first = int(shares.argmax())
    told = f"{escape(names[first])} {float(shares[first]):.2f}"
    if first == truth:
        return f"✓ {told}"
    return (
        f'<span class="df-wrong">✗ {told}</span> <span class="df-soft df-true">'
        f"{escape(names[truth])} {float(shares[truth]):.2f}</span>"
    )


def _scores(outcome: Outcome, names: Sequence[str], defense: str) -> str:
    shown = []
    for name in dict.fromkeys((NONE, defense)):
        said = outcome.said[name]
        drawn = scores_figure(name, names, outcome.truth, said, name == NONE)
        shown.append(f"<h4>With {escape(called(name))}</h4>{drawn}")
    return part("Probability of each class", KEY, side_by_side(shown))


def _led(outcome: Outcome, names: Sequence[str], defense: str, aim: int) -> str:
    said = outcome.said[defense].adaptive
    assert said is not None
    reached = "It is read as that." if int(said.argmax()) == aim else "It does not get there."
    return (
        f"<p>The attack leads towards “{escape(names[aim])}”: through {escape(called(defense))} "
        f"from {float(outcome.said[defense].clean[aim]):.2f} to {float(said[aim]):.2f}. {reached}"
        "</p>"
    )
