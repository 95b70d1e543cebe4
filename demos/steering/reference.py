"""The picture that a prompt is pulled towards: uploaded, chosen from a few, or drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
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
class Card:
    """A picture to choose."""

    path: str
    caption: str


@dataclass(frozen=True)
class Reference:
    """What an edit reads of it, and what the address holds of it."""

    picture: gr.Image
    """Its value is a path for ``uploaded_picture``."""
    cards: list[Card]
    """What the page offers, in its order."""

    def number_of(self, path: str | None) -> int | None:
        """Which of the cards a picture is, from 1; None for a picture of one's own."""
        if path is None:
            return None
        # Gradio copies files, so their places say nothing.
        content = Path(path).read_bytes()
        found = [_content(card.path) == content for card in self.cards]
        return found.index(True) + 1 if True in found else None


def reference_input() -> Reference:
    """Lay it out."""
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
    return Reference(picture, cards)


@cache
def _content(path: str) -> bytes:
    return Path(path).read_bytes()


def _card(number: int) -> Card:
    card = FactorWorld(_WORLD).pair(number)
    path = place_for("card.png")
    card.image.save(path)
    return Card(str(path), card.caption)
