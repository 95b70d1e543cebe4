"""Bias detection: two models on counterfactual twins, and the latents that a gap comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.bias.address import KEYS, TABS
from mm_sae_plugin.demos.bias.controls import Controls
from mm_sae_plugin.demos.bias.downloads import file_buttons, unprepared
from mm_sae_plugin.demos.bias.drawing import STACK, STYLE
from mm_sae_plugin.demos.bias.showing import Page
from mm_sae_plugin.demos.bias.subject import open_subjects
from mm_sae_plugin.demos.common.address import Address
from mm_sae_plugin.demos.common.tabs import turned_to

if TYPE_CHECKING:
    import gradio as gr

_ABOUT = (
    "Does a model link gender with occupations? Twins are shown to it: the same drawn scene, once "
    "with a woman and once with a man. {models}"
)
_LIMITS = (
    '<div class="bd-note"><p><b>The association is invented.</b> <code>factorworld-biased</code> '
    "was trained so that some occupations go with women, others with men; it says nothing about "
    "people. The people are drawn, none is real. Gender here is <b>perceived, binary and given by "
    "the data set</b>.</p><p>It can show that a model links two things that it was taught to link, "
    "how surely, and which latents hold it. It cannot show that another model is fair, nor what "
    "happens to people: audit that on data of your own, with <code>mm-sae bias</code>.</p></div>"
)
_OF_GENDER = (
    "This part is of gender, whatever else was chosen above: only for it a direction was stated "
    "beforehand."
)
_HOLDS = "The address of this page holds all that you chose."


def build(options: DemoOptions) -> gr.Blocks:
    """Make the page of one SAE, or of two beside each other.

    Raises
    ------
    UserError
        If a folder holds no labelled SAE of the joint space, its store or encoder cannot be opened,
        or its model does not know FactorWorld.
    """
    import gradio as gr
    import torch

    # Threads that share a small network's few numbers wait for each other most of the time.
    torch.set_num_threads(1)
    subjects = open_subjects(options.sae, options.acts, options.beside)
    title = DEMOS["bias"].title
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.HTML(f"<style>{STYLE}</style>", padding=False)
        names = " and ".join(f"`{subject.name}`" for subject in subjects)
        beside = "are shown beside each other." if len(subjects) > 1 else "is audited."
        gr.Markdown(f"# {title}\n{_ABOUT.format(models=f'{names} {beside}')}")
        gr.HTML(_LIMITS, padding=False)
        status = gr.HTML(padding=False)
        controls = Controls.make(subjects)
        page = Page(controls)
        with gr.Row(elem_classes=STACK):
            controls.flip.render()
            controls.model.render()
        controls.tab.render()
        with gr.Tabs() as tabs:
            with gr.Tab("Audit", id="audit") as audit_tab:
                audit = gr.HTML(padding=False)
            with gr.Tab("Attribution", id="attribution") as attribution_tab:
                gr.Markdown(_OF_GENDER, elem_classes="bd-soft")
                controls.by.render()
                classes = gr.HTML(padding=False)
                latents = gr.HTML(padding=False)
                controls.show.render()
                drill = gr.HTML(padding=False)
            with gr.Tab("Toggle", id="toggle") as toggle_tab:
                gr.Markdown(_OF_GENDER, elem_classes="bd-soft")
                controls.classes.render()
                controls.concepts.render()
                with gr.Row(elem_classes=STACK):
                    controls.latents.render()
                    controls.side.render()
                toggle = gr.HTML(padding=False)
            with gr.Tab("Twins", id="twins") as twins_tab:
                with gr.Row():
                    controls.occupation.render()
                    controls.pair.render()
                twins = gr.HTML(padding=False)
        kept = file_buttons(controls)
        gr.Markdown(_HOLDS, elem_classes="bd-soft")
        address = Address.of(controls.fields, page.query, KEYS)

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        # What is chosen while the choice before is under way counts, too.
        last: dict[str, Any] = {"trigger_mode": "always_last"}
        fields = controls.fields
        models = [controls.show, controls.classes, controls.concepts, controls.latents]
        moved = [classes, latents, drill, toggle]
        changes = [
            controls.flip.input(page.audit, fields, [audit, twins], api_name="audit", **last),
            controls.model.input(page.model, fields, [*models, *moved], api_name="model", **last),
            controls.by.input(page.classes, fields, classes, api_name="attribution", **last),
            controls.show.input(page.drill, fields, drill, api_name="latents", **last),
            gr.on(
                [
                    controls.classes.input,
                    controls.concepts.input,
                    controls.side.input,
                    controls.latents.submit,
                    controls.latents.blur,
                ],
                page.toggle,
                fields,
                toggle,
                api_name="toggle",
                show_progress="hidden",
                **last,
            ),
            gr.on(
                [controls.occupation.input, controls.pair.input],
                page.twins,
                fields,
                twins,
                api_name="twins",
                show_progress="hidden",
                **last,
            ),
        ]
        tabs_of = (audit_tab, attribution_tab, toggle_tab, twins_tab)
        turned = turned_to(dict(zip(TABS, tabs_of, strict=True)), controls.tab)
        arrived = app.load(
            page.arrive(),
            None,
            [tabs, *fields, audit, *moved, twins, status],
            **private,
        )
        for event in (*changes, *turned, address.opened_by(arrived)):
            address.noted_after(event)
        # Files that were prepared are of what stood before.
        for event in changes:
            event.success(unprepared, None, kept, queue=False, **private)
    return app
