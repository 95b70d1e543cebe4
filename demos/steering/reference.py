"""The picture that a prompt is pulled towards: uploaded, chosen from a few, or drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mm_sae_plugin.demos.common.card import card_input
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.demos.common.uploads import picture_input
from mm_sae_plugin.factorworld import FactorWorld

if TYPE_CHECKING:
    import gradio as gr

# Cards that no store holds, and that look different from each other.
_WORLD = 1_000_000
_CARDS = (1, 3, 5, 9, 12, 14)


@dataclass(frozen=True)
class _Card:
    path: str
    caption: str


def reference_input() -> gr.Image:
    """Lay it out; the picture's value is a path for ``uploaded_picture``."""
    import gradio as gr

    cards = [_card(number) for number in _CARDS]
    picture = picture_input(label="Reference", height=190, value=cards[0].path)
    gallery = gr.Gallery(
        [(card.path, card.caption) for card in cards],
        label="Or one of these cards",
        columns=6,
        rows=1,
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        buttons=[],
        elem_classes="st-cards",
    )
    with gr.Accordion("Draw a reference by hand", open=False):
        card_input(picture)

    def choose(event):
        return cards[event.index].path

    # Gradio reads the annotation, and must not be imported above.
    choose.__annotations__["event"] = gr.SelectData
    gallery.select(choose, None, picture, api_visibility="private", show_progress="hidden")
    return picture


def _card(number: int) -> _Card:
    card = FactorWorld(_WORLD).pair(number)
    path = place_for("card.png")
    card.image.save(path)
    return _Card(str(path), card.caption)
