"""An attack on one picture in words: what a static evaluation tells, and what is true."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.applications.defense.one_picture import Outcome
from mm_sae_plugin.demos.defense.subject import called

_ONE = "This is one picture, one attack and one start: shares of many are under “The evaluation”."


def verdict(outcome: Outcome, names: Sequence[str], defense: str) -> str:
    """Say what became of the picture, for the defense that is looked at.

    Parameters
    ----------
    outcome : Outcome
        With the picture that was made through the defense.
    names : sequence of str
        Of the classes.
    defense : str
        The contender.
    """
    said, truth = outcome.said[defense], outcome.truth
    assert said.adaptive is not None
    clean, static, adaptive = (
        int(each.argmax()) for each in (said.clean, said.static, said.adaptive)
    )
    shown = _quoted(names[truth])
    if defense == NONE:
        told = (
            f"Without a defense the attack holds off: it is still read as {shown}."
            if static == truth
            else f"Without a defense the picture of {shown} is read as {_quoted(names[static])}."
        )
        return _box([told, "Choose a defense above to see whether it helps."])
    what = f"<b>{escape(called(defense))}</b>"
    if clean != truth:
        told = (
            f"{what} reads the picture of {shown} as {_quoted(names[clean])} before any attack: "
            "there is nothing that it could defend here."
        )
        return _box([told, _ONE])
    if truth == int(outcome.said[NONE].static.argmax()) == adaptive:
        told = (
            "The attack fools nobody, not even the encoder without a defense, so that it says "
            f"nothing of {what}: give it a larger ε or more steps."
        )
        return _box([told])
    lines = (
        f"<b>What a static evaluation would have told you:</b> {_static(names, truth, static)}",
        f"<b>What is true:</b> {_adaptive(what, names, truth, static, adaptive)}",
    )
    return _box([*lines, _ONE])


def _static(names: Sequence[str], truth: int, static: int) -> str:
    if static == truth:
        return (
            "it defends. The picture that was made against the encoder without it is still read "
            f"as {_quoted(names[truth])}."
        )
    return (
        "it does not defend. Even the picture that was made without knowing it is read as "
        f"{_quoted(names[static])}."
    )


def _adaptive(what: str, names: Sequence[str], truth: int, static: int, adaptive: int) -> str:
    if static == truth and adaptive != truth:
        return (
            f"an attack that goes through {what} finds a picture within the same ε that it reads "
            f"as {_quoted(names[adaptive])}. The static figure flattered it."
        )
    if static == truth:
        return (
            f"{what} holds here. The attack that goes through it does not find a picture that it "
            f"gets wrong: {_quoted(names[truth])} both times."
        )
    if adaptive == truth:
        return (
            f"the attack through {what} found less than the picture made without it: it is a "
            "weaker attack here, and the worst case counts."
        )
    return f"the same: attacked through {what}, too, it is read as {_quoted(names[adaptive])}."


def _quoted(name: str) -> str:
    return f"“{escape(name)}”"


def _box(lines: Sequence[str]) -> str:
    return f'<div class="df-verdict">{"".join(f"<p>{line}</p>" for line in lines)}</div>'
