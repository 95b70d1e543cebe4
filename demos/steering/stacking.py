"""Single latents on top of the mix: found by a caption, each with a slider of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.typed import slider_input, whole_number
from mm_sae_plugin.demos.steering.drawing import called
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study.given import refuse_no_latent

if TYPE_CHECKING:
    import gradio as gr

MOST = 6
"""Latents that can be stacked."""
_TOP = 8
_REACH = 3.0
_START = 1.0
_UNIT = "typical activations added"


@dataclass(frozen=True)
class Stacking:
    """What an edit reads of it."""

    latents: gr.State
    """Latents that the sliders belong to, in their order."""
    sliders: list[gr.Slider]
    """Typical activations that are added; those beyond the latents mean nothing."""


def stacking(explorer: Explorer) -> Stacking:
    """Lay the search and the sliders out."""
    import gradio as gr

    study, table = explorer.study, explorer.table

    def choices(latents: Sequence[int]) -> list[tuple[str, int]]:
        return [(called(study, table, latent), latent) for latent in latents]

    @told
    def find(asked: str, stacked: list[int]):
        number = whole_number(asked)
        if number is None:
            found = [entry.latent for entry in study.latents_of(text=asked, top=_TOP)]
        else:
            refuse_no_latent(number, study.feature_map.n_features)
            found = [number]
        shown = list(dict.fromkeys([*stacked, *found]))
        return gr.CheckboxGroup(choices=choices(shown), value=stacked, visible=True)

    @told
    def stack(chosen: list[int], stacked: list[int], *values: float):
        if len(chosen) > MOST:
            raise UserError(f"At most {MOST} latents can be stacked: take one out first.")
        kept = dict(zip(stacked, values, strict=False))
        sliders: list[Any] = [
            gr.Slider(
                value=kept.get(latent, _START),
                label=f"{called(study, table, latent)}, {_UNIT}",
                visible=True,
            )
            for latent in chosen
        ]
        return chosen, *sliders, *[gr.Slider(visible=False)] * (MOST - len(sliders))

    with gr.Row():
        asked = gr.Textbox(
            label="Latents that fire on a caption, or one by its number",
            placeholder="dusk, or #12",
            max_length=1000,
            scale=3,
        )
        go = gr.Button("Find latents", scale=1)
    chosen = gr.CheckboxGroup([], label="Found: check what to stack", type="value", visible=False)
    latents = gr.State([])
    sliders = [
        slider_input(-_REACH, _REACH, _START, step=0.1, label=f"Latent {n + 1}", visible=False)
        for n in range(MOST)
    ]
    gr.on([go.click, asked.submit], find, [asked, latents], chosen, api_name="find_latents")
    chosen.input(
        stack,
        [chosen, latents, *sliders],
        [latents, *sliders],
        api_name="stack",
        show_progress="hidden",
    )
    return Stacking(latents, sliders)
