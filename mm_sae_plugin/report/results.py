"""Everything that a report is made from, as plain results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mm_sae_plugin.report.choice import checked_latents, latents_to_show
from mm_sae_plugin.report.evaluation import EvaluationFigures
from mm_sae_plugin.report.latent_cards import Card, LatentCards
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import TopExamples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.truth import TruthCheck

Provenance = Mapping[str, Mapping[str, object]]
"""Heading to names and values: where the data, the SAE and the page come from."""


@dataclass(frozen=True)
class Results:
    """What the sections of the report choose from; the fields are `render_report`'s arguments."""

    dominance: ModalityDominance
    """Scores, intervals and classes."""
    title: str
    """Heading of the page."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Shown as they are under the title."""
    provenance: Provenance = field(default_factory=dict)
    """Where everything comes from."""
    evaluation: EvaluationFigures | None = None
    """Reconstruction per modality."""
    store: PairedActivations | None = None
    """Where images and captions come from."""
    examples: TopExamples | None = None
    """Strongest images and captions."""
    truth: TruthCheck | None = None
    """Truth check of this SAE."""
    untrained: TruthCheck | None = None
    """Truth check of an untrained one."""
    skipped: Sequence[tuple[str, str]] = ()
    """Name and reason of what the extraction could not use."""
    n_captions_cut: int = 0
    """Captions that were longer than the model's context."""
    stability: str | None = None
    """Whether the classes survive another seed, in a sentence."""
    evaluated: Mapping[str, Any] | None = None
    """What `evaluation.json` holds, where the labels were evaluated."""
    latents: Sequence[int] | None = None
    """Latents to show instead of the strongest of each class."""
    n_per_class: int = 8
    """Latents to show of each class."""

    @cached_property
    def shown(self) -> dict[str | None, list[int]]:
        """Latents that get a card, by class; under None where they were asked for by number."""
        if self.latents is not None:
            return {None: checked_latents(self.latents, self.dominance.n_features)}
        return {**latents_to_show(self.dominance, self.n_per_class)}

    @cached_property
    def make_cards(self) -> LatentCards:
        """What makes cards."""
        return LatentCards(self.dominance, self.examples, self.store, self.truth)

    @cached_property
    def cards(self) -> dict[str | None, list[Card]]:
        """Cards of the latents that are shown."""
        return {
            name: [self.make_cards.card(latent) for latent in latents]
            for name, latents in self.shown.items()
        }
