"""Explorer of latents: a table to search, a page for every latent, and pictures to try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.naming import NAME_PICTURES
from mm_sae_plugin.demos.explorer.browse import browse_tab
from mm_sae_plugin.demos.explorer.drawing import STYLE
from mm_sae_plugin.demos.explorer.latent import FOLLOW_ADDRESS, latent_tab
from mm_sae_plugin.demos.explorer.rating import rating_tab
from mm_sae_plugin.demos.explorer.trying import trying_tab
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    import gradio as gr


def build(options: DemoOptions) -> gr.Blocks:
    """Make the page of an SAE.

    Raises
    ------
    UserError
        If the folder holds no labelled SAE, or its store or encoder cannot be opened.
    """
    import gradio as gr

    study = Study.open(options.sae, options.acts)
    # Faults of the folder are told now, in the terminal, and not at the first click.
    explorer, _ = Explorer.open(study, progress=True), study.model
    title = DEMOS["explorer"].title
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.HTML(f"<style>{STYLE}</style>", padding=False)
        gr.Markdown(f"# {title}\n{_about(explorer)}")
        with gr.Tabs() as tabs:
            with gr.Tab("Browse", id="browse"):
                browse = browse_tab(explorer)
            with gr.Tab("One latent", id="latent"):
                page = latent_tab(explorer)
            with gr.Tab("Try it", id="try"):
                trying_tab(explorer)
            with gr.Tab("Rate blind", id="rate"):
                rating_tab(explorer)
        private: dict[str, Any] = {"api_visibility": "private"}
        browse.opened.then(lambda: gr.Tabs(selected="latent"), None, tabs, **private).then(
            page.show, [browse.latent, page.heat], page.outputs, **private
        ).success(None, [page.shown, page.heat], None, js=page.note_in_address, **private)
        app.load(page.arrive, None, [tabs, page.heat, *page.outputs], **private)
        app.load(None, js=FOLLOW_ADDRESS, **private)
        app.load(None, js=NAME_PICTURES, **private)
    return app


def _about(explorer: Explorer) -> str:
    study = explorer.study
    counts = ", ".join(f"{n:,} {name}" for name, n in study.labels.class_counts.items() if n)
    name = study.path.resolve()
    told = f"The SAE `{name.parent.name}/{name.name}` has {counts}; "
    told += f"{study.store.manifest.n_pairs:,} pairs were looked at."
    accuracy = explorer.name_accuracy
    if accuracy is not None and accuracy.n:
        told += (
            f" Suggested names are guesses from captions; {accuracy.right} of {accuracy.n} are "
            "right where the truth is known."
        )
    return told
