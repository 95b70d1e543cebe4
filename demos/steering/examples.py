"""Edits to try, one click each: the same prompt and reference, by one modality at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.demos.steering.editing import CLASSES, Editing


@dataclass(frozen=True)
class Example:
    """A prompt and an edit."""

    called: str
    prompt: str
    card: int
    """Which of the page's cards is the reference, from 1."""
    strengths: dict[str, float]
    """Class to strength; 0 for the others."""


_PROMPT, _CARD = "two big red cars left at night", 3
EXAMPLES = (
    Example("Cross-modal only", _PROMPT, _CARD, {"CrossD": 1.0}),
    Example("Image only", _PROMPT, _CARD, {"ImgD": 1.0}),
    Example("Text only", _PROMPT, _CARD, {"TextD": 1.0}),
)
"""What a newcomer may click on."""


def examples_of(edit: Editing, prompt: Any) -> list[Any]:
    """Lay those out that the SAE has latents for; return the events that set the fields."""
    import gradio as gr

    shown = [one for one in EXAMPLES if all(map(edit.study.labels.latents, one.strengths))]
    if not shown:
        return []
    outputs = [prompt, edit.reference.picture, *edit.alphas]
    with gr.Row(elem_classes="st-try"):
        with gr.Column(scale=0, min_width=64):
            gr.HTML('<span class="st-soft">Try this:</span>', padding=False)
        return [
            gr.Button(one.called, size="sm", min_width=100).click(
                lambda one=one: _fields(edit, one),
                None,
                outputs,
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )
            for one in shown
        ]


def _fields(edit: Editing, one: Example) -> list[Any]:
    path = edit.reference.cards[one.card - 1].path
    return [one.prompt, path, *(one.strengths.get(name, 0.0) for name in CLASSES)]
