"""An audit of images in groups: every prompt's gaps and rankings, with what chance would give.

Groups of different people differ in much besides the group, so that a gap here says less than one
between twins: group sizes come first, and the test of a stated direction last, the only one that
speaks of a learned association. Where images have targets, a gap is between images of one target
(women who are nurses and men who are nurses): between all images it would be large as soon as more
of the nurses are women. Rankings are of all images, as a search would find them, and so hold both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped
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
    PermutationTest,
    Shuffle,
    bootstrap_interval,
    holm,
    one_row_each,
    permutation_test,
)
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.errors import UserError

_LEAST = 2
"""People of each group, without whom there is no interval."""
DEPTHS = (10, 50, 100)
"""Lengths of rankings; those longer than there are images are left out."""


@dataclass(frozen=True)
class PromptAudit:
    """One target's prompts over all images."""

    n_images: int
    """How many images the gap is between: those of the target itself, where images have one."""
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
    left_out: tuple[str, ...]
    """Targets of which a group has fewer than two people."""
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
        If there is no such group, or no target has two people of each.
    """
    if first not in groups.names:
        raise UserError(f"There is no group {first!r:.60}: choose from {', '.join(groups.names)}.")
    shuffle = Shuffle(groups.identity, n_permutations, seed)
    logits = {name: (scale * images @ rows.T).double().numpy() for name, rows in texts.items()}
    within = {name: _Within.of(name, groups, first, shuffle) for name in texts}
    compared = {name: part for name, part in within.items() if part.is_comparable}
    if not compared:
        raise UserError(
            "No target has two people of each group: give more images, or leave the target column "
            "out."
        )
    tests = {name: part.test(logits[name].mean(1)) for name, part in compared.items()}
    adjusted = holm({name: test.p for name, test in tests.items()})
    audited = {
        name: _audited(logits[name], groups, prompts, part, tests[name], adjusted[name], shuffle)
        for name, part in compared.items()
    }
    sides = set(prompts.direction.values())
    signs = prompts.signs(first) if len(sides) == 2 and first in sides else {}
    stated = {name: sign for name, sign in signs.items() if name in audited}
    tested = None
    if set(stated.values()) == {1, -1}:
        gaps = {name: audit.gap.value for name, audit in audited.items()}
        tested = direction_test(gaps, stated, seed)
    return GroupAudit(first, audited, tuple(n for n in within if n not in compared), tested)


@dataclass(frozen=True)
class _Within:
    """The images that a target's gap is between."""

    rows: Int[np.ndarray, "m"]
    labels: Shaped[np.ndarray, "m"]
    first: str
    shuffle: Shuffle

    @classmethod
    def of(cls, name: str, groups: Groups, first: str, shuffle: Shuffle) -> _Within:
        targets = (name,) * len(groups) if groups.target is None else groups.target
        rows = np.flatnonzero(np.array(targets) == name)
        people = groups.identity
        part = None if people is None else tuple(people[row] for row in rows)
        return cls(rows, np.array(groups.group)[rows], first, replace(shuffle, identities=part))

    @property
    def is_comparable(self) -> bool:
        """Whether either side has two people, without whom there is no interval."""
        first, _ = one_row_each(self.labels, self.shuffle.identities)
        sizes = Counter(self.labels[first].tolist())
        return len(sizes) > 1 and sizes[self.first] >= _LEAST and min(sizes.values()) >= _LEAST

    def test(self, logits: Float[np.ndarray, "n"]) -> PermutationTest:
        chosen = logits[self.rows]
        return permutation_test(
            lambda labels: _gap(chosen, labels == self.first), self.labels, self.shuffle
        )

    def interval(self, logits: Float[np.ndarray, "n"]) -> Interval:
        chosen = logits[self.rows]
        return bootstrap_interval(
            lambda at: _gap(chosen[at], self.labels[at] == self.first),
            len(chosen),
            self.shuffle.identities,
            self.labels.tolist(),
            seed=self.shuffle.seed,
        )


def _audited(
    by_prompt: Float[np.ndarray, "n n_prompts"],
    groups: Groups,
    prompts: PromptSet,
    part: _Within,
    test: PermutationTest,
    p_adjusted: float,
    shuffle: Shuffle,
) -> PromptAudit:
    logits = by_prompt.mean(1)
    depths = [k for k in DEPTHS if k <= len(groups)]
    # Prompts are template after template, each with all the words of the target.
    per_template = np.split(by_prompt[part.rows], len(prompts.templates), axis=1)
    is_first = part.labels == part.first
    return PromptAudit(
        n_images=len(part.rows),
        gap=logit_gap(logits[part.rows], part.labels.tolist(), part.first, part.shuffle),
        interval=part.interval(logits),
        p=test.p,
        p_adjusted=p_adjusted,
        share_gaps={k: share_gap(logits, groups.group, part.first, k, shuffle) for k in depths},
        max_skews={k: max_skew_at_k(logits, groups.group, k, shuffle=shuffle) for k in depths},
        ndkl=ndkl(logits, groups.group, shuffle=shuffle),
        gap_by_template={
            template: _gap(each.mean(1), is_first)
            for template, each in zip(prompts.templates, per_template, strict=True)
        },
    )


def _gap(logits: Float[np.ndarray, "n"], is_first: Sequence[bool] | np.ndarray) -> float:
    chosen = np.asarray(is_first)
    return float(logits[chosen].mean() - logits[~chosen].mean())
