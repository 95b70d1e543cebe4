"""The table of latents: filtered, sorted, searched by a caption or a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import written
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.typed import filled, number_input, whole
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.explorer.drawing import STACK
from mm_sae_plugin.demos.explorer.listing import ALL_CLASSES, ANY, OFTEN, ROWS, Listing
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.stability_note import told_of_stability

if TYPE_CHECKING:
    import gradio as gr

_FIRST = "Activation"
_ORDERS = {"largest first": True, "smallest first": False}
_CHOOSE = "choose a row to open its page"


@dataclass(frozen=True)
class Browse:
    """What the rest of the page goes by."""

    latent: gr.Number
    """The latent whose row was chosen."""
    opened: Any
    """The event that a row was chosen."""


def browse_tab(explorer: Explorer) -> Browse:
    """Lay the tab out."""
    import gradio as gr

    model, listing = explorer.study.model, Listing(explorer.table)

    @told
    def rows(chosen, contains, limited, low, high, sort, order, page):
        table = listing.filtered(chosen, contains, limited, low, high)
        at = None if page is None else whole("The page", page)
        return listing.page(listing.sorted(table, sort, _ORDERS[order]), at)

    def turned(by: int):
        return lambda *asked: rows(*asked[:-1], (asked[-1] or 1) + by)

    @told
    def csv_file():
        path = written("latents.csv", explorer.table.to_csv(index=False))
        return gr.DownloadButton("Download latents.csv", value=path)

    @told
    def parquet_file():
        held = io.BytesIO()
        explorer.table.to_parquet(held, index=False)
        path = written("latents.parquet", held.getvalue())
        return gr.DownloadButton("Download latents.parquet", value=path)

    def that_fire(**asked: Any):
        with alone_with(model):
            found = explorer.search(**asked)
        lines = listing.lines(found)
        strengths = found["activation"].map("{:.3f}".format)
        return [[strength, *line] for strength, line in zip(strengths, lines, strict=True)]

    @told
    def on_caption(caption: Any):
        return that_fire(text=filled("The caption", caption))

    @told
    def on_picture(path: str | None):
        return that_fire(image=uploaded_picture(path))

    with gr.Row():
        chosen = gr.Dropdown([ALL_CLASSES, *CLASSES], value=ALL_CLASSES, label="Class")
        contains = gr.Textbox(label="Name or factor contains", placeholder="red")
        sort = gr.Dropdown(list(listing.sorts), value=OFTEN, label="Sort by")
        order = gr.Dropdown(list(_ORDERS), value=next(iter(_ORDERS)), label="Order")
    with gr.Row():
        limited = gr.Dropdown([ANY, *listing.ranges], value=ANY, label="Only with this …")
        low = gr.Textbox(label="… at least", placeholder="0.35 or 35%")
        high = gr.Textbox(label="… at most", placeholder="0.65 or 65%")
        page = number_input(1, label="Page", minimum=1)
    back = gr.Button("Previous page", render=False)
    on = gr.Button("Next page", render=False)
    inputs = [chosen, contains, limited, low, high, sort, order, page]
    first, told_count, _ = rows(*[component.value for component in inputs])
    count = gr.Markdown(told_count)
    table = gr.Dataframe(
        first,
        headers=listing.headers,
        datatype=listing.kinds,
        label=f"Latents, {ROWS} on a page ({_CHOOSE})",
        interactive=False,
        max_height=640,
        elem_classes="lt-table",
    )
    with gr.Row():
        back.render()
        on.render()
    gr.Markdown(_explained(explorer), elem_classes="lt-soft")
    with gr.Row():
        as_csv = gr.DownloadButton("Prepare the whole table as CSV")
        as_parquet = gr.DownloadButton("Prepare the whole table as Parquet")
    as_csv.click(csv_file, None, as_csv, api_name="table_csv")
    as_parquet.click(parquet_file, None, as_parquet, api_name="table_parquet")
    gr.Markdown("### Which latents fire on …")
    with gr.Row(elem_classes=STACK):
        with gr.Column():
            caption = gr.Textbox(label="a caption", placeholder="dusk", max_length=1000)
            ask = gr.Button("Search by caption", variant="primary")
        picture = picture_input(label="a picture", height=180)
    found = gr.Dataframe(
        headers=[_FIRST, *listing.headers],
        datatype=["str", *listing.kinds],
        label=f"Latents that fire ({_CHOOSE})",
        interactive=False,
        elem_classes="lt-table",
    )
    latent = number_input(0, label="Chosen latent", visible=False)

    shown = {"outputs": [table, count, page], "show_progress": "hidden"}
    # A filter that is set while the one before is under way counts, too.
    page.input(rows, inputs, **shown, api_name="browse", trigger_mode="always_last")
    for button, by in ((back, -1), (on, 1)):
        button.click(turned(by), inputs, **shown, api_visibility="private")
    # Others are shown from their first page on.
    gr.on(
        [
            *[dropdown.change for dropdown in (chosen, limited, sort, order)],
            *[field.submit for field in (contains, low, high)],
            *[field.blur for field in (contains, low, high)],
        ],
        lambda *asked: rows(*asked[:-1], 1),
        inputs,
        **shown,
        trigger_mode="always_last",
        api_visibility="private",
    )
    gr.on([caption.submit, ask.click], on_caption, caption, found, api_name="latents_of_caption")
    picture.upload(on_picture, picture, found, api_name="latents_of_picture")
    opened = gr.on(
        [table.select, found.select],
        _row_reader(len(listing.headers)),
        None,
        latent,
        api_visibility="private",
        queue=False,
    )
    return Browse(latent, opened)


def _explained(explorer: Explorer) -> str:
    cfg = explorer.study.labels.cfg
    told = f"Score: {cfg.score}, 0 text and 1 image, drawn with its {cfg.confidence:.0%} "
    told += "interval. Paper's: the Modality Dominance Score of Yan et al. Images and captions: on "
    told += "how many it fires. Name: the word that raises it most in captions, and by which share "
    told += "of its typical code; or, with a cosine, the one that its strongest images look like."
    if "nearest" in explorer.table:
        told += " Nearest factor: what explains most of it, and how much."
    return f"{told}\n\n{told_of_stability(explorer.study.path, explorer.study.labels.classes)}"


def _row_reader(n_columns: int):
    """Make the event's function; Gradio reads its annotation, and must not be imported above."""
    import gradio as gr

    def chosen(event: gr.SelectData) -> int:
        # In the lower table the activation comes first.
        row = event.row_value
        return int(row[len(row) - n_columns])

    chosen.__annotations__["event"] = gr.SelectData
    return chosen
