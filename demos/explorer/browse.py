"""The table of latents: filtered, sorted, searched by a caption or a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import written
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.explorer.drawing import STACK, number
from mm_sae_plugin.stats.config import CLASSES

if TYPE_CHECKING:
    import gradio as gr
    import pandas as pd

_ALL = "all classes"
_ROWS = 50
_SORTS = {
    "how often it fires": ("often", False),
    "score, image first": ("mds", False),
    "score, text first": ("mds", True),
    "latent": ("latent", True),
    "the paper's score": ("mean_of_ratios", False),
    "suggested name": ("name", True),
}
_HEADERS = [
    "Latent",
    "Class",
    "Score",
    "Interval",
    "Paper's",
    "On images",
    "On captions",
    "Partner",
    "Name",
    "Nearest factor",
]
_FOUND = ["Activation", *_HEADERS]


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

    model = explorer.study.model

    def rows(chosen: str, contains: str, sort: str, page: float):
        table = _filtered(explorer.table, chosen, contains)
        column, ascending = _SORTS[sort]
        if column == "often":
            table = table.assign(often=table["rate_image"] + table["rate_text"])
        table = table.sort_values(column, ascending=ascending, na_position="last")
        n_pages = max(-(-len(table) // _ROWS), 1)
        at = min(max(int(page or 1), 1), n_pages)
        shown = table.iloc[(at - 1) * _ROWS : at * _ROWS]
        return _listed(shown), f"{len(table):,} latents, page {at} of {n_pages}"

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

    @told
    def on_caption(caption: str):
        with alone_with(model):
            return _listed(explorer.search(text=caption), with_activation=True)

    @told
    def on_picture(path: str | None):
        with alone_with(model):
            found = explorer.search(image=uploaded_picture(path))
        return _listed(found, with_activation=True)

    with gr.Row():
        chosen = gr.Dropdown([_ALL, *CLASSES], value=_ALL, label="Class")
        contains = gr.Textbox(label="Name or factor contains", placeholder="red")
        sort = gr.Dropdown(list(_SORTS), value=next(iter(_SORTS)), label="Sort by")
        page = gr.Number(1, label="Page", precision=0, minimum=1)
    first, told_count = rows(_ALL, "", next(iter(_SORTS)), 1)
    count = gr.Markdown(told_count)
    table = gr.Dataframe(
        first, headers=_HEADERS, label="Latents (choose a row to open its page)", interactive=False
    )
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
        headers=_FOUND, label="Latents that fire (choose a row to open its page)", interactive=False
    )
    latent = gr.Number(0, label="Chosen latent", precision=0, visible=False)

    inputs = [chosen, contains, sort, page]
    gr.on(
        [chosen.change, contains.submit, sort.change, page.change],
        rows,
        inputs,
        [table, count],
        api_name="browse",
        show_progress="hidden",
    )
    gr.on([caption.submit, ask.click], on_caption, caption, found, api_name="latents_of_caption")
    picture.upload(on_picture, picture, found, api_name="latents_of_picture")
    opened = gr.on(
        [table.select, found.select],
        _row_reader(),
        None,
        latent,
        api_visibility="private",
        queue=False,
    )
    return Browse(latent, opened)


def _row_reader():
    """Make the event's function; Gradio reads its annotation, and must not be imported above."""
    import gradio as gr

    def chosen(event: gr.SelectData) -> int:
        # In the lower table the activation comes first.
        row = event.row_value
        return int(row[1] if len(row) == len(_FOUND) else row[0])

    chosen.__annotations__["event"] = gr.SelectData
    return chosen


def _filtered(table: pd.DataFrame, chosen: str, contains: str) -> pd.DataFrame:
    kept = table["class"].isin(CLASSES if chosen == _ALL else [chosen])
    wanted = (contains or "").strip().lower()
    if wanted:
        text = table["name"].fillna("").astype(str)
        if "nearest" in table:
            text = text + " " + table["nearest"].fillna("").astype(str)
        kept &= text.str.lower().str.contains(wanted, regex=False)
    return table.loc[kept]


def _listed(table: pd.DataFrame, with_activation: bool = False) -> list[list[object]]:
    listed = []
    for row in table.to_dict("records"):
        partner = row.get("partner")
        line = [
            row["latent"],
            row["class"],
            number(row["mds"]),
            f"{number(row['mds_low'])}–{number(row['mds_high'])}" if "mds_low" in row else "",
            number(row["mean_of_ratios"]),
            f"{row['rate_image']:.1%}",
            f"{row['rate_text']:.1%}",
            "" if partner is None or partner != partner else str(partner).replace("<NA>", ""),
            row.get("name") or "",
            row.get("nearest") or "",
        ]
        listed.append([round(row["activation"], 3), *line] if with_activation else line)
    return listed
