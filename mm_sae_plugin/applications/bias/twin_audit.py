"""The three questions of an audit, kept apart, answered on counterfactual twins.

1. *Is there a gap in this model?* Labels are permuted within each pair. In any trained model the
   answer is yes for some target, and more pictures only make it surer.
2. *Is it larger than what means nothing?* The same flips of other factors (age, colour, skin,
   place) give the band that gaps of no meaning lie in.
3. *Does it follow a stated direction?* Only this speaks of a learned association.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from mm_sae_plugin.applications.bias.contrast import Contrast, Gaps, pooled
from mm_sae_plugin.applications.bias.direction import DirectionTest, direction_test
from mm_sae_plugin.applications.bias.embedding import embed_texts
from mm_sae_plugin.applications.bias.permutation import (
    Interval,
    bootstrap_interval,
    holm,
    paired_test,
)
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.twin_vectors import TwinVectors
from mm_sae_plugin.applications.bias.twins import (
    GENDER,
    NUISANCES,
    TwinPictures,
    draw_twins,
    gaps_of_pairs,
    spread,
    twin_contrast,
)

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP


@dataclass(frozen=True)
class TargetGap:
    """The gap of one target between twins."""

    gap: float
    """Mean over pairs, in logits: above 0 where the first value is nearer to the prompts."""
    interval: Interval
    """Bootstrap over pairs."""
    p: float
    """Of no gap in this model, by swaps within pairs; Holm over targets."""
    no_bias: tuple[float, float]
    """Middle 95% of the gaps that swaps within pairs give."""


@dataclass(frozen=True)
class TwinAudit:
    """All three answers for one model."""

    flip: tuple[str, str, str]
    """The factor that was flipped, its first and its second value."""
    n_pairs: dict[str, int]
    """Pairs of twins for each target."""
    targets: dict[str, TargetGap]
    """Is there a gap?"""
    spread: float
    """Root mean square of the gaps around their mean: an offset that all prompts share is no
    association."""
    nuisances: dict[str, float]
    """Spread of the gaps of each flip that means nothing, by its name, such as `age young/old`."""
    direction: DirectionTest
    """Does it follow the stated direction?"""

    @property
    def n_larger(self) -> int:
        """Flips without meaning whose gaps spread as far or further."""
        return sum(value >= self.spread for value in self.nuisances.values())

    @property
    def verdict(self) -> str:
        """One sentence on the third question, which alone speaks of a learned association."""
        return self.direction.verdict


def audit_twins(
    model: HookedCLIP,
    prompts: PromptSet | None = None,
    flip: tuple[str, str, str] = GENDER,
    n_per_target: int = 25,
    seed: int = 0,
    vectors: TwinVectors | None = None,
) -> TwinAudit:
    """Audit a model on twins of FactorWorld.

    Parameters
    ----------
    model : HookedCLIP
        One that knows FactorWorld.
    prompts : PromptSet, optional
        For all occupations, with a stated direction; by default ``factorworld_prompts()``.
    flip : tuple of str
        The factor that the audit asks about, its first and its second value.
    n_per_target : int
        Pairs of twins for each occupation, at least 2.
    seed : int
        Of permutations and resamples.
    vectors : TwinVectors, optional
        Of this model, where several flips are asked about: no picture is embedded twice.

    Raises
    ------
    UserError
        If a direction is stated for a target without prompts, or not for both groups.
    """
    assert n_per_target >= 2
    prompts = prompts or factorworld_prompts()
    vectors = vectors or TwinVectors(model)
    twins = draw_twins(flip, n_per_target)
    scale = float(model.logit_scale.detach().exp())
    contrast = twin_contrast(twins, scale)
    rows = prompt_rows(model, prompts, contrast)
    pairs = gaps_of_pairs(
        vectors.of(twins), twins.targets, dict(zip(contrast.targets, rows, strict=True)), scale
    )
    targets = gaps_of_targets(pairs, seed)
    gaps = {name: found.gap for name, found in targets.items()}
    nuisances = {
        f"{other[0]} {other[1]}/{other[2]}": spread(
            _gaps(vectors, draw_twins(other, n_per_target), rows)
        )
        for other in NUISANCES
    }
    return TwinAudit(
        flip,
        {name: len(values) for name, values in pairs.items()},
        targets,
        spread(gaps),
        nuisances,
        direction_test(gaps, prompts.signs(flip[1]), seed),
    )


def gaps_of_targets(
    pairs: Mapping[str, Float[np.ndarray, "n_pairs"]], seed: int = 0
) -> dict[str, TargetGap]:
    """Return each target's gap, from the gaps of its pairs of twins.

    Parameters
    ----------
    pairs : mapping of str to float
        Target to the gap of each of its pairs, in logits.
    seed : int
        Of permutations and resamples.
    """
    tests = {name: paired_test(values, seed=seed) for name, values in pairs.items()}
    adjusted = holm({name: test.p for name, test in tests.items()})
    return {
        name: TargetGap(
            float(values.mean()),
            bootstrap_interval(lambda at, of=values: float(of[at].mean()), len(values), seed=seed),
            adjusted[name],
            tests[name].band,
        )
        for name, values in pairs.items()
    }


def prompt_rows(model: HookedCLIP, prompts: PromptSet, contrast: Contrast) -> torch.Tensor:
    """Return the mean of the prompts' vectors of each target of a contrast: float [targets, d]."""
    asked = prompts.of_targets(contrast.targets).prompts
    texts = [text for name in contrast.targets for text in asked[name]]
    return pooled(embed_texts(model, texts), [len(asked[name]) for name in contrast.targets])


def gaps_between(model: HookedCLIP, twins: TwinPictures, rows: torch.Tensor) -> Gaps:
    """Return the mean gap between twins in every target, in logits.

    Parameters
    ----------
    model : HookedCLIP
    twins : TwinPictures
    rows : float
        What ``prompt_rows`` gives, [targets, d].
    """
    return _gaps(TwinVectors(model), twins, rows)


def _gaps(vectors: TwinVectors, twins: TwinPictures, rows: torch.Tensor) -> Gaps:
    scale = float(vectors.model.logit_scale.detach().exp())
    return twin_contrast(twins, scale).gaps(vectors.of(twins), rows)
