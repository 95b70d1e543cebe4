"""An audit of images in groups: every prompt's gaps and rankings, with what chance would give.

Groups of different people differ in much besides the group, so that a gap here says less than one
between twins: group sizes come first, and the test of a stated direction last, the only one that
speaks of a learned association.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.bias.direction import DirectionTest, direction_test
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.metrics import (
    Metric,
    logit_gap,
    max_skew_at_k,
    ndkl,
    share_gap,
)
from mm_sae_plugin.applications.bias.permutation import (
    Interval,
    Shuffle,
    bootstrap_interval,
    holm,
    permutation_test,
)
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.errors import UserError

DEPTHS = (10, 50, 100)
"""Lengths of rankings; those longer than there are images are left out."""


@dataclass(frozen=True)
class PromptAudit:
    """One target's prompts over all images."""

    gap: Metric
    """Mean logit of the first group less that of the others, beside its value under no bias."""
    interval: Interval
    """Of the gap, over people."""
    p: float
    """Of the gap under permuted labels, two-sided."""
    p_adjusted: float
    """The same after Holm over targets."""
    share_gaps: dict[int, Metric]
    """By length of the ranking: the share of the first group found less that of the others."""
    max_skews: dict[int, Metric]
    """By length of the ranking, natural logarithm."""
    ndkl: Metric
    """Over the whole ranking, in nats."""
    gap_by_template: dict[str, float]
    """The gap of each template alone: how far it hangs on the wording."""


@dataclass(frozen=True)
class GroupAudit:
    """All targets, and the test of the stated direction where there is one."""

    first: str
    """The group whose images count with a plus."""
    prompts: dict[str, PromptAudit]
    """By target."""
    direction: DirectionTest | None
    """None where no direction was stated, or not for both groups."""


def audit_groups(
    images: Float[Tensor, "n_images d"],
    texts: Mapping[str, Float[Tensor, "n_prompts d"]],
    scale: float,
    groups: Groups,
    prompts: PromptSet,
    first: str,
    n_permutations: int = 1_000,
    seed: int = 0,
) -> GroupAudit:
    """Audit images of several groups with every target's prompts.

    Parameters
    ----------
    images : float
        Unit-length joint vectors.
    texts : mapping of str to float
        Target to the unit-length vectors of ``prompts.prompts[target]``, in their order.
    scale : float
        What the model multiplies cosines by.
    groups : Groups
        Who is in the images.
    prompts : PromptSet
        What was asked.
    first : str
        The group whose images count with a plus.
    n_permutations, seed : int
        Of permutations and resamples.

    Raises
    ------
    UserError
        If there is no such group, or a direction is stated for a group that no image is of.
    """
    if first not in groups.names:
        raise UserError(f"There is no group {first!r:.60}: choose from {', '.join(groups.names)}.")
    shuffle = Shuffle(groups.identity, n_permutations, seed)
    logits = {name: (scale * images @ rows.T).double().numpy() for name, rows in texts.items()}
    tests = {name: _gap_test(each.mean(1), groups, first, shuffle) for name, each in logits.items()}
    adjusted = holm(tests)
    audited = {
        name: _audited(each, groups, prompts, first, tests[name], adjusted[name], shuffle)
        for name, each in logits.items()
    }
    stated = {name for name in prompts.direction.values()}
    tested = None
    if len(stated) == 2 and first in stated:
        gaps = {name: audit.gap.value for name, audit in audited.items()}
        tested = direction_test(gaps, prompts.signs(first), seed)
    return GroupAudit(first, audited, tested)


def _gap_test(
    logits: Float[np.ndarray, "n"], groups: Groups, first: str, shuffle: Shuffle
) -> float:
    return permutation_test(
        lambda labels: _gap(logits, labels == first), np.array(groups.group), shuffle
    ).p


def _audited(
    by_prompt: Float[np.ndarray, "n n_prompts"],
    groups: Groups,
    prompts: PromptSet,
    first: str,
    p: float,
    p_adjusted: float,
    shuffle: Shuffle,
) -> PromptAudit:
    logits = by_prompt.mean(1)
    labels = np.array(groups.group)
    depths = [k for k in DEPTHS if k <= len(groups)]
    # Prompts are template after template, each with all the words of the target.
    per_template = np.split(by_prompt, len(prompts.templates), axis=1)
    return PromptAudit(
        gap=logit_gap(logits, groups.group, first, shuffle),
        interval=bootstrap_interval(
            lambda at: _gap(logits[at], labels[at] == first),
            len(groups),
            groups.identity,
            groups.group,
            seed=shuffle.seed,
        ),
        p=p,
        p_adjusted=p_adjusted,
        share_gaps={k: share_gap(logits, groups.group, first, k, shuffle) for k in depths},
        max_skews={k: max_skew_at_k(logits, groups.group, k, shuffle=shuffle) for k in depths},
        ndkl=ndkl(logits, groups.group, shuffle=shuffle),
        gap_by_template={
            template: _gap(part.mean(1), labels == first)
            for template, part in zip(prompts.templates, per_template, strict=True)
        },
    )


def _gap(logits: Float[np.ndarray, "n"], is_first: Sequence[bool] | np.ndarray) -> float:
    chosen = np.asarray(is_first)
    return float(logits[chosen].mean() - logits[~chosen].mean())
