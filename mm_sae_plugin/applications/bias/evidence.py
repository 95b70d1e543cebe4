"""What gaps are measured on: images of two groups, and prompts, as vectors of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.bias.contrast import Contrast, Gaps, contrast_of_groups, pooled
from mm_sae_plugin.applications.bias.direction import signed_gap
from mm_sae_plugin.applications.bias.embedding import embed_pictures, embed_texts
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.applications.bias.twins import TwinPictures
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

_LEAST = 2
"""Images of either group that a target needs to be compared within itself, in each half."""


@dataclass(frozen=True)
class Evidence:
    """Images and prompts of one model."""

    images: Float[Tensor, "n_images d"]
    """Unit-length joint vectors."""
    group: tuple[str, ...]
    """Of every image, one of two."""
    first: str
    """The group whose images count with a plus."""
    target: tuple[str, ...] | None
    """Of every image, what a prompt may ask for; images are compared within it. None compares all
    images for every prompt."""
    cluster: tuple[str, ...]
    """What images are resampled and split by: twins, people, else each image for itself."""
    texts: Mapping[str, Float[Tensor, "n_prompts d"]]
    """Target to the unit-length vectors of its prompts."""
    words: Mapping[str, Float[Tensor, "n_sentences d"]]
    """Group to those of the sentences for it."""
    direction: Mapping[str, int]
    """Target to +1 where it is stated for the first group, -1 for the second; else empty."""
    scale: float
    """What the model multiplies cosines by."""

    @classmethod
    def of_twins(cls, model: HookedCLIP, twins: TwinPictures, prompts: PromptSet) -> Evidence:
        """Embed twins of FactorWorld and the prompts for their occupations."""
        _, first, second = twins.flip
        n = len(twins.targets)
        targets = sorted(set(twins.targets))
        return cls(
            embed_pictures(model, [*twins.first, *twins.second]),
            (first,) * n + (second,) * n,
            first,
            twins.targets * 2,
            tuple(map(str, range(n))) * 2,
            *_embedded(model, prompts.of_targets(targets), (first, second)),
            prompts.signs(first) if set(prompts.direction.values()) == {first, second} else {},
            float(model.logit_scale.detach().exp()),
        )

    @classmethod
    def of_groups(
        cls,
        model: HookedCLIP,
        images: Float[Tensor, "n_images d"],
        groups: Groups,
        prompts: PromptSet,
        first: str,
    ) -> Evidence:
        """Take images of two groups, of unit length, and embed the prompts for their targets.

        Raises
        ------
        UserError
            If there are not two groups, or ``first`` is none of them.
        """
        if len(groups.names) != 2 or first not in groups.names:
            raise UserError(
                f"What a gap comes from is asked of two groups, of which {first!r:.60} is one; the "
                f"images have {', '.join(groups.names)}: leave the others out."
            )
        stated = set(prompts.direction.values()) == set(groups.names)
        return cls(
            images,
            groups.group,
            first,
            groups.target,
            groups.clusters or tuple(map(str, range(len(groups)))),
            *_embedded(model, prompts, groups.names),
            prompts.signs(first) if stated else {},
            float(model.logit_scale.detach().exp()),
        )

    @property
    def second(self) -> str:
        """The other group."""
        return next(name for name in self.group if name != self.first)

    @property
    def is_first(self) -> Bool[np.ndarray, "n_images"]:
        """Which images are of the first group."""
        return np.array(self.group) == self.first

    @property
    def sizes(self) -> list[int]:
        """How many prompts each target has, in the order of ``rows``."""
        return [len(self.texts[name]) for name in self.contrast.targets]

    @property
    def rows(self) -> Float[Tensor, "n_prompts d"]:
        """All prompts, target after target."""
        return torch.cat([self.texts[name] for name in self.contrast.targets])

    @property
    def contrast(self) -> Contrast:
        """Which images are compared with which.

        Targets of which a group has too few images are left out.

        Raises
        ------
        UserError
            If none is left.
        """
        targets = [name for name in self.texts if self._is_comparable(name)]
        if not targets:
            raise UserError(
                f"No target has {_LEAST} images of {self.first!r:.60} and {_LEAST} of "
                f"{self.second!r:.60}: give more images, or leave the target column out."
            )
        return contrast_of_groups(self.is_first.tolist(), self.target, targets, self.scale)

    def gaps(
        self,
        images: Float[Tensor, "n_images d"] | None = None,
        rows: Float[Tensor, "n_prompts d"] | None = None,
    ) -> Gaps:
        """Return each target's gap in logits, of these vectors or of others in their place."""
        chosen = self.images if images is None else images
        return self.contrast.gaps(chosen, pooled(self.rows if rows is None else rows, self.sizes))

    def summary(self, gaps: Gaps) -> float:
        """Return the signed gap where a direction is stated, else the mean of the gaps' sizes."""
        stated = {name: sign for name, sign in self.direction.items() if name in gaps}
        if set(stated.values()) == {1, -1}:
            return signed_gap(gaps, stated)
        return float(np.mean(np.abs(list(gaps.values()))))

    def halves(self) -> tuple[Evidence, Evidence]:
        """Split the images in two, all of a cluster in the same half, group by group alike.

        One is to choose latents on, the other to test them on. Prompts are in both.
        """
        number: dict[str, int] = {}
        seen: dict[tuple[str, str], int] = {}
        for row, name in enumerate(self.cluster):
            if name not in number:
                kind = (self.group[row] if self._has_one_group else "", self._target_of(row))
                number[name] = seen.get(kind, 0)
                seen[kind] = number[name] + 1
        is_odd = np.array([number[name] % 2 == 1 for name in self.cluster])
        return self._only(~is_odd), self._only(is_odd)

    @property
    def _has_one_group(self) -> bool:
        # Twins hold both groups, people one.
        return len(set(zip(self.cluster, self.group, strict=True))) == len(set(self.cluster))

    def _target_of(self, row: int) -> str:
        return "" if self.target is None else self.target[row]

    def _only(self, kept: Bool[np.ndarray, "n_images"]) -> Evidence:
        def of(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(np.array(column)[kept].tolist())

        return replace(
            self,
            images=self.images[torch.from_numpy(kept)],
            group=of(self.group),
            target=None if self.target is None else of(self.target),
            cluster=of(self.cluster),
        )

    def _is_comparable(self, name: str) -> bool:
        if self.target is None:
            return True
        member = np.array(self.target) == name
        n_first = int((member & self.is_first).sum())
        return n_first >= _LEAST and int(member.sum()) - n_first >= _LEAST


def _embedded(
    model: HookedCLIP, prompts: PromptSet, groups: tuple[str, ...]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    sentences = prompts.of_groups(groups)
    return (
        {name: embed_texts(model, asked) for name, asked in prompts.prompts.items()},
        {name: embed_texts(model, texts) for name, texts in sentences.items()},
    )
