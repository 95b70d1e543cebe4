"""A FactorWorld card drawn by hand: by its number, with any factor set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.demos.common.theme import ASK
from mm_sae_plugin.demos.common.typed import number_input, whole
from mm_sae_plugin.factorworld import FACTORS, FactorWorld
from mm_sae_plugin.factorworld.factors import SCENE_KINDS

if TYPE_CHECKING:
    import gradio as gr

# Other cards than any store's: no store is drawn with this seed by default.
_WORLD = 1_000_000
_ANY = "any"
# What the picture shows; marks and phrasing come with the number.
_FACTORS = [factor for factor in FACTORS.values() if factor.drawn == 1]


def card_input(picture: gr.Image, caption: gr.Textbox | None = None) -> None:
    """Lay out what draws a card into a picture, and its caption into a text, if one is given.

    Its endpoint is ``/card``: number, kind of scene, and a value or "any" for every factor that
    images always show, in the order of the table.
    """
    import gradio as gr

    @told
    def draw(number: Any, kind: str, *values: str):
        shown = None if kind == _ANY else kind
        chosen = {
            factor.name: value
            for factor, value in zip(_FACTORS, values, strict=True)
            # A choice that is hidden may be left from before.
            if value != _ANY and (shown is None or shown in factor.scenes)
        }
        which = whole("The card number", number)
        card = FactorWorld(_WORLD).pair_with(which, chosen, shown)
        path = place_for("card.png")
        card.image.save(path)
        return str(path) if caption is None else (str(path), card.caption)

    def fitting(kind: str):
        return [gr.Dropdown(visible=kind == _ANY or kind in f.scenes) for f in _FACTORS]

    with gr.Row(elem_classes=ASK):
        number = number_input(0, label="Card number", minimum=0)
        go = gr.Button("Draw a FactorWorld card")
    with gr.Accordion("What the card shows", open=False), gr.Row():
        kind = gr.Dropdown([_ANY, *SCENE_KINDS], value=_ANY, label="scene", min_width=120)
        factors = [
            gr.Dropdown([_ANY, *factor.values], value=_ANY, label=factor.name, min_width=120)
            for factor in _FACTORS
        ]
    kind.change(fitting, kind, factors, api_visibility="private", show_progress="hidden")
    outputs = picture if caption is None else [picture, caption]
    go.click(draw, [number, kind, *factors], outputs, api_name="card")
