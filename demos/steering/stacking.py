"""Single latents on top of the mix: found by a caption, each with a slider of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.theme import ASK, SIGNED
from mm_sae_plugin.demos.common.typed import filled, slider_input, whole_number
from mm_sae_plugin.demos.steering.drawing import called
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study.given import refuse_no_latent

if TYPE_CHECKING:
    import gradio as gr

MOST = 6
"""Latents that can be stacked."""
_TOP = 8
REACH = 3.0
"""Typical activations that are added or taken at most."""
_START = 1.0
_UNIT = "typical activations added"
_ABOUT = (
    "A latent is one direction that the sparse autoencoder found; a typical activation is how "
    "strongly it fires where it fires, in the middle of its range. Find some, check those to "
    "add, and set how much of each."
)


@dataclass(frozen=True)
class Stacking:
    """What an edit reads of it."""

    latents: gr.State
    """Latents that the sliders belong to, in their order."""
    sliders: list[gr.Slider]
    """Typical activations that are added; those beyond the latents mean nothing."""
    chosen: gr.CheckboxGroup
    """Which latents are stacked, of those that were found."""
    shown: Callable[[dict[int, float]], list[Any]]
    """Updates of choice, latents and sliders that stack these latents by these amounts."""


def stacking(explorer: Explorer) -> Stacking:
    """Lay the search and the sliders out."""
    import gradio as gr

    study, table = explorer.study, explorer.table

    def choices(latents: Sequence[int]) -> list[tuple[str, int]]:
        return [(called(study, table, latent), latent) for latent in latents]

    @told
    def find(asked: Any, stacked: list[int]):
        number = whole_number(filled("The search for latents", asked))
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
        return chosen, *turned_to({latent: kept.get(latent, _START) for latent in chosen})

    def turned_to(amounts: dict[int, float]) -> list[Any]:
        sliders: list[Any] = [
            gr.Slider(value=amount, label=f"{called(study, table, latent)}, {_UNIT}", visible=True)
            for latent, amount in amounts.items()
        ]
        return sliders + [gr.Slider(visible=False)] * (MOST - len(sliders))

    def shown(amounts: dict[int, float]) -> list[Any]:
        latents = list(amounts)
        choice = gr.CheckboxGroup(choices=choices(latents), value=latents, visible=bool(latents))
        return [choice, latents, *turned_to(amounts)]

    gr.Markdown(_ABOUT, elem_classes="st-soft")
    with gr.Row(elem_classes=ASK):
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
        slider_input(
            -REACH,
            REACH,
            _START,
            step=0.1,
            label=f"Latent {n + 1}",
            visible=False,
            elem_classes=SIGNED,
        )
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
    return Stacking(latents, sliders, chosen, shown)
