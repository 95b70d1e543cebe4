"""Who is in the images: the columns of an audit, checked before anything is measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from mm_sae_plugin.applications.bias.permutation import one_row_each
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

LEAST = 20
"""Samples that each group needs by default."""
ALL = "all"
"""Name of the row and the column of totals in :meth:`Groups.counts`, where no group or target has
it; else with stars around it."""


@dataclass(frozen=True)
class Groups:
    """Labels of n images, as the data set provides them. Empty text is a missing value.

    Raises
    ------
    UserError
        If columns differ in length, a value is missing, all images are of one group, a group has
        too few samples, an identity is in two groups, twins do not pair up, or all images have one
        target.
    """

    group: tuple[str, ...]
    """Of every image, the group that is compared."""
    target: tuple[str, ...] | None = None
    """What the image shows that a prompt may ask for, such as an occupation."""
    identity: tuple[str, ...] | None = None
    """Who it shows: people, not images, are what is sampled."""
    twin: tuple[str, ...] | None = None
    """Which counterfactual pair it belongs to: one image of each of the two groups."""
    least: int = LEAST
    """How many samples (people where they are named, else images) each group needs."""

    def __post_init__(self) -> None:
        columns = {"group": self.group, "target": self.target}
        columns |= {"identity": self.identity, "twin": self.twin}
        for name, column in columns.items():
            if column is not None:
                self._check_filled(name, column)
        self._check_groups()
        if self.target is not None and len(set(self.target)) == 1:
            raise UserError(
                f"All images have the target {self.target[0]!r:.60}: give images of at least two, "
                "or leave the target column out."
            )
        if self.twin is not None:
            self._check_twins(self.twin)

    @classmethod
    def of_columns(
        cls,
        group: Sequence[Any],
        target: Sequence[Any] | None = None,
        identity: Sequence[Any] | None = None,
        twin: Sequence[Any] | None = None,
        least: int = LEAST,
    ) -> Groups:
        """Read columns of a table, in which numbers are taken as text and NaN as missing."""
        optional = [None if one is None else texts(one) for one in (target, identity, twin)]
        return cls(texts(group), *optional, least=least)

    def __len__(self) -> int:
        return len(self.group)

    @property
    def names(self) -> tuple[str, ...]:
        """The groups, sorted."""
        return tuple(sorted(set(self.group)))

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """What images are resampled by: twins, else identities, else None (each for itself).

        Twins hold both groups, so that they keep the groups' sizes as they are: there a bootstrap
        is not told the groups as well, and labels are permuted within pairs, not over them.
        """
        return self.twin or self.identity

    def counts(self) -> pd.DataFrame:
        """Return how many images each group has, target by target, with totals.

        To be shown before any metric.
        """
        import pandas as pd

        total = ALL
        while total in {*self.group, *(self.target or ())}:
            total = f"*{total}*"
        target = [total] * len(self) if self.target is None else list(self.target)
        table = pd.crosstab(pd.Series(self.group, name="group"), pd.Series(target, name="target"))
        if self.target is not None:
            table[total] = table.sum(axis=1)
        table.loc[total] = table.sum(axis=0)
        return table

    def comparable_targets(self, least: int = 2) -> tuple[list[str], list[str]]:
        """Return the targets of which every group has so many images, and those left out."""
        if self.target is None:
            return [], []
        found = Counter(zip(self.target, self.group, strict=True))
        targets = sorted(set(self.target))
        kept = [t for t in targets if all(found[t, name] >= least for name in self.names)]
        return kept, [t for t in targets if t not in kept]

    def pairs(self, first: str) -> tuple[Int[np.ndarray, "n_pairs"], Int[np.ndarray, "n_pairs"]]:
        """Return the rows of all twins of one group, and those of their others in the same order.

        Raises
        ------
        UserError
            If there are no twins, or no group of that name.
        """
        if self.twin is None:
            raise UserError("The images have no twins: name the column that pairs them.")
        if first not in self.names:
            raise UserError(
                f"There is no group {first!r:.60}: choose from {', '.join(self.names)}."
            )
        by_twin = np.argsort(np.array(self.twin), kind="stable")
        is_first = np.array(self.group)[by_twin] == first
        return by_twin[is_first], by_twin[~is_first]

    def _check_filled(self, name: str, column: tuple[str, ...]) -> None:
        if len(column) != len(self.group):
            raise UserError(
                f"The {name} column has {len(column)} values for {len(self.group)} images: give "
                "one for each."
            )
        missing = sum(not value.strip() for value in column)
        if missing:
            raise UserError(
                f"{missing} of {len(column)} images have no {name}: fill it in, or leave them out"
                f"{' by saying which groups to compare' if name == 'group' else ''}."
            )

    def _check_groups(self) -> None:
        if not self.group:
            raise UserError("There are no images: an audit compares two or more groups of them.")
        if len(self.names) == 1:
            raise UserError(
                f"All images are of one group, {self.group[0]!r:.60}: an audit compares two."
            )
        first, _ = one_row_each(np.array(self.group), self.identity)
        unit = "images" if self.identity is None else "people"
        sizes = Counter(self.group[row] for row in first)
        small = min(self.names, key=lambda name: sizes[name])
        if sizes[small] < self.least:
            raise UserError(
                f"The group {small!r:.60} has {sizes[small]} {unit}, and at least {self.least} are "
                "needed: add some, or leave the group out."
            )

    def _check_twins(self, twin: tuple[str, ...]) -> None:
        if len(self.names) != 2:
            raise UserError(
                f"Twins compare two groups, but there are {len(self.names)}, "
                f"{', '.join(self.names)}: say which two."
            )
        found = Counter(zip(twin, self.group, strict=True))
        for name in dict.fromkeys(twin):
            sizes = [found[name, group] for group in self.names]
            if sizes != [1, 1]:
                one, other = self.names
                raise UserError(
                    f"The twin {name!r:.60} has {sizes[0]} of {one!r:.60} and {sizes[1]} of "
                    f"{other!r:.60}: each needs exactly one image of either."
                )
        shown: dict[str, str] = {}
        for name, target in zip(twin, self.target or (), strict=False):
            if shown.setdefault(name, target) != target:
                raise UserError(
                    f"The twin {name!r:.60} has the targets {shown[name]!r:.40} and {target!r:.40}:"
                    " both of its images need the same."
                )


def texts(column: Iterable[Any]) -> tuple[str, ...]:
    """Return a table's column as text: empty where it is missing, whole numbers without a point.

    A column of numbers in which one is missing holds decimal ones.
    """
    return tuple(map(_text, column))


def _text(value: Any) -> str:
    # NaN differs from itself; so does pandas' NaT, and its NA has no truth value at all.
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
