"""The page of one latent, at an address of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer, heat_map, word_weights
from mm_sae_plugin.applications.explorer.page import Example, LatentPage
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import written
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.theme import css
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.demos.explorer.page_picture import save_as_png
from mm_sae_plugin.demos.explorer.removing import pairs_of, without_it
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import gradio as gr

_N_SHOWN = 8
_NOTE = """(latent) => {
  const address = new URL(window.location);
  address.searchParams.set("latent", latent);
  window.history.replaceState(null, "", address);
}"""
_SILENT = "It fires on {} of the store."
_HEAT = (
    "Yellow where the latent fires on single patches before the last block, each read alone "
    "through the rest of the tower: a reading of what stands there, and no attribution."
)
_CHOOSE = "Choose a row under Browse, or a number."
_PAGE = "latent-page"
_KEEP = "Prepare this page as one HTML file"
_WORDS = "Words are marked by how much the activation falls when each is left out."


@dataclass(frozen=True)
class LatentTab:
    """What the rest of the page shows a latent with."""

    show: Any
    """Event's function: (latent, with heat map) -> outputs."""
    arrive: Any
    """Event's function for the address that was opened."""
    heat: gr.Checkbox
    """Whether to show where it fires."""
    outputs: list[Any]
    """Components that `show` fills."""
    note_in_address: str
    """JavaScript that puts the latent into the address."""


def latent_tab(explorer: Explorer) -> LatentTab:
    """Lay the tab out."""
    import gradio as gr

    n_features = explorer.study.feature_map.n_features

    def removed_at_first(latent: int, pairs: list[tuple[str, int]]) -> str:
        if not pairs:
            return _soft("It fires on no pair.")
        # The rest of the page can be read all the same.
        try:
            return without_it(explorer, latent, pairs[0][1])
        except UserError as error:
            return _soft(str(error))

    @told
    def show(latent: float | None, with_heat: bool):
        number = _number(explorer, latent)
        page = explorer.page(number)
        pairs = pairs_of(explorer, page)
        return (
            number,
            _drawn(explorer, page, with_heat),
            # What was prepared to be kept, and the pair, are of the latent before.
            gr.DownloadButton(_KEEP, value=None),
            gr.Dropdown(choices=pairs, value=pairs[0][1] if pairs else None),
            removed_at_first(number, pairs),
        )

    @told
    def arrive(request):
        asked = request.query_params.get("latent")
        if asked is None:
            return gr.Tabs(), 0, _soft(_CHOOSE), gr.DownloadButton(), gr.Dropdown(), ""
        if not asked.isdecimal():
            raise UserError(
                f"The address asks for latent {asked[:40]!r}: give a number, 0 to {n_features - 1}."
            )
        return gr.Tabs(selected="latent"), *show(int(asked), False)

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    arrive.__annotations__["request"] = gr.Request

    @told
    def kept(latent: float | None, with_heat: bool):
        number = _number(explorer, latent)
        body = _drawn(explorer, explorer.page(number), with_heat)
        title = f"Latent {number} of {explorer.study.path.resolve().name}"
        path = written(f"latent-{number}.html", drawing.whole_page(title, body, css()))
        return gr.DownloadButton(f"Download latent-{number}.html", value=path)

    @told
    def removed(latent: float | None, pair: Any):
        return without_it(explorer, _number(explorer, latent), pair)

    with gr.Row():
        latent = gr.Number(0, label="Latent", precision=0)
        heat = gr.Checkbox(label="Show where it fires", info=_HEAT)
        opened = gr.Button("Show the latent", variant="primary")
    body = gr.HTML(padding=False, elem_id=_PAGE)
    gr.Markdown("### Without it")
    pair = gr.Dropdown(
        [],
        label="A pair of the store: choose one of this page, or type its number",
        allow_custom_value=True,
    )
    removal = gr.HTML(padding=False)
    with gr.Row():
        keep = gr.DownloadButton(_KEEP)
        as_png = gr.Button("Save this page as PNG")
    keep.click(kept, [latent, heat], keep, api_name="latent_html")
    picture = save_as_png(_PAGE, css() + drawing.STYLE, "latent-{}.png")
    as_png.click(None, latent, None, js=picture, api_visibility="private")
    pair.input(removed, [latent, pair], removal, api_name="without")
    outputs = [latent, body, keep, pair, removal]
    gr.on(
        [opened.click, latent.submit, heat.change],
        show,
        [latent, heat],
        outputs,
        api_name="latent",
    ).then(None, latent, None, js=_NOTE, api_visibility="private")
    return LatentTab(show, arrive, heat, outputs, _NOTE)


def _number(explorer: Explorer, latent: float | None) -> int:
    if latent is None:
        last = explorer.study.feature_map.n_features - 1
        raise UserError(f"Give the number of a latent, 0 to {last}.")
    return int(latent)


def _drawn(explorer: Explorer, page: LatentPage, with_heat: bool) -> str:
    latent, row = page.latent, page.row
    name = escape(row.get("name") or "")
    known = ""
    if row.get("nearest"):
        factor = f"<b>{escape(row['nearest'])}</b>"
        known = f"<p>nearest factor {factor}, which explains {row['eta2']:.0%} of it</p>"
    partner = ""
    if page.partner is not None:
        partner = f"<p>Partner on the other side: {_link(page.partner)}</p>"
    concept = ""
    if len(page.concept) > 1:
        concept = f"<p>One concept: {_links(page.concept)}</p>"
    head = f"""
<div class="lt-head">
<div><h2>Latent {latent}{f": {name}" if name else ""}</h2>
<p>{drawing.dot(page.modality_class)}</p>{known}{partner}{concept}
<p>fires on {row["rate_image"]:.1%} of images and {row["rate_text"]:.1%} of captions</p>
<p>Nearest by direction: {_links(near.latent for near in page.nearest)}</p></div>
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
            parts.append(_soft(_SILENT.format(side)))
    return "".join(parts)


def _scores(explorer: Explorer, page: LatentPage) -> str:
    null, low, high = page.swap_null
    lines = []
    for name, score in page.scores.items():
        band = (low, high) if name == null else None
        lines.append(
            f"<tr><th scope='row'>{escape(name)}</th><td>{drawing.number(score.value)}</td>"
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
    below = _soft(note) if note else ""
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


def _soft(sentence: str) -> str:
    return f'<p class="lt-soft">{escape(sentence)}</p>'


def _links(latents: Iterable[int]) -> str:
    return ", ".join(_link(latent) for latent in latents)


def _link(latent: int) -> str:
    return f'<a href="?latent={latent}">#{latent}</a>'
