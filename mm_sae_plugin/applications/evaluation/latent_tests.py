"""Every latent against the nulls: p-values, q-values, and whether pairs matter to it at all."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.coactivation import CoactivationNull, coactivation_null
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.nulls import swap_null
from mm_sae_plugin.stats.scores import CARRIED
from mm_sae_plugin.stats.shares import Share
from mm_sae_plugin.stats.significance import q_values

TESTS = {
    "swap": "fires on one side more than on the other: against sides exchanged within pairs",
    "coactivation": "both sides of a pair fire it together more often than in shuffled pairs",
    "carry": "the other side's activations speak of its firing more than in shuffled pairs",
}
"""What is tested of every latent alive, each with one p-value a latent."""

EVIDENCE = ("own codes", "concept", "reading", "none")
"""By what pairs matter to a latent, the most direct first."""


@dataclass(frozen=True)
class Adjusted:
    """One test of many latents."""

    p: Float[Tensor, "n_features"]
    """float64; NaN for latents that were not tested."""
    q: Float[Tensor, "n_features"]
    """Adjusted by Benjamini and Hochberg among those tested; NaN likewise."""

    @classmethod
    def among(
        cls, p_values: Float[Tensor, "n_features"], tested: Bool[Tensor, "n_features"]
    ) -> "Adjusted":
        """Adjust the p-values of those that are tested, and forget the others."""
        p = torch.where(tested, p_values.to(torch.float64), torch.nan)
        return cls(p, q_values(p))

    def stands(self, level: float) -> Bool[Tensor, "n_features"]:
        """Which latents speak where the false discovery rate is kept at a level."""
        return self.q <= level

    def record(self, level: float) -> dict[str, Any]:
        """How many stand, of how many."""
        return Share.of(int(self.stands(level).sum()), int((~self.p.isnan()).sum())).record()


def latent_tests(labels: ModalityDominance) -> dict[str, Adjusted]:
    """Take the tests named in `TESTS` that the labels' own sums allow.

    `swap` is of the score of the codes (the paper's where `carried` is classified); `carry` is left
    out where the labels do not know it.
    """
    alive = labels.alive
    p_values = {
        "swap": swap_null(labels.statistics, labels.cfg.code_score).p_value,
        "coactivation": coactivation_null(labels.statistics).p_value,
    }
    carry = None if labels.carried is None else labels.carried.p_value
    if carry is not None:
        p_values["carry"] = carry
    return {name: Adjusted.among(p, alive) for name, p in p_values.items()}


@dataclass(frozen=True)
class LatentTests:
    """What the pairs say of every latent."""

    level: float
    """False discovery rate at which a test stands."""
    by_test: dict[str, Adjusted]
    """Every test of `TESTS`."""
    coactivation: CoactivationNull
    """Pairs on which both sides fire, counted and expected."""
    concept: Adjusted
    """Co-activation of the concept that each latent is a part of; not tested where it stands alone.
    """
    evidence: list[str]
    """One of `EVIDENCE` per latent, for the labels as they are."""
    is_cross: Bool[Tensor, "n_features"]
    """Which latents are `CrossD` as labelled."""
    is_cross_by_paper: Bool[Tensor, "n_features"]
    """Which latents are `CrossD` by the paper's score and rule."""

    @property
    def equal_but_unrelated(self) -> Bool[Tensor, "n_features"]:
        """`CrossD` as labelled, although pairs do not matter to it by any evidence."""
        return self.is_cross & torch.tensor([found == "none" for found in self.evidence])

    @property
    def equal_but_unrelated_by_paper(self) -> Bool[Tensor, "n_features"]:
        """`CrossD` by the paper's score, although its own codes are together no more than chance.

        That score looks at the latent's own codes alone, and so does this.
        """
        return self.is_cross_by_paper & ~self.by_test["coactivation"].stands(self.level)

    def record(self) -> dict[str, Any]:
        """Every count beside what it is of."""
        cross = [e for e, c in zip(self.evidence, self.is_cross.tolist(), strict=True) if c]
        counted = Counter(cross)
        by_paper = int(self.equal_but_unrelated_by_paper.sum())
        return {
            "false_discovery_rate": self.level,
            "stands": {
                name: tested.record(self.level) | {"meaning": TESTS[name]}
                for name, tested in self.by_test.items()
            },
            "cross_modal_by": {
                name: Share.of(counted[name], len(cross)).record() for name in EVIDENCE
            },
            "equal_but_unrelated": {
                "as_labelled": Share.of(counted["none"], len(cross)).record(),
                "paper": Share.of(by_paper, int(self.is_cross_by_paper.sum())).record(),
            },
        }

    def columns(self) -> dict[str, np.ndarray]:
        """One value per latent; NaN where nothing was tested."""
        columns = {}
        for name, tested in self.by_test.items():
            columns |= {f"{name}_p": tested.p.numpy(), f"{name}_q": tested.q.numpy()}
        return columns | {
            "coactivation_observed": self.coactivation.observed.numpy(),
            "coactivation_expected": self.coactivation.expected.numpy(),
            "concept_coactivation_p": self.concept.p.numpy(),
            "concept_coactivation_q": self.concept.q.numpy(),
            "pair_evidence": np.array(self.evidence),
            "equal_but_unrelated": self.equal_but_unrelated.numpy(),
            "equal_but_unrelated_paper": self.equal_but_unrelated_by_paper.numpy(),
        }


def against_nulls(
    labels: ModalityDominance,
    by_paper: ModalityDominance,
    carry: Float[Tensor, "n_features"],
    concepts: ModalityStatistics | None,
    level: float,
) -> LatentTests:
    """Ask of every latent whether pairs matter to it, and by what.

    A latent counts as cross-modal only if pairs matter: an image and its own caption must have more
    to do with each other than an image and any other caption. The evidence, the first that holds:

    - *own codes*: both sides of a pair fire the latent together, more often than shuffled pairs do;
    - *concept*: it is one half of a split concept (a partner on the other side), and the two sides
      of a pair fire any part of the concept together more often than shuffled pairs do. One half
      fires on one side only, so its own codes cannot say it. Partners were chosen on the same pairs
      for firing together, against a limit that chance passes once in twenty dictionaries;
    - *reading*: where carried dominance is classified, the other side's activations speak of its
      firing, though no latent fires there for the same;
    - *none*: nothing of the kind. If it is `CrossD` all the same, it is *equal but unrelated*, or
      fires too rarely for anything to be known.

    Parameters
    ----------
    labels : ModalityDominance
        As an SAE is labelled.
    by_paper : ModalityDominance
        Labels by the paper's score and rule.
    carry : float64
        P-values of what the other side's activations say of each latent.
    concepts : ModalityStatistics, optional
        Of the split concepts of `labels` in their order; None where there are none.
    level : float
        False discovery rate.
    """
    by_test = latent_tests(labels) | {"carry": Adjusted.among(carry, labels.alive)}
    concept = _of_concepts(labels, concepts)
    own, whole = by_test["coactivation"].stands(level), concept.stands(level)
    read = torch.zeros_like(own)
    if labels.cfg.score == CARRIED and labels.carried is not None:
        read = labels.carried.heard & labels.alive
    evidence = [
        EVIDENCE[found.index(True)] if any(found) else EVIDENCE[-1]
        for found in zip(own.tolist(), whole.tolist(), read.tolist(), strict=True)
    ]
    return LatentTests(
        level=level,
        by_test=by_test,
        coactivation=coactivation_null(labels.statistics),
        concept=concept,
        evidence=evidence,
        is_cross=labels.are("CrossD"),
        is_cross_by_paper=by_paper.are("CrossD"),
    )


def _of_concepts(labels: ModalityDominance, concepts: ModalityStatistics | None) -> Adjusted:
    """Hand the p-value of every concept to its latents; concepts are adjusted among each other."""
    p = torch.full((labels.n_features,), torch.nan, dtype=torch.float64)
    q = p.clone()
    if concepts is not None:
        found = coactivation_null(concepts).p_value
        members = [list(concept.latents) for concept in labels.concepts.values()]
        for latents, p_value, q_value in zip(members, found, q_values(found), strict=True):
            p[latents], q[latents] = p_value, q_value
    return Adjusted(p, q)
