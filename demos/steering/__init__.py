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
    "A prompt becomes a vector, and a picture is drawn from it, or a gallery searched by it. A "
    "sparse autoencoder takes the vector apart into latents: directions, most of which fire on one "
    "thing. An edit moves the latents of one modality towards those of a reference picture."
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
            use, controls = gr.Column(elem_classes="st-use"), gr.Column(elem_classes="st-edit")
            drawn = gr.Column(elem_classes="st-more")
            found = gr.Column(elem_classes="st-more", visible=False)
        with controls:
            gr.Markdown("## The edit")
            edit = editing(explorer)
        with use, gr.Tabs():
            with gr.Tab("Draw a prompt", id="draw") as draw_tab:
                if isinstance(painter, Painter):
                    tab = generating_tab(explorer, painter, edit, drawn)
                    fields: list[Any] = [tab.prompt, tab.seed, tab.first, tab.last, *edit.alphas]
                    fields += [edit.relative, edit.reference.picture]
                    fields += [edit.stacked.chosen, edit.stacked.latents, *edit.stacked.sliders]
                    arrive = arrival(edit, painter.n_decoder_steps)
                    outputs = [*fields, tab.status]
                    arrived = app.load(arrive, None, outputs, api_visibility="private")
                    tab.address.opened_by(arrived)
                else:
                    gr.Markdown(f"Nothing can be drawn here. {painter}")
            with gr.Tab("Search a gallery", id="search") as search_tab:
                retrieving_tab(explorer, edit, found)
        for tab_of, shown in ((draw_tab, drawn), (search_tab, found)):
            tab_of.select(
                lambda shown=shown: [gr.Column(visible=one is shown) for one in (drawn, found)],
                None,
                [drawn, found],
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
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
