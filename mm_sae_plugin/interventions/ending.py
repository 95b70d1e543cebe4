"""What is checked when the block of an edit ends: that it edited, and that numbers came out."""

from __future__ import annotations

from collections.abc import Sequence

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.edit import FeatureEdit
from mm_sae_plugin.interventions.record import EditRecord
from mm_sae_plugin.interventions.schedule import Schedule, Strength


def check_ending(record: EditRecord, edit: FeatureEdit, schedule: Schedule) -> None:
    """Raise ``UserError`` where a window held no step, or where what was edited overflowed.

    The device is waited for, which a block that lasts never is.
    """
    if edit.steps and not record.n_edited:
        raise UserError(
            f"The window of steps begins with {schedule.start}, after the last one that was made, "
            "so nothing was edited: begin it earlier."
        )
    if not record.is_finite:
        raise overflow(edit, schedule.strengths)


def overflow(edit: FeatureEdit, strength: Strength = 1.0) -> UserError:
    """What to say of an edit that moves vectors so far that no numbers are left."""
    told = [] if callable(strength) else [f"a strength of {_largest(strength):g}"]
    if edit.relative_norm is not None:
        told.append(f"|Δe| / |e| of {edit.relative_norm:g}")
    else:
        amounts = [value for step in edit.steps for value in (step.amount, step.upper or 0.0)]
        told.append(f"amounts of up to {max(map(abs, amounts), default=0.0):g}")
    return UserError(
        f"This edit overflows: {' and '.join(told)} move vectors so far that no numbers are left. "
        "Give smaller ones, of a few at most."
    )


def _largest(strength: float | Sequence[float]) -> float:
    return max(strength, key=abs) if isinstance(strength, Sequence) else strength
