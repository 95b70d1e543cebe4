"""One card per latent: its score, and what drives it on either side."""

from html import escape

from torch import Tensor

from mm_sae_plugin.report.figures import whisker
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.thumbnails import Thumbnails
from mm_sae_plugin.report.words import SharedWords
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import TopExamples
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.intervals import firing_rates
from mm_sae_plugin.stats.truth import LatentTruth, TruthCheck


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
        self._truth = {} if truth is None else truth.by_latent()
        self._thumbnails = Thumbnails(store)
        self._words = SharedWords(store.captions if store is not None else [])
        rates = firing_rates(dominance.statistics, dominance.cfg.confidence)
        self._rates = {side: rate.tolist() for side, (rate, _) in rates.items()}
        self._place = (
            {} if examples is None else {latent: i for i, latent in enumerate(examples.latents)}
        )

    def html(self, latent: int) -> str:
        """Markup of one card."""
        name = self._dominance.classes[latent]
        sides = self._images(latent) + self._captions(latent) if latent in self._place else ""
        return (
            f'<article class="latent" style="border-left-color:{COLOURS[name]}" '
            f'id="latent-{latent}">{self._head(latent, COLOURS[name])}{sides}</article>'
        )

    def _head(self, latent: int, colour: str) -> str:
        score = float(self._dominance.scores[latent])
        low, high = self._dominance.intervals[latent].tolist()
        rates = {side: values[latent] for side, values in self._rates.items()}
        return (
            f"<div><h4>Latent {latent}</h4>{_follows(self._truth.get(latent))}"
            f"{whisker(score, low, high, colour)}"
            f'<p class="numbers">score <b>{score:.2f}</b> [{low:.2f}, {high:.2f}]<br>'
            f"fires on {rates['image']:.1%} of images,<br>{rates['text']:.1%} of captions"
            "</p></div>"
        )

    def _images(self, latent: int) -> str:
        assert self._examples is not None
        i = self._place[latent]
        shown = _active(self._examples.image_rows[i], self._examples.image_values[i])
        if not shown:
            return f"<div>{_SIDE_IMAGES}<p class='silent'>No image activates it.</p></div>"
        figures = "".join(
            f"<figure>{self._thumbnails.html(row)}{self._strength(latent, value)}</figure>"
            for row, value in shown
        )
        return f'<div>{_SIDE_IMAGES}<div class="thumbs">{figures}</div></div>'

    def _captions(self, latent: int) -> str:
        assert self._examples is not None
        i = self._place[latent]
        shown = _active(self._examples.text_rows[i], self._examples.text_values[i])
        if not shown or self._store is None:
            return f"<div>{_SIDE_CAPTIONS}<p class='silent'>No caption activates it.</p></div>"
        captions = [self._store.captions[row] for row, _ in shown]
        shared = self._words.shared(captions)
        items = "".join(
            f"<li><span>{self._words.html(caption, shared)}</span>"
            f"{self._strength(latent, value)}</li>"
            for caption, (_, value) in zip(captions, shown, strict=True)
        )
        return f'<div>{_SIDE_CAPTIONS}<ul class="captions">{items}</ul></div>'

    def _strength(self, latent: int, value: float) -> str:
        """A bar relative to the strongest activation on either side, so that sides compare."""
        assert self._examples is not None
        i = self._place[latent]
        largest = max(
            float(self._examples.image_values[i].max()), float(self._examples.text_values[i].max())
        )
        colour = COLOURS[self._dominance.classes[latent]]
        return (
            f'<div class="strength" title="activation {value:.3f}"><i '
            f'style="width:{100 * value / largest:.0f}%;background:{colour}"></i></div>'
        )


_SIDE_IMAGES = '<p class="side">strongest images</p>'
_SIDE_CAPTIONS = '<p class="side">strongest captions</p>'


def _follows(truth: LatentTruth | None) -> str:
    if truth is None:
        return ""
    value = truth.value or "(absent)"
    return (
        f'<p class="follows">follows <b>{escape(truth.factor)}</b> = {escape(value)}'
        f'<br><span class="soft small">true dominance {truth.dominance:.2f}, '
        f"explains {truth.eta2:.0%} of its variance</span></p>"
    )


def _active(rows: Tensor, values: Tensor) -> list[tuple[int, float]]:
    """The examples that do activate, best first."""
    pairs = zip(rows.tolist(), values.tolist(), strict=True)
    return [(int(row), float(value)) for row, value in pairs if value > 0]
