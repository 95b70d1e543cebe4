"""Text-to-image steering: pull a prompt, or a search, towards a reference by modality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering import Painter
from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.naming import NAME_PICTURES
from mm_sae_plugin.demos.steering.address import arrival
from mm_sae_plugin.demos.steering.drawing import STACK, STYLE
from mm_sae_plugin.demos.steering.editing import editing
from mm_sae_plugin.demos.steering.generating import generating_tab
from mm_sae_plugin.demos.steering.retrieving import retrieving_tab
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    import gradio as gr

_ABOUT = (
    "An edit takes latents of a sparse autoencoder from a reference picture, one modality at a "
    "time. It moves the vector that a prompt is drawn from, or that a search goes by."
)


def build(options: DemoOptions) -> gr.Blocks:
    """Make the page of an SAE.

    Raises
    ------
    UserError
        If the folder holds no labelled SAE, its store or encoder cannot be opened, or the pipeline
        that is named cannot be loaded or steered.
    """
    import gradio as gr
    import torch

    has_gpu = options.pipeline is not None and torch.cuda.is_available()
    study = Study.open(options.sae, options.acts, device="cuda" if has_gpu else "cpu")
    # Faults of the folder are told now, in the terminal, and not at the first click.
    explorer, _ = Explorer.open(study, progress=True), study.model
    painter = _painter(study, options.pipeline)
    # Threads that share a small network's few numbers wait for each other most of the time.
    if isinstance(painter, Painter) and painter.is_embedded:
        torch.set_num_threads(1)
    title = DEMOS["steering"].title
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.HTML(f"<style>{STYLE}</style>", padding=False)
        gr.Markdown(f"# {title}\n{_ABOUT}")
        with gr.Row(elem_classes=STACK):
            use, controls = gr.Column(scale=6), gr.Column(scale=5)
        with controls:
            gr.Markdown("## The edit")
            edit = editing(explorer)
        with use, gr.Tabs():
            with gr.Tab("Draw a prompt", id="draw"):
                if isinstance(painter, Painter):
                    tab = generating_tab(explorer, painter, edit)
                    fields: list[Any] = [tab.prompt, tab.seed, *edit.alphas, tab.status]
                    app.load(arrival(), None, fields, api_visibility="private")
                else:
                    gr.Markdown(f"Nothing can be drawn here. {painter}")
            with gr.Tab("Search a gallery", id="search"):
                retrieving_tab(explorer, edit)
        app.load(None, js=NAME_PICTURES, api_visibility="private")
    return app


def _painter(study: Study, pipeline: str | None) -> Painter | str:
    """What draws; or why nothing does, where none was asked for by name."""
    try:
        return Painter.open(study, pipeline)
    except UserError as error:
        if pipeline is not None:
            raise
        # The search works with any CLIP.
        return f"{error} The search beside works without a generator."
