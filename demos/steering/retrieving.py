"""The same edit on a search: the query's vector is moved, and the gallery ranked anew."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering.retrieval import Gallery
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.demos.steering.editing import Editing
from mm_sae_plugin.errors import UserError

_QUERY = "two big red cars"
_TOP = 12


def retrieving_tab(explorer: Explorer, edit: Editing) -> None:
    """Lay the tab out, or say why there is no search."""
    import gradio as gr

    study = explorer.study
    try:
        gallery = Gallery(study)
    except UserError as error:
        gr.Markdown(str(error))
        return

    @told
    def search(query: str, *values: Any):
        asked = edit.read(values)
        found = gallery.rerank(asked.edit, text=query, top=_TOP)
        manifest = manifest_of(study, "steering", {"query": query, **asked.told}, edit=asked.edit)
        moved = drawing.movement(study, explorer.table, found.moved, found.latents)
        button = gr.DownloadButton(value=manifest_file(manifest), interactive=True)
        return drawing.reranked(study, found) + moved, button

    gr.Markdown(
        f"The edit moves the query's vector, and {len(gallery):,} pictures are ranked anew."
    )
    with gr.Row():
        query = gr.Textbox(_QUERY, label="Search for", max_length=1000, scale=3)
        go = gr.Button("Search", variant="primary", scale=1)
    found = gr.HTML(padding=False)
    manifest = gr.DownloadButton("Download the search's manifest", interactive=False)
    gr.on(
        [go.click, query.submit],
        search,
        [query, *edit.inputs],
        [found, manifest],
        api_name="rerank",
    )
