"""Latents taken out: what becomes of the gap, of use, and of gender itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import torch

from mm_sae_plugin.applications.bias.attributed import CLASSES
from mm_sae_plugin.applications.bias.bench import Measured
from mm_sae_plugin.applications.bias.twins import GENDER
from mm_sae_plugin.demos.bias.drawing import part, side_by_side, signed, soft, table
from mm_sae_plugin.demos.bias.moves_figure import moves_figure
from mm_sae_plugin.demos.bias.subject import Subject, prompts_for
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.wording import n_latents

_NOTABLE = 0.1
"""A share that falls by as much is told of."""


def class_choices(subject: Subject) -> list[tuple[str, str]]:
    """Classes that have latents: what is shown, and the value."""
    counts = subject.study.labels.class_counts
    return [(f"{name} ({n_latents(counts[name])})", name) for name in CLASSES if counts[name]]


def removal(subject: Subject, classes: Sequence[str], latents: Sequence[int]) -> FeatureEdit:
    """Return the edit that takes classes and single latents out.

    Raises
    ------
    UserError
        If a class has no latents.
    """
    labels = subject.study.labels
    mask = torch.zeros(labels.n_features, dtype=torch.bool)
    mask[list(latents)] = True
    for name in classes:
        if name not in CLASSES or not labels.class_counts[name]:
            raise UserError(f"No latent of {subject.name} is {name!r:.40}: choose another class.")
        mask |= torch.tensor([one == name for one in labels.classes])
    if not mask.any():
        return FeatureEdit.none(subject.study)
    return FeatureEdit.ablate(subject.study, mask=mask)


def toggled(subject: Subject, edit: FeatureEdit, side: str) -> str:
    """Measure the edit, and show it beside the model as it is."""
    before, after = subject.attributed.measured, subject.bench.measure(edit, side)
    n = len({latent for step in edit.steps for latent in step.latents})
    where = "on both sides" if side == "both" else f"on the {side} side"
    told = (
        f"{n_latents(n)} of {subject.name} taken out {where}." if n else "Nothing is taken out yet."
    )
    targets = list(prompts_for(GENDER).direction)
    figure = moves_figure(subject.name, before.gaps, after.gaps, targets, GENDER[1:])
    figure += soft("Hollow: the gap as it is. Filled, with its number: edited. Both in logits.")
    return part(
        "What changes",
        f"<p>{escape(told)} {_warning(before, after)}</p>",
        side_by_side([_meters(before, after), figure]),
    )


def _meters(before: Measured, after: Measured) -> str:
    rows = [("signed gap, logits", signed(before.summary), signed(after.summary))]
    shares = [
        ("gender read by a probe", before.readable, after.readable),
        ("gender found by its words", before.named, after.named),
        ("pictures that find their caption", before.retrieval, after.retrieval),
        *(
            (f"{name} found", value, after.zero_shot[name])
            for name, value in before.zero_shot.items()
        ),
        *(
            (f"occupation found, {name}", value, after.group_accuracy[name])
            for name, value in before.group_accuracy.items()
        ),
    ]
    rows += [(name, _share(old), _moved(old, new)) for name, old, new in shares]
    worst = "" if after.worst_group is None else f" Worst group: {escape(after.worst_group)}."
    return table(("", "as it is", "edited"), rows) + soft(
        f"Shares of pictures; a gender guessed by chance is right in {before.chance:.2f}. Bold: "
        f"fell by {_NOTABLE:g} or more.{worst} All on pairs, and on the half of the Audit’s twins, "
        "that nothing was chosen by."
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _moved(old: float | None, new: float | None) -> str:
    if old is None or new is None or old - new < _NOTABLE:
        return _share(new)
    return f'<span class="bd-worse">{new:.2f}</span>'


def _warning(before: Measured, after: Measured) -> str:
    lost = []
    if before.readable - after.readable >= _NOTABLE or before.named - after.named >= _NOTABLE:
        lost.append("gender itself is told less well, so that part of the change is erasure")
    if (before.retrieval or 0) - (after.retrieval or 0) >= _NOTABLE:
        lost.append("the model is of less use for anything else")
    if not lost:
        return ""
    told = ", and ".join(lost)
    return f"<b>{told[0].upper()}{told[1:]}.</b>"
