"""The page of one latent, at an address of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import written
from mm_sae_plugin.demos.common.theme import css
from mm_sae_plugin.demos.common.typed import number_input, whole, whole_number
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.demos.explorer.latent_page import page_body, soft
from mm_sae_plugin.demos.explorer.page_picture import save_as_png
from mm_sae_plugin.demos.explorer.removing import pairs_of, without_it
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import gradio as gr

_NONE = -1
"""What is shown where no latent is."""
# Back and forward in the browser lead from latent to latent.
_NOTE = """(latent, heat) => {
  const address = new URL(window.location);
  address.searchParams.set("latent", latent);
  if (heat) address.searchParams.set("heat", 1); else address.searchParams.delete("heat");
  if (address.href !== window.location.href) window.history.pushState(null, "", address);
}"""
FOLLOW_ADDRESS = """() => {
  window.addEventListener("popstate", () => window.location.reload());
}"""
"""JavaScript that shows the page of an address that the browser went back to."""
_HEAT = (
    "Yellow where the latent fires on single patches before the last block, each read alone "
    "through the rest of the tower: a reading of what stands there, and no attribution."
)
_CHOOSE = "Choose a row under Browse, or a number."
_PAGE = "latent-page"
_KEEP = "Prepare this page as one HTML file"


@dataclass(frozen=True)
class LatentTab:
    """What the rest of the page shows a latent with."""

    show: Any
    """Event's function: (latent, with heat map) -> outputs."""
    arrive: Any
    """Event's function for the address that was opened."""
    latent: gr.Number
    """The number that is asked for."""
    heat: gr.Checkbox
    """Whether to show where it fires."""
    shown: gr.Number
    """The latent that is shown."""
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
            return soft("It fires on no pair.")
        # The rest of the page can be read all the same.
        try:
            return without_it(explorer, latent, pairs[0][1])
        except UserError as error:
            return soft(str(error))

    @told
    def show(latent: Any, with_heat: bool):
        if latent is None:
            raise UserError(f"Give the number of a latent, 0 to {n_features - 1}.")
        page = explorer.page(whole("The latent", latent))
        pairs = pairs_of(explorer, page)
        return (
            page.latent,
            page.latent,
            page_body(explorer, page, with_heat),
            # What was prepared to be kept, and the pair, are of the latent before.
            gr.DownloadButton(_KEEP, value=None),
            gr.Dropdown(choices=pairs, value=pairs[0][1] if pairs else None),
            removed_at_first(page.latent, pairs),
        )

    def nothing(sentence: str):
        button, pair = gr.DownloadButton(_KEEP, value=None), gr.Dropdown(choices=[], value=None)
        return 0, _NONE, soft(sentence), button, pair, ""

    @told
    def arrive(request):
        asked, with_heat = (request.query_params.get(name) for name in ("latent", "heat"))
        if asked is None:
            return gr.Tabs(), False, *nothing(_CHOOSE)
        number = whole_number(asked)
        # A sentence in the page itself: who follows a link has not clicked anything.
        if number is None or number >= n_features:
            told_wrong = f"The address asks for latent {asked[:40]!r}, and there is none: give a "
            told_wrong += f"number, 0 to {n_features - 1}."
            return gr.Tabs(selected="latent"), False, *nothing(told_wrong)
        return gr.Tabs(selected="latent"), with_heat == "1", *show(number, with_heat == "1")

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    arrive.__annotations__["request"] = gr.Request

    @told
    def kept(shown: Any, with_heat: bool):
        number = _shown(shown)
        body = page_body(explorer, explorer.page(number), with_heat)
        title = f"Latent {number} of {explorer.study.path.resolve().name}"
        path = written(f"latent-{number}.html", drawing.whole_page(title, body, css()))
        return gr.DownloadButton(f"Download latent-{number}.html", value=path)

    @told
    def removed(shown: Any, pair: Any):
        return without_it(explorer, _shown(shown), pair)

    with gr.Row():
        latent = number_input(0, label="Latent")
        heat = gr.Checkbox(label="Show where it fires", info=_HEAT)
        opened = gr.Button("Show the latent", variant="primary")
    # What is typed above need not be what stands below.
    shown = number_input(_NONE, label="Latent that is shown", visible=False)
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
    keep.click(kept, [shown, heat], keep, api_name="latent_html")
    picture = save_as_png(_PAGE, css() + drawing.STYLE, "latent-{}.png")
    as_png.click(None, shown, None, js=picture, api_visibility="private")
    # What is asked for while the answer before is under way counts, too.
    last: dict[str, Any] = {"trigger_mode": "always_last"}
    pair.input(removed, [shown, pair], removal, api_name="without", **last)
    outputs = [latent, shown, body, keep, pair, removal]
    gr.on(
        [opened.click, latent.submit, heat.input],
        show,
        [latent, heat],
        outputs,
        api_name="latent",
        **last,
    ).success(None, [shown, heat], None, js=_NOTE, api_visibility="private")
    return LatentTab(show, arrive, latent, heat, shown, outputs, _NOTE)


def _shown(latent: Any) -> int:
    number = whole("The latent", latent, _NONE)
    if number == _NONE:
        raise UserError("Show a latent first.")
    return number
