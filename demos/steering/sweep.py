"""One prompt at several strengths of the edit, as a grid that fills while it is drawn."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.applications.steering.painting import STRENGTHS, Painter
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.jobs import Jobs, Stopped, Stopping, Tell, Waiting
from mm_sae_plugin.demos.common.typed import filled
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.demos.steering.drawing import DRAWS
from mm_sae_plugin.demos.steering.editing import Editing
from mm_sae_plugin.demos.steering.reading import PictureReading
from mm_sae_plugin.demos.steering.window import checked_seed, checked_window

# Without a break between.
_TIMES = "×\u00a0{:g}"


def sweep_part(
    painter: Painter,
    edit: Editing,
    jobs: Jobs,
    reading: PictureReading,
    fields: list[Any],
) -> None:
    """Lay the sweep out.

    Parameters
    ----------
    painter, edit, jobs, reading
        Of the tab.
    fields : list
        Components of prompt, seed, and the first and last step.
    """
    import gradio as gr

    n_all = len(STRENGTHS)

    @told
    def sweep(request, prompt: Any, seed: Any, first: Any, last: Any, *values: Any):
        prompt = filled("The prompt", prompt, "say what to draw")
        window = checked_window(first, last, painter.n_decoder_steps)
        asked, number = edit.read(values), checked_seed(seed)
        drawn: list[Any] = []
        # What stood here was of another prompt or edit.
        yield "", drawing.sentence("")

        def work(tell: Tell) -> None:
            def begun(n_begun: int, n_steps: int) -> None:
                tell((n_begun, n_steps))

            swept = painter.sweep(prompt, number, asked.edit, steps=window, on_step=begun)
            for strength, painted in swept:
                tell((strength, painted, reading.count(prompt, painted)))

        for what in jobs.run(_visitor(request), work):
            if isinstance(what, Waiting):
                yield gr.skip(), drawing.waiting(what.n_before)
            elif isinstance(what, Stopping):
                yield gr.skip(), drawing.sentence("Stopping …")
            elif isinstance(what, Stopped):
                told = f"Stopped after {len(drawn)} of {n_all}."
                yield gr.skip(), gr.skip() if what.by_newer else drawing.sentence(told)
                return
            elif len(what) == 2:
                bar = f"Picture {len(drawn) + 1} of {n_all}"
                yield gr.skip(), drawing.progress(bar, *what)
            else:
                drawn.append(what)
                yield drawing.swept(drawn, prompt), gr.skip()
        yield gr.skip(), drawing.sentence("All strengths are drawn.")

    def stop(request):
        # What is stopped says so itself, in its turn.
        found = jobs.stop(_visitor(request))
        return gr.skip() if found else drawing.sentence("Nothing is being drawn.")

    # Gradio hands the request in where an annotation asks for it, and must not be imported above.
    for handler in (sweep, stop):
        handler.__annotations__["request"] = gr.Request

    with gr.Accordion("Sweep of strengths", open=False):
        gr.Markdown(
            "The whole edit, from none of it to more than all, from the same noise: "
            f"{', '.join(_TIMES.format(strength) for strength in STRENGTHS)}."
        )
        with gr.Row():
            go = gr.Button("Draw the sweep", scale=2)
            halt = gr.Button("Stop the sweep", scale=1, min_width=160)
        status = gr.HTML(padding=False)
        grid = gr.HTML(padding=False)
    asking = go.click(
        sweep,
        [*fields, *edit.inputs],
        [grid, status],
        api_name="sweep",
        trigger_mode="multiple",
        **DRAWS,
    )
    # What is wrong is told in a corner of the page; here a step would be told for ever.
    asking.failure(
        lambda: drawing.sentence("The sweep was not drawn."),
        None,
        status,
        api_visibility="private",
        show_progress="hidden",
    )
    halt.click(stop, None, status, api_visibility="private", queue=False, show_progress="hidden")


def _visitor(request: Any) -> tuple[str | None, str]:
    # A drawing of the same visitor's is other work.
    return request.session_hash, "sweep"
