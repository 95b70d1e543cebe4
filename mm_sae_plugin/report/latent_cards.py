"""What the card of one latent says: its score, and what drives it in either modality."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from torch import Tensor

from mm_sae_plugin.report.excerpts import Excerpt
from mm_sae_plugin.report.figures import whisker
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.thumbnails import Thumbnail, Thumbnails
from mm_sae_plugin.report.ties import tie
from mm_sae_plugin.stats.density import fires_densely
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import TopExamples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.intervals import firing_rates
from mm_sae_plugin.stats.truth import LatentTruth, TruthCheck
from mm_sae_plugin.stats.words import SharedWords


@dataclass(frozen=True)
class Example:
    """An image or a caption that a latent fires on."""

    shown: Thumbnail | Excerpt
    """The image or the caption."""
    activation: float
    """The latent's code, above 0."""
    percent: float
    """That relative to its strongest in either modality, so that the two compare."""


@dataclass(frozen=True)
class Card:
    """Everything about one latent that is shown."""

    latent: int
    """Its index."""
    modality_class: str
    """Its class."""
    score: float | None
    """Its score; None where it is dead or cannot be decided."""
    interval: tuple[float, float]
    """Low and high end."""
    figure: Markup | None
    """The score and its interval, drawn."""
    rates: dict[str, float]
    """`image` and `text`: on which share it fires."""
    dense: bool
    """Whether it fires on nearly everything."""
    tie: str | None
    """What it is one half of, or what it only goes with."""
    follows: LatentTruth | None
    """What it is known to follow."""
    images: list[Example] | None
    """Its strongest images; None where they were not looked up."""
    captions: list[Example] | None
    """Its strongest captions; None where they were not looked up."""


class LatentCards:
    """Cards of chosen latents.

    Parameters
    ----------
    dominance : ModalityDominance
    examples : TopExamples, optional
        Top images and captions of (at least) the latents that will be shown.
    store : PairedActivations, optional
        Where images and captions come from.
    truth : TruthCheck, optional
        Adds what each latent is known to follow.
    """

    def __init__(
        self,
        dominance: ModalityDominance,
        examples: TopExamples | None,
        store: PairedActivations | None,
        truth: TruthCheck | None,
    ) -> None:
        self._dominance = dominance
        self._examples = examples
        self._store = store
        self.truth = {} if truth is None else truth.by_latent()
        self.thumbnails = Thumbnails(store)
        self._words = SharedWords(store.captions if store is not None else [])
        rates = firing_rates(dominance.statistics, dominance.cfg.confidence)
        self.rates = {side: rates[side][0].tolist() for side in ("image", "text")}
        self.dense = fires_densely(dominance.statistics).tolist()
        self._place = (
            {} if examples is None else {latent: i for i, latent in enumerate(examples.latents)}
        )

    def card(self, latent: int) -> Card:
        """The card of one latent."""
        name = self._dominance.classes[latent]
        score = float(self._dominance.scores[latent])
        scored = bool(self._dominance.alive[latent]) and score == score
        low, high = self._dominance.intervals[latent].tolist()
        return Card(
            latent=latent,
            modality_class=name,
            score=score if scored else None,
            interval=(low, high),
            figure=whisker(score, low, high, COLOURS[name]) if scored else None,
            rates={side: values[latent] for side, values in self.rates.items()},
            dense=self.dense[latent],
            tie=tie(self._dominance, latent),
            follows=self.truth.get(latent),
            images=self._images(latent),
            captions=self._captions(latent),
        )

    def about(self, latents: Sequence[int]) -> str:
        """What latents may stand for together: what they are known to follow, or shared words."""
        known = [self.truth[latent] for latent in latents if latent in self.truth]
        if known:
            best = max(known, key=lambda entry: entry.eta2)
            return f"{best.factor} = {best.value or '(absent)'}"
        return ", ".join(dict.fromkeys(w for i in latents for w in self.shared_words(i)[:3]))

    def strongest_captions(self, latent: int) -> list[str]:
        """The captions that it fires on, best first; none where they were not looked up."""
        if self._store is None or self._examples is None or latent not in self._place:
            return []
        i = self._place[latent]
        shown = _active(self._examples.text_rows[i], self._examples.text_values[i])
        return [self._store.captions[row] for row, _ in shown]

    def shared_words(self, latent: int) -> list[str]:
        """The words that those captions share, the least accidental first."""
        return self._words.shared(self.strongest_captions(latent))

    def _images(self, latent: int) -> list[Example] | None:
        if self._examples is None or latent not in self._place:
            return None
        i = self._place[latent]
        return [
            self._example(latent, self.thumbnails.of(row), value)
            for row, value in _active(self._examples.image_rows[i], self._examples.image_values[i])
        ]

    def _captions(self, latent: int) -> list[Example] | None:
        if self._examples is None or self._store is None or latent not in self._place:
            return None
        captions, shared = self.strongest_captions(latent), self.shared_words(latent)
        values = self._examples.text_values[self._place[latent]].tolist()
        return [
            self._example(latent, Excerpt.of(caption, shared), value)
            for caption, value in zip(captions, values, strict=False)
        ]

    def _example(self, latent: int, shown: Thumbnail | Excerpt, value: float) -> Example:
        assert self._examples is not None
        i = self._place[latent]
        largest = max(
            float(self._examples.image_values[i].max()), float(self._examples.text_values[i].max())
        )
        return Example(shown, value, 100 * value / largest)


def _active(rows: Tensor, values: Tensor) -> list[tuple[int, float]]:
    """The examples that do activate, best first."""
    pairs = zip(rows.tolist(), values.tolist(), strict=True)
    return [(int(row), float(value)) for row, value in pairs if value > 0]
