"""Which latents and classes an attack moved, and how far a defense pulled them back."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.applications.defense.movement import Movement
from mm_sae_plugin.applications.defense.one_picture import Outcome
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.demos.common.pieces import dot
from mm_sae_plugin.demos.defense.drawing import part, signed, soft, table
from mm_sae_plugin.demos.defense.subject import Subject, called
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.svg import element, scale, text, title
from mm_sae_plugin.wording import n_latents

_N_LATENTS = 8
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _HEAD = 440, 158, 396, 6, 21, 24
BARE, SAME, OWN = "no defense", "defense, static", "defense, adaptive"
_TOLD = (
    "Bars: how far all latents of a class moved together (the sum of |Δ| of their activations), "
    "read off the image vectors by the same SAE: without a defense, with it on the same picture, "
    "and with it on the picture that was made through it. Classes are the SAE’s own labels."
)
_WITHOUT = (
    "No labelled SAE is there, so that latents cannot be shown: run "
    "<code>mm-sae quickstart</code>, or give one with <code>--sae</code>."
)


def moved(subject: Subject, victims: Mapping[str, Victim], outcome: Outcome, defense: str) -> str:
    """Show what moved, or say why it cannot be shown.

    Parameters
    ----------
    subject : Subject
    victims : mapping of str to Victim
        The undefended encoder's and the defense's.
    outcome : Outcome
        With the picture that was made through the defense.
    defense : str
        The contender that is looked at.
    """
    heading = "Which latents moved"
    if subject.study is None or subject.table is None:
        return part(heading, soft(_WITHOUT))
    feature_map, clean = subject.study.feature_map, outcome.clean
    found = {BARE: Movement.of(victims[NONE], feature_map, clean, outcome.static)}
    if defense != NONE:
        through = victims[defense]
        found[SAME] = Movement.of(through, feature_map, clean, outcome.static)
        found[OWN] = Movement.of(through, feature_map, clean, outcome.adaptive[defense])
    return part(
        heading,
        _summary(found, defense),
        _classes_figure(subject, found),
        soft(_TOLD),
        _latents(subject, found),
    )


def _summary(found: Mapping[str, Movement], defense: str) -> str:
    bare = float(found[BARE].change.abs().sum())
    if defense == NONE:
        return f"<p>The attack moved all latents by {bare:.2f} together.</p>"
    same, own = (float(found[which].change.abs().sum()) for which in (SAME, OWN))
    if bare == 0:
        return "<p>The attack moved no latent.</p>"
    return (
        f"<p>Without a defense the attack moved all latents by <b>{bare:.2f}</b> together. With "
        f"{escape(called(defense))} the same picture moves them by <b>{same:.2f}</b> "
        f"({same / bare:.0%}), and the picture that was made through it by <b>{own:.2f}</b> "
        f"({own / bare:.0%}).</p>"
    )


def _classes_figure(subject: Subject, found: Mapping[str, Movement]) -> str:
    assert subject.study is not None
    labels = subject.study.labels
    sums = {which: one.by_class(labels.classes) for which, one in found.items()}
    sums = {
        which: {name: value for name, value in row.items() if any(s[name] for s in sums.values())}
        for which, row in sums.items()
    }
    x = scale(0.0, max([*(v for row in sums.values() for v in row.values()), 1e-9]), _LEFT, _RIGHT)
    y, parts = _TOP, []
    for name in sums[BARE]:
        y += _HEAD
        head = f"{name}: {n_latents(labels.class_counts[name])}"
        parts.append(text(head, 4, y - 7, class_="strong"))
        for which, row in sums.items():
            told = f"{name}, {which}: {row[name]:.2f}"
            parts += [
                text(which, _LEFT - 10, y + 13, text_anchor="end"),
                element(
                    "rect",
                    title(told),
                    x=_LEFT,
                    y=y + 3,
                    width=max(x(row[name]) - _LEFT, 1),
                    height=13,
                    fill=COLOURS[name],
                    fill_opacity=1.0 if which == BARE else 0.62,
                ),
                text(f"{row[name]:.2f}", x(row[name]) + 6, y + 14),
            ]
            y += _ROW
    told = "; ".join(
        f"{name} " + ", ".join(f"{which} {row[name]:.2f}" for which, row in sums.items())
        for name in sums[BARE]
    )
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {y + 6}",
        role="img",
        aria_label=f"How far the latents of each class moved: {told}.",
        class_="df-figure",
    )


def _latents(subject: Subject, found: Mapping[str, Movement]) -> str:
    assert subject.study is not None and subject.table is not None
    labels, bare = subject.study.labels, found[BARE]
    rows = []
    for latent in bare.strongest(_N_LATENTS):
        name = str(subject.table["name"].iloc[latent])
        cells = [signed(float(one.change[latent])) for one in found.values()]
        rows.append(
            (
                f"#{latent} {escape(name)}",
                f'<span class="df-class">{dot(labels.classes[latent])}</span>',
                *cells,
            )
        )
    heads = ("latent", "class", *(f"Δ {which}" for which in found))
    return (
        "<h4>The latents that moved most without a defense</h4>"
        + table(heads, rows)
        + soft("Δ: how far the activation rose (+) or fell (−). Names are guesses from captions.")
    )
