"""Edits to try, one click each."""

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


EXAMPLES = (
    Example("A cup for the cars", "two big red cars left at night", 1, {"CrossD": 1.0}),
    Example("Away from the cup", "one small purple cup middle", 1, {"CrossD": -1.0}),
    Example("Only what images tell", "two big red cars left at night", 4, {"ImgD": 1.0}),
)
"""What a newcomer may click on."""


def examples_of(edit: Editing, prompt: Any) -> list[Any]:
    """Lay those out that the SAE has latents for; return the events that set the fields."""
    import gradio as gr

    shown = [one for one in EXAMPLES if all(map(edit.study.labels.latents, one.strengths))]
    if not shown:
        return []
    gr.HTML('<span class="st-soft">Try this:</span>', padding=False, elem_classes="st-try")
    outputs = [prompt, edit.reference.picture, *edit.alphas]
    with gr.Row(elem_classes="st-examples"):
        return [
            gr.Button(one.called, size="sm", min_width=120).click(
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
