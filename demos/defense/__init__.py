"""Adversarial defense: one picture attacked through every defense, and what evaluations hide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.address import Address
from mm_sae_plugin.demos.common.naming import NAME_PICTURES
from mm_sae_plugin.demos.common.tabs import turned_to
from mm_sae_plugin.demos.defense.address import KEYS, TABS
from mm_sae_plugin.demos.defense.controls import Controls
from mm_sae_plugin.demos.defense.drawing import STACK, STYLE, sentence
from mm_sae_plugin.demos.defense.evaluating import evaluated
from mm_sae_plugin.demos.defense.page import Page
from mm_sae_plugin.demos.defense.record import read_record, shipped_record
from mm_sae_plugin.demos.defense.running import FIRST, Running
from mm_sae_plugin.demos.defense.subject import open_subject

if TYPE_CHECKING:
    import gradio as gr

_ABOUT = (
    "A change too small to notice makes an image encoder see something else. Defenses promise to "
    "stop that, and many were only tested with pictures that were made without knowing them. Here "
    "`{model}` and its defenses are attacked both ways."
)
_HOLDS = (
    "The address of this page holds all that you chose, but for a picture of your own. The picture "
    "is the attacked one at the encoder’s size, the adaptive one where a defense was chosen."
)


def build(options: DemoOptions) -> gr.Blocks:
    """Make the page of an encoder and its defenses.

    Raises
    ------
    UserError
        If the SAE's folder is there and holds no labelled SAE of the joint space, its store or
        encoder cannot be opened, or the evaluation is none.
    """
    import gradio as gr
    import torch

    # Threads that share a small network's few numbers wait for each other most of the time.
    torch.set_num_threads(1)
    given = None if options.robustness is None else read_record(options.robustness)
    subject = open_subject(options.sae, options.acts)
    record = shipped_record(subject.model) if given is None else given
    controls = Controls.make(subject)
    page, running = Page(controls), Running(controls)
    run, stop, mark = running.events()
    title = DEMOS["defense"].title
    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.HTML(f"<style>{STYLE}</style>", padding=False)
        gr.Markdown(f"# {title}\n{_ABOUT.format(model=subject.model.cfg.model_name)}")
        said = gr.HTML(padding=False)
        controls.tab.render()
        with gr.Tabs() as tabs:
            with gr.Tab("Attack a picture", id=TABS[0]) as attack_tab, gr.Row(elem_classes=STACK):
                with gr.Column(elem_classes="df-ask"):
                    controls.task.render()
                    controls.picture.render()
                    controls.gallery.render()
                    controls.truth.render()
                    controls.defense.render()
                    controls.attack.render()
                    controls.toward.render()
                    controls.eps.render()
                    controls.steps.render()
                    controls.seed.render()
                with gr.Column(elem_classes="df-show"):
                    with gr.Row():
                        # Off until the address is read: it may ask for something else.
                        go = gr.Button(
                            "Attack the picture", variant="primary", scale=3, interactive=False
                        )
                        halt = gr.Button("Stop", scale=1, min_width=80)
                    status = gr.HTML(sentence(FIRST), padding=False)
                    shown = gr.HTML(padding=False)
                    moved = gr.HTML(padding=False)
                    with gr.Row():
                        image = gr.DownloadButton("Download the picture", interactive=False)
                        manifest = gr.DownloadButton("Download the manifest", interactive=False)
                    gr.Markdown(_HOLDS, elem_classes="df-soft")
            with gr.Tab("The evaluation", id=TABS[1]) as evaluation_tab:
                gr.HTML(evaluated(record), padding=False)
        known = gr.State(None)
        address = Address.of(controls.fields, page.query, KEYS)

        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        # What is chosen while the choice before is under way counts, too.
        last = {**private, "trigger_mode": "always_last"}
        fields = controls.fields
        of_task = [controls.picture, controls.gallery, controls.truth, controls.toward]
        # Attacks wait in a line of their own, where they can be told of and stopped.
        asking = go.click(
            run,
            fields,
            [shown, status, moved, image, manifest, known],
            api_name="attack",
            show_progress="hidden",
            concurrency_id="attacking",
            concurrency_limit=16,
            trigger_mode="multiple",
        )
        # What is wrong is told in a corner of the page; here a step would be told for ever.
        asking.failure(
            lambda: (sentence("Nothing was attacked."), "", ""),
            None,
            [status, shown, moved],
            **private,
        )
        halt.click(stop, None, status, api_name="stop", queue=False, show_progress="hidden")
        chosen = controls.gallery.select(
            page.choose(), controls.task, [controls.picture, controls.truth], **last
        )
        changes = [
            controls.task.input(page.task, fields, of_task, **last),
            controls.attack.input(page.aim, fields, controls.toward, **last),
            controls.picture.upload(page.uploaded, None, controls.truth, **last),
            chosen,
        ]
        turned = turned_to(dict(zip(TABS, (attack_tab, evaluation_tab), strict=True)), controls.tab)
        arrived = app.load(
            page.arrive(), None, [tabs, controls.gallery, *fields, said, go], **private
        )
        typed = [
            controls.truth.input,
            controls.toward.input,
            # What is typed beyond a slider's ends is moved there, of which only a change tells.
            controls.eps.change,
            controls.steps.change,
            controls.seed.input,
            controls.defense.input,
            controls.picture.clear,
        ]
        noted = gr.on(
            typed, lambda: None, None, None, queue=False, trigger_mode="multiple", **private
        )
        for event in (*changes, *turned, address.opened_by(arrived), noted, asking):
            address.noted_after(event)
        for event in (*changes, noted):
            event.success(mark, [known, *fields], status, queue=False, **last)
        app.load(None, js=NAME_PICTURES, api_visibility="private")
    return app
