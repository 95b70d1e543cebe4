"""The same edit on a search: the query's vector is moved, and the gallery ranked anew."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering.retrieval import Gallery
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.theme import ASK
from mm_sae_plugin.demos.common.typed import filled
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.demos.steering.editing import Editing
from mm_sae_plugin.demos.steering.prompt import left_out
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer

_QUERY = "two big red cars"
_TOP = 12
_STALE = "What was found is of an earlier search or edit: search again."


def retrieving_tab(explorer: Explorer, edit: Editing, details: Any) -> None:
    """Lay the tab out, or say why there is no search; what is found goes into a column."""
    import gradio as gr

    study = explorer.study
    try:
        gallery = Gallery(study)
    except UserError as error:
        gr.Markdown(str(error))
        return

    words = study.model.tokenizer
    tokenizer = words if isinstance(words, WordTokenizer) else None

    @told
    def search(query: Any, *values: Any):
        query = filled("The search", query, "say what to look for")
        asked = edit.read(values)
        found = gallery.rerank(asked.edit, text=query, top=_TOP)
        manifest = manifest_of(study, "steering", {"query": query, **asked.told}, edit=asked.edit)
        moved = drawing.movement(study, explorer.table, found.moved, found.latents)
        button = gr.DownloadButton(value=manifest_file(manifest), interactive=True)
        said = drawing.sentence(left_out(tokenizer, query))
        return drawing.reranked(study, found) + moved, said, button, (query, asked.edit)

    @told
    def mark(searched: Any, query: Any, *values: Any):
        """Say so where query or edit are others by now."""
        if searched is None:
            return gr.skip()
        is_same = searched == (query, edit.read(values).edit)
        return drawing.sentence(left_out(tokenizer, query) if is_same else _STALE)

    gr.Markdown(
        f"The edit moves the query's vector, and {len(gallery):,} pictures are ranked anew."
    )
    with gr.Row(elem_classes=ASK):
        query = gr.Textbox(_QUERY, label="Search for", max_length=1000, scale=3)
        go = gr.Button("Search", variant="primary", scale=1)
    status = gr.HTML(padding=False)
    with details:
        found = gr.HTML(padding=False)
        manifest = gr.DownloadButton("Download the search's manifest", interactive=False)
    searched = gr.State(None)
    gr.on(
        [go.click, query.submit],
        search,
        [query, *edit.inputs],
        [found, status, manifest, searched],
        api_name="rerank",
    )
    gr.on(
        [*edit.changes, query.blur],
        mark,
        [searched, query, *edit.inputs],
        status,
        queue=False,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
