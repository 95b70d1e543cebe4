"""One pair of twins: two pictures, and the gap that each model has between them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mm_sae_plugin.demos.bias.drawing import part, signed, soft, table
from mm_sae_plugin.demos.bias.subject import Flip, Subject
from mm_sae_plugin.demos.common.pieces import picture


def compared(subjects: Sequence[Subject], flip: Flip, target: str, number: int) -> str:
    """Show the pair of an occupation with a number, from 1 on."""
    _, first, second = flip
    twins = subjects[0].twins(flip)
    pair = [at for at, name in enumerate(twins.targets) if name == target][number - 1]
    shown = "".join(
        picture(side[pair], f"A drawn {target}: {value}", value, most=320)
        for side, value in ((twins.first, first), (twins.second, second))
    )
    rows = [
        (
            escape(subject.name),
            signed(subject.gap_of_pair(twins, pair)),
            signed(subject.audit(flip).targets[target].gap),
        )
        for subject in subjects
    ]
    return part(
        f"{target}, pair {number}",
        f'<div class="bd-twins">{shown}</div>',
        table(("model", "gap of this pair", f"mean, {target}"), rows),
        soft(
            f"In logits, for the prompts of “{escape(target)}”: above 0 where the picture with "
            f"{escape(first)} is the nearer one. One pair says little; pairs differ."
        ),
    )
