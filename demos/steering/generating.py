"""Drawing a prompt before and after the edit, step by step, from the same noise."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering.painting import Painted, Painter
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.jobs import Jobs, Tell
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.presets import preset_file
from mm_sae_plugin.demos.common.typed import slider_input
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.demos.steering.address import NOTE
from mm_sae_plugin.demos.steering.editing import Asked, Editing
from mm_sae_plugin.demos.steering.reading import PictureReading
from mm_sae_plugin.demos.steering.sweep import sweep_part
from mm_sae_plugin.demos.steering.window import checked_seed, checked_window

QUEUE = "drawing"
"""Events that draw wait for each other."""
PROMPT = "two big red cars left at night"
_SEEDS = 2**31


@dataclass(frozen=True)
class Step:
    """A denoising step began."""

    what: str
    """What is drawn."""
    n_begun: int
    n_steps: int

    @property
    def where(self) -> str:
        """How far it is, in words."""
        return f"at step {self.n_begun} of {self.n_steps}"


@dataclass(frozen=True)
class Drawn:
    """The prompt as it is, which stays while the edit changes."""

    prompt: str
    seed: int
    painted: Painted


@dataclass(frozen=True)
class Generating:
    """What the address holds of the tab."""

    prompt: Any
    seed: Any
    status: Any


def generating_tab(explorer: Explorer, painter: Painter, edit: Editing) -> Generating:
    """Lay the tab out."""
    import gradio as gr

    study, table, reading = explorer.study, explorer.table, PictureReading()
    jobs = Jobs(painter.pipeline, painter.denoiser)
    last_step = painter.n_decoder_steps

    def drawn_now(
        visitor: str, known: Drawn | None, prompt: str, seed: int, window: Any, asked: Asked
    ) -> Iterator[Step | Drawn | Painted]:
        def work(tell: Tell) -> None:
            def noting(what: str):
                return lambda n_begun, n_steps: tell(Step(what, n_begun, n_steps))

            if known is None:
                painted = painter.paint(prompt, seed, on_step=noting("Drawing it as it is"))
                tell(Drawn(prompt, seed, painted))
            tell(painter.paint(prompt, seed, asked.edit, steps=window, on_step=noting("Editing")))

        yield from jobs.run(visitor, work)

    @told
    def draw(request, known: Drawn | None, prompt: str, seed: Any, keep: bool, *values: Any):
        first, last, *of_edit = values
        window = checked_window(first, last, last_step)
        asked = edit.read(of_edit)
        seed = checked_seed(seed) if keep else secrets.randbelow(_SEEDS)
        same = known is not None and (known.prompt, known.seed) == (prompt, seed)
        known = known if same else None
        skip, step, started = gr.skip(), None, time.monotonic()
        is_done = False
        before = None if known is None else known.painted.picture
        for what in drawn_now(request.session_hash, known, prompt, seed, window, asked):
            if isinstance(what, Step):
                step = what
                bar = drawing.progress(what.what, what.n_begun, what.n_steps)
                yield skip, bar, *[skip] * 5
            elif isinstance(what, Drawn):
                known, before = what, what.painted.picture
                pair = drawing.side_by_side(before, None, prompt)
                yield pair, skip, skip, seed, skip, skip, known
            else:
                assert known is not None
                is_done, took = True, time.monotonic() - started
                panel = drawing.movement(study, table, what.moved, what.latents)
                panel += reading.panel(prompt, known.painted, what, asked.reference)
                manifest = manifest_of(
                    study, "steering", _manifest(painter, prompt, window, asked), seed, asked.edit
                )
                yield (
                    drawing.side_by_side(before, what.picture, prompt),
                    drawing.sentence(f"Drawn with seed {seed} in {took:.1f} s."),
                    panel,
                    seed,
                    gr.DownloadButton(value=manifest_file(manifest), interactive=True),
                    gr.DownloadButton(value=preset_file(asked.edit), interactive=True),
                    known,
                )
        if not is_done:
            where = "before its first step" if step is None else step.where
            yield skip, drawing.sentence(f"Stopped {where}."), *[skip] * 5

    @told
    def follow(request, live: bool, known: Drawn | None, *rest: Any):
        # Without a first picture there is nothing that could follow.
        if not live or known is None:
            yield tuple([gr.skip()] * 7)
            return
        prompt, seed, _, *values = rest
        yield from draw(request, known, prompt, seed, True, *values)

    def stop(request):
        found = jobs.stop(request.session_hash)
        return drawing.sentence("Stopping …" if found else "Nothing is being drawn.")

    def not_drawn():
        return drawing.sentence("Nothing was drawn.")

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    for handler in (draw, follow, stop):
        handler.__annotations__["request"] = gr.Request

    prompt = gr.Textbox(PROMPT, label="Prompt", max_length=1000)
    with gr.Row():
        go = gr.Button("Draw before and after", variant="primary", scale=3)
        halt = gr.Button("Stop", scale=1, min_width=80)
    status = gr.HTML(drawing.sentence("Nothing is drawn yet."), padding=False)
    pair = gr.HTML(drawing.side_by_side(None, None, PROMPT), padding=False)
    live = gr.Checkbox(True, label="Draw again whenever a strength moves")
    panel = gr.HTML(padding=False)
    with gr.Accordion("Seed and window of steps", open=False):
        with gr.Row():
            seed = gr.Number(0, label="Seed of the noise", precision=0, minimum=0)
            keep = gr.Checkbox(True, label="Keep the seed; else each drawing has another")
        with gr.Row():
            first = slider_input(0, last_step - 1, 0, step=1, label="Edit from step")
            last = slider_input(
                1, last_step, last_step, step=1, label="… up to step (not included)"
            )
    with gr.Row():
        manifest = gr.DownloadButton("Download the manifest", interactive=False)
        preset = gr.DownloadButton("Download the preset", interactive=False)
    known = gr.State(None)
    outputs = [pair, status, panel, seed, manifest, preset, known]
    inputs = [known, prompt, seed, keep, first, last, *edit.inputs]
    shown: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": QUEUE}
    noted = [prompt, seed, *edit.alphas]
    asking = gr.on([go.click, prompt.submit], draw, inputs, outputs, api_name="draw", **shown)
    following = gr.on(
        [slider.input for slider in edit.sliders],
        follow,
        [live, *inputs],
        outputs,
        api_visibility="private",
        trigger_mode="always_last",
        **shown,
    )
    for event in (asking, following):
        event.success(None, noted, None, js=NOTE, api_visibility="private")
        # What is wrong is told in a corner of the page; here a step would be told for ever.
        event.failure(not_drawn, None, status, api_visibility="private", show_progress="hidden")
    halt.click(stop, None, status, api_name="stop", queue=False, show_progress="hidden")
    sweep_part(painter, edit, jobs, reading, [prompt, seed, first, last], shown)
    return Generating(prompt, seed, status)


def _manifest(painter: Painter, prompt: str, window: tuple[int, int | None], asked: Asked) -> dict:
    settings = {
        name: value for name, value in painter.settings.items() if not hasattr(value, "size")
    }
    return {
        "prompt": prompt,
        "steps": list(window),
        **asked.told,
        "pipeline": {**painter.identity, "settings": settings},
    }
