"""What the page of a latent says and shows, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mm_sae_plugin.applications.explorer import Explorer, heat_map, word_weights
from mm_sae_plugin.applications.explorer.page import Example, LatentPage
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.stats.scores import PAPER_SCORE

_N_SHOWN = 8
_SILENT = "It fires on {} of the store."
_WORDS = "Words are marked by how much the activation falls when each is left out."


def page_body(explorer: Explorer, page: LatentPage, with_heat: bool) -> str:
    """Everything about a latent; with or without maps of where it fires on its images."""
    latent, row = page.latent, page.row
    name = escape(row.get("name") or "")
    known = ""
    if row.get("nearest"):
        factor = f"<b>{escape(row['nearest'])}</b>"
        known = f"<p>nearest factor {factor}, which explains {row['eta2']:.0%} of it</p>"
    partner = ""
    if page.partner is not None:
        partner = f"<p>Partner on the other side: {_links([page.partner], with_heat)}</p>"
    concept = ""
    if len(page.concept) > 1:
        concept = f"<p>One concept: {_links(page.concept, with_heat)}</p>"
    head = f"""
<div class="lt-head">
<div><h2>Latent {latent}{f": {name}" if name else ""}</h2>
<p>{drawing.dot(page.modality_class)}</p>{known}{partner}{concept}
<p>fires on {row["rate_image"]:.1%} of images and {row["rate_text"]:.1%} of captions</p>
<p>Nearest by direction: {_links((near.latent for near in page.nearest), with_heat)}</p></div>
<div>{_scores(explorer, page)}</div>
<div>{
        drawing.histogram(
            page.image_histogram.edges, page.image_histogram.counts, page.caption_histogram.counts
        )
    }</div>
</div>"""

    def pictures(examples: Sequence[Example], heat: bool = False) -> str:
        return shown_pictures(explorer, examples, latent, heat)

    def captions(examples: Sequence[Example], marked: bool = False) -> str:
        return shown_captions(explorer, examples, latent if marked else None)

    parts = [
        head,
        _part("Strongest images", pictures(page.top_images, with_heat)),
        _part("Strongest captions", captions(page.top_captions, marked=True), _WORDS),
        _part("Images that hardly fire it", pictures(page.faint_images)),
        _part("Captions that hardly fire it", captions(page.faint_captions)),
        _part("Fires on the image and not on its caption", pictures(page.image_alone)),
        _part("Fires on the caption and not on its image", captions(page.caption_alone)),
        _part("Random images it fires on", pictures(page.random_images)),
        _part("Random captions it fires on", captions(page.random_captions)),
    ]
    for side, examples in (("no image", page.top_images), ("no caption", page.top_captions)):
        if not examples:
            parts.append(soft(_SILENT.format(side)))
    return "".join(parts)


def _scores(explorer: Explorer, page: LatentPage) -> str:
    null, low, high = page.swap_null
    lines = []
    for name, score in page.scores.items():
        band = (low, high) if name == null else None
        called = f"{name} (the paper's)" if name == PAPER_SCORE else name
        lines.append(
            f"<tr><th scope='row'>{escape(called)}</th><td>{drawing.number(score.value)}</td>"
            f"<td>{drawing.interval(score.value, score.low, score.high, band)}</td></tr>"
        )
    return (
        f'<table class="lt-scores">{"".join(lines)}</table><div class="lt-soft">0 text, 1 image; '
        f"{explorer.study.labels.cfg.confidence:.0%} intervals. The band: where {escape(null)} "
        "would lie if images and captions were swapped by coins.</div>"
    )


def _part(title: str, content: str, note: str = "") -> str:
    if not content:
        return ""
    below = soft(note) if note else ""
    return f'<section class="lt-part"><h3>{escape(title)}</h3>{below}{content}</section>'


def shown_pictures(
    explorer: Explorer,
    examples: Sequence[Example],
    latent: int,
    with_heat: bool,
    blind: bool = False,
) -> str:
    """Pictures with their activations; blind ones with neither those nor their captions."""
    store, model = explorer.study.store, explorer.study.model
    figures = []
    for example in examples[:_N_SHOWN]:
        image = store.open_image(example.image)
        if image is not None and with_heat:
            with alone_with(model):
                codes = heat_map(explorer.study, latent, image).numpy()
            image = drawing.heated(image, codes)
        said = "an image that it fires on" if blind else store.captions[example.pair]
        figures.append(drawing.picture(image, said, "" if blind else f"{example.activation:.2f}"))
    return f'<div class="lt-grid">{"".join(figures)}</div>' if figures else ""


def shown_captions(
    explorer: Explorer, examples: Sequence[Example], latent: int | None, blind: bool = False
) -> str:
    """Captions with their activations, words marked for a latent; blind ones as they are."""
    store = explorer.study.store
    lines = []
    for example in examples[:_N_SHOWN]:
        caption = store.captions[example.pair]
        shown = escape(caption)
        if latent is not None and caption.strip():
            with alone_with(explorer.study.model):
                weights = word_weights(explorer.study, latent, caption)
            shown = drawing.marked(caption, [(w.start, w.stop, w.fall) for w in weights])
        strength = "" if blind else f'<span class="lt-soft">{example.activation:.2f}</span>'
        lines.append(f'<li dir="auto">{shown} {strength}</li>')
    return f'<ul class="lt-said">{"".join(lines)}</ul>' if lines else ""


def soft(sentence: str) -> str:
    """A sentence of less weight."""
    return f'<p class="lt-soft">{escape(sentence)}</p>'


def _links(latents: Iterable[int], with_heat: bool) -> str:
    more = "&heat=1" if with_heat else ""
    return ", ".join(f'<a href="?latent={latent}{more}">#{latent}</a>' for latent in latents)
