"""A gap as a weighted sum of similarities, so that one code measures twins and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Gaps = dict[str, float]
"""Target to the gap of the first group over the second, in logits."""


@dataclass(frozen=True)
class Contrast:
    """Which images are compared with which, target by target."""

    targets: tuple[str, ...]
    """Names of the targets."""
    weights: Float[Tensor, "n_targets n_images"]
    """Positive for images of the first group, negative for those of the second; either sum to 1."""
    scale: float
    """What the model multiplies cosines by."""

    def gaps(
        self, images: Float[Tensor, "n_images d"], prompts: Float[Tensor, "n_targets d"]
    ) -> Gaps:
        """Return each target's gap in logits.

        Parameters
        ----------
        images : float
            Unit-length joint vectors.
        prompts : float
            For each target the mean of its prompts' unit-length vectors.
        """
        gaps = self.scale * (self.weights.to(images) @ images * prompts).sum(1)
        return dict(zip(self.targets, gaps.tolist(), strict=True))


def contrast_of_groups(
    is_first: Sequence[bool], of_target: Sequence[str] | None, targets: Sequence[str], scale: float
) -> Contrast:
    """Compare the first group with the others, within each target where images have one.

    Parameters
    ----------
    is_first : sequence of bool
        Of each image, whether it is of the first group.
    of_target : sequence of str, optional
        Each image's target; None compares all images for every target.
    targets : sequence of str
        Every one must have images of both groups.
    scale : float
        What the model multiplies cosines by.
    """
    first = np.asarray(is_first, dtype=bool)
    names = None if of_target is None else np.asarray(of_target)
    rows = []
    for target in targets:
        member = np.ones(len(first), dtype=bool) if names is None else names == target
        one, other = first & member, ~first & member
        assert one.any() and other.any(), target
        rows.append(one / one.sum() - other / other.sum())
    weights = torch.from_numpy(np.stack(rows)).float()
    return Contrast(tuple(targets), weights, scale)


def pooled(
    rows: Float[Tensor, "n_prompts d"], sizes: Sequence[int]
) -> Float[Tensor, "n_targets d"]:
    """Return the mean of each target's rows; ``sizes`` says how many each has."""
    return torch.stack([part.mean(0) for part in rows.split(list(sizes))])
