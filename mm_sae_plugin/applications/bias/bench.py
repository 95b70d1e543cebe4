"""A study with all that an edit of it is judged by: gaps, use, and how well the group is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.accuracy import subgroup_accuracy
from mm_sae_plugin.applications.bias.attribution import SIDES, Attribution
from mm_sae_plugin.applications.bias.contrast import Gaps
from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.nearest import nearest_names
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins
from mm_sae_plugin.applications.bias.use import UsePairs
from mm_sae_plugin.applications.bias.utility import chance, probe_accuracy, utility
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.site import check_site

Change = Callable[[Float[Tensor, "n d"], Modality], Float[Tensor, "n d"]]
"""Unit-length joint vectors of one modality to what an edit makes of them, of unit length too."""


@dataclass(frozen=True)
class Measured:
    """A model under an edit, on images that nothing was chosen by."""

    gaps: Gaps
    """Target to the gap of the first group over the second, in logits."""
    summary: float
    """Signed gap where a direction is stated, else the mean of the gaps' sizes."""
    retrieval: float | None
    """Share of images that find their own caption; None where there are none."""
    zero_shot: dict[str, float]
    """Factor without a planted association to the share of images whose value is found."""
    readable: float
    """Share of images of which a linear probe reads the group."""
    named: float
    """Share of images that are nearer to their own group's sentences than to the other's."""
    chance: float
    """What always guessing the larger group would reach."""
    group_accuracy: dict[str, float]
    """Group to the share of its images whose target is found; empty where images have none."""
    worst_group: str | None
    """The one with the least."""


class Bench:
    """A study, with what its gaps and its use are measured on.

    Parameters
    ----------
    study : Study
        Its SAE must be of the joint space of both towers (``hook_normalized``).
    choosing : Evidence
        To choose latents and fit directions on.
    testing : Evidence
        To judge them on; no image is in both.
    pairs : UsePairs
        To see what else an edit costs.

    Raises
    ------
    UserError
        If the SAE is of another site.
    """

    def __init__(
        self, study: Study, choosing: Evidence, testing: Evidence, pairs: UsePairs
    ) -> None:
        check_site(study)
        self.study, self.choosing, self.testing, self.pairs = study, choosing, testing, pairs

    @classmethod
    def of_twins(
        cls, study: Study, n_per_target: int = 25, prompts: PromptSet | None = None
    ) -> Bench:
        """Judge by twins of FactorWorld; half of the pairs choose, the other half test."""
        check_site(study)
        twins = draw_twins(GENDER, n_per_target)
        evidence = Evidence.of_twins(study.model, twins, prompts or factorworld_prompts())
        return cls(study, *evidence.halves(), UsePairs.of_world(study.model))

    @classmethod
    def of_groups(
        cls,
        study: Study,
        images: Float[Tensor, "n d"],
        groups: Groups,
        prompts: PromptSet,
        first: str,
    ) -> Bench:
        """Judge by images of two groups; half of the people choose, the other half test.

        What else the model is good for is measured on the pairs of the study's store.
        """
        check_site(study)
        evidence = Evidence.of_groups(study.model, images, groups, prompts, first)
        return cls(study, *evidence.halves(), UsePairs.of_store(study))

    @cached_property
    def attribution(self) -> Attribution:
        """What removing latents leaves of the gaps of the testing half."""
        return self.attribution_of(self.testing)

    def attribution_of(self, evidence: Evidence) -> Attribution:
        """What removing latents leaves of the gaps of some evidence."""
        return Attribution(
            self.study.feature_map,
            evidence.contrast,
            evidence.images,
            evidence.rows,
            evidence.sizes,
            evidence.summary,
        )

    def measure(self, edit: FeatureEdit | None = None, side: str = "both") -> Measured:
        """Measure the model under an edit of latents on one side or both.

        Raises
        ------
        UserError
            If the edit is of another SAE.
        """
        return self.measure_change(unchanged if edit is None else self.change_of(edit), side)

    def change_of(self, edit: FeatureEdit) -> Change:
        """Return what an edit makes of vectors."""
        applied = AppliedEdit(self.study, edit)
        if applied.is_empty:
            return unchanged

        def change(rows: Tensor, modality: Modality) -> Tensor:
            with torch.no_grad():
                return normalize(applied.vectors(rows, modality)[0], dim=1)

        return change

    def measure_change(self, change: Change, side: str = "both") -> Measured:
        """Measure the model with any change of its vectors, on one side or both."""
        assert side in SIDES, side
        evidence, pairs = self.testing, self.pairs
        of_image = change if side != "text" else unchanged
        of_text = change if side != "image" else unchanged
        images = of_image(evidence.images, "image")
        gaps = evidence.gaps(images, of_text(evidence.rows, "text"))
        use = utility(
            of_image(pairs.images, "image"), of_text(pairs.captions, "text"), pairs.factors
        )
        words = {name: of_text(rows, "text") for name, rows in evidence.words.items()}
        named = nearest_names(images, words)
        accuracy = self._group_accuracy(images, of_text)
        return Measured(
            gaps,
            evidence.summary(gaps),
            use.retrieval,
            use.zero_shot,
            probe_accuracy(images, evidence.group, evidence.cluster),
            sum(a == b for a, b in zip(named, evidence.group, strict=True)) / len(named),
            chance(evidence.group),
            accuracy,
            min(accuracy, key=lambda name: accuracy[name]) if accuracy else None,
        )

    def _group_accuracy(self, images: Tensor, of_text: Change) -> dict[str, float]:
        evidence = self.testing
        if evidence.target is None:
            return {}
        texts = {name: of_text(rows, "text") for name, rows in evidence.texts.items()}
        found = subgroup_accuracy(
            evidence.target, nearest_names(images, texts), {"group": evidence.group}
        )
        return found.by_group["group"]


def unchanged(rows: Float[Tensor, "n d"], modality: Modality) -> Float[Tensor, "n d"]:
    """Return the rows as they are."""
    return rows
