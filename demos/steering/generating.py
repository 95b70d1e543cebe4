"""Drawing a prompt before and after the edit, step by step, from the same noise."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering.painting import Painted, Painter
from mm_sae_plugin.demos.common.address import Address
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.jobs import Jobs, Stopped, Stopping, Tell, Waiting
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.presets import preset_file
from mm_sae_plugin.demos.common.typed import filled, number_input, slider_input
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.demos.steering.address import HOLDS, KEYS, LONGEST, query_of
from mm_sae_plugin.demos.steering.drawing import DRAWS
from mm_sae_plugin.demos.steering.editing import Asked, Editing
from mm_sae_plugin.demos.steering.examples import examples_of
from mm_sae_plugin.demos.steering.prompt import left_out
from mm_sae_plugin.demos.steering.reading import PictureReading
from mm_sae_plugin.demos.steering.sweep import sweep_part
from mm_sae_plugin.demos.steering.window import MOST_SEED, checked_seed, checked_window
from mm_sae_plugin.factorworld.architecture import build_tokenizer

PROMPT = "two big red cars left at night"
_SEEDS = 2**31
_FIRST = (
    "Draw the prompt: once as it is, and once with its vector edited, from the same noise, so that "
    "what differs comes from the edit."
)
_ABOUT_STEPS = (
    "The same seed is the same noise. The picture is drawn in steps, coarse shapes first: the edit "
    "can act in some of them only."
)
_ABOUT_FILES = (
    "The manifest is a file that says how the pictures were made; the preset is the edit alone, to "
    "be used again."
)
_OUTPUTS = ("pair", "status", "panel", "seed", "manifest", "preset", "known")
_STALE = "The pictures show an earlier prompt, seed or edit: draw again to see this one."
# A change that was made before the stop must not draw after it. Gradio tells of one that had to
# wait a second time, with the same values.
_CHANGED = """(...values) => {
  const edit = JSON.stringify(values);
  if (edit !== window.steeringEdit) window.steeringChanged = performance.now();
  window.steeringEdit = edit;
}"""
_HALTED = "() => { window.steeringHalted = performance.now(); return []; }"
_FOLLOWED = """(live, ...rest) =>
  [live && !(window.steeringHalted > window.steeringChanged), ...rest]"""


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
    edited_by: Any = None
    """Edit and window of the picture beside it; None where there is none yet."""
    told: str = ""
    """What the status says of both."""


@dataclass(frozen=True)
class Generating:
    """What the address holds of the tab."""

    prompt: Any
    seed: Any
    first: Any
    last: Any
    status: Any
    address: Address


def generating_tab(explorer: Explorer, painter: Painter, edit: Editing, details: Any) -> Generating:
    """Lay the tab out.

    Parameters
    ----------
    explorer, painter, edit
        What is drawn, by what, and edited how.
    details : gr.Column
        Where tables, settings and the sweep go.
    """
    import gradio as gr

    study, table, reading = explorer.study, explorer.table, PictureReading()
    jobs = Jobs(painter.pipeline, painter.denoiser)
    last_step = painter.n_decoder_steps
    tokenizer = build_tokenizer() if painter.is_embedded else None

    def page(**new: Any) -> list[Any]:
        return [new.get(name, gr.skip()) for name in _OUTPUTS]

    def drawn_now(
        visitor: Any, known: Drawn | None, prompt: str, seed: int, window: Any, asked: Asked
    ) -> Iterator[Any]:
        def work(tell: Tell) -> None:
            def noting(what: str):
                return lambda n_begun, n_steps: tell(Step(what, n_begun, n_steps))

            if known is None:
                painted = painter.paint(prompt, seed, on_step=noting("Drawing it as it is"))
                tell(Drawn(prompt, seed, painted))
            tell(painter.paint(prompt, seed, asked.edit, steps=window, on_step=noting("Editing")))

        yield from jobs.run(visitor, work, about=(asked.edit, window))

    @told
    def draw(request, known: Drawn | None, prompt: Any, seed: Any, keep: bool, *values: Any):
        first, last, *of_edit = values
        prompt = filled("The prompt", prompt, "say what to draw")
        window = checked_window(first, last, last_step)
        asked = edit.read(of_edit)
        seed = checked_seed(seed) if keep else secrets.randbelow(_SEEDS)
        yield page(seed=seed)
        has_older = known is not None
        if known is not None and (known.prompt, known.seed) != (prompt, seed):
            known = None
        step, started = None, time.monotonic()
        for what in drawn_now(_visitor(request), known, prompt, seed, window, asked):
            if isinstance(what, Waiting):
                yield page(status=drawing.waiting(what.n_before))
            elif isinstance(what, Step):
                step = what
                bar = drawing.progress(what.what, what.n_begun, what.n_steps)
                yield page(status=bar)
            elif isinstance(what, Drawn):
                known, has_older = what, False
                off = gr.DownloadButton(value=None, interactive=False)
                pair = drawing.side_by_side(what.painted.picture, None, prompt)
                # What stood here was of another picture.
                yield page(pair=pair, panel="", manifest=off, preset=off, known=known)
            elif isinstance(what, Stopping):
                yield page(status=drawing.sentence("Stopping …"))
            elif isinstance(what, Stopped):
                yield page() if what.by_newer else page(status=drawing.halted(step, has_older))
            else:
                assert known is not None
                took = time.monotonic() - started
                said = f"Drawn with seed {seed} in {took:.1f} s. {left_out(tokenizer, prompt)}"
                known = replace(known, edited_by=(asked.edit, window), told=said.strip())
                panel = drawing.movement(study, table, what.moved, what.latents)
                panel += reading.panel(prompt, known.painted, what, asked.reference)
                manifest = manifest_of(
                    study, "steering", _manifest(painter, prompt, window, asked), seed, asked.edit
                )
                yield page(
                    pair=drawing.side_by_side(known.painted.picture, what.picture, prompt),
                    status=drawing.sentence(known.told),
                    panel=panel,
                    manifest=gr.DownloadButton(value=manifest_file(manifest), interactive=True),
                    preset=gr.DownloadButton(value=preset_file(asked.edit), interactive=True),
                    known=known,
                )

    @told
    def follow(request, live: bool, known: Drawn | None, *rest: Any):
        visitor = _visitor(request)
        prompt, seed, _, *values = rest
        if jobs.is_at_work(visitor):
            # Fields tell of a change also when the page first fills them.
            if live and not jobs.is_about(visitor, _edited_by(values)):
                yield from draw(request, known, prompt, seed, True, *values)
            else:
                yield page()
        # Without a first picture there is nothing that could follow.
        elif known is None:
            yield page()
        elif known.edited_by == _edited_by(values):
            yield page(status=mark(request, known, prompt, seed))
        elif live:
            yield from draw(request, known, prompt, seed, True, *values)
        else:
            yield page(status=drawing.sentence(_STALE))

    def _edited_by(values: Any) -> Any:
        first, last, *of_edit = values
        return edit.read(of_edit).edit, checked_window(first, last, last_step)

    def mark(request, known: Drawn | None, prompt: Any, seed: Any):
        """Say so where prompt or seed are others by now."""
        if known is None or jobs.is_at_work(_visitor(request)):
            return gr.skip()
        is_same = (known.prompt, known.seed) == (prompt, seed)
        return drawing.sentence(known.told if is_same else _STALE)

    def stop(request):
        # What is stopped says so itself, in its turn.
        found = jobs.stop(_visitor(request))
        return gr.skip() if found else drawing.sentence("Nothing is being drawn.")

    def not_drawn():
        return drawing.sentence("Nothing new was drawn.")

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    for handler in (draw, follow, mark, stop):
        handler.__annotations__["request"] = gr.Request

    prompt = gr.Textbox(PROMPT, label="Prompt", max_length=LONGEST)
    with gr.Row():
        go = gr.Button("Draw before and after", variant="primary", scale=3)
        halt = gr.Button("Stop", scale=1, min_width=80)
    tried = examples_of(edit, prompt)
    status = gr.HTML(drawing.sentence(_FIRST), padding=False)
    pair = gr.HTML(padding=False)
    live = gr.Checkbox(True, label="Draw again whenever the edit changes")
    with details:
        panel = gr.HTML(padding=False)
        with gr.Accordion("Seed and window of steps", open=False):
            gr.Markdown(_ABOUT_STEPS, elem_classes="st-soft")
            with gr.Row():
                seed = number_input(0, label="Seed of the noise", minimum=0, maximum=MOST_SEED)
                keep = gr.Checkbox(True, label="Keep the seed; else each drawing has another")
            with gr.Row():
                first = slider_input(0, last_step - 1, 0, step=1, label="Edit from step")
                last = slider_input(
                    1, last_step, last_step, step=1, label="… up to step (not included)"
                )
        with gr.Row():
            manifest = gr.DownloadButton("Download the manifest", interactive=False)
            preset = gr.DownloadButton("Download the preset", interactive=False)
        gr.Markdown(f"{_ABOUT_FILES} {HOLDS}", elem_classes="st-soft")
    known = gr.State(None)
    fields = [prompt, seed, first, last, *edit.inputs]
    address = Address.of(fields, partial(query_of, edit), KEYS)
    outputs = [pair, status, panel, seed, manifest, preset, known]
    inputs = [known, prompt, seed, keep, first, last, *edit.inputs]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    changes = [*edit.changes, first.input, last.input]
    # Before what follows, or it would wait for it.
    seen = [first, last, *edit.shown]
    gr.on(changes, None, seen, None, js=_CHANGED, trigger_mode="multiple", **private)
    # The newest of several takes the place of those before it.
    newest: dict[str, Any] = {**DRAWS, "trigger_mode": "multiple"}
    asking = gr.on([go.click, prompt.submit], draw, inputs, outputs, api_name="draw", **newest)
    trying = [
        one.success(draw, inputs, outputs, api_visibility="private", **newest) for one in tried
    ]
    following = gr.on(
        changes,
        follow,
        [live, *inputs],
        outputs,
        js=_FOLLOWED,
        api_visibility="private",
        **{**DRAWS, "trigger_mode": "always_last"},
    )
    for event in (asking, *trying, following):
        address.noted_after(event)
        # What is wrong is told in a corner of the page; here a step would be told for ever.
        event.failure(not_drawn, None, status, **private)
    gr.on(
        [prompt.blur, seed.input],
        mark,
        [known, prompt, seed],
        status,
        queue=False,
        trigger_mode="always_last",
        **private,
    )
    halt.click(stop, None, status, api_name="stop", js=_HALTED, queue=False, show_progress="hidden")
    with details:
        sweep_part(painter, edit, jobs, reading, [prompt, seed, first, last])
    return Generating(prompt, seed, first, last, status, address)


def _visitor(request: Any) -> tuple[str | None, str]:
    # A sweep of the same visitor's is other work.
    return request.session_hash, "draw"


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
