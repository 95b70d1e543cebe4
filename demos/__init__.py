"""Gradio apps, thin: each shows in a page what the library computes.

Installed as ``mm_sae_plugin.demos``. This file is the register of them and imports none, so that
listing them is instant.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr


@dataclass(frozen=True)
class DemoOptions:
    """What the command line hands to a demo."""

    sae: Path
    """Folder of a labelled SAE; a demo that can do without looks whether it is there."""
    acts: Path | None = None
    """Its activation store; by default the one that it was trained on."""
    pipeline: str | None = None
    """A pipeline of diffusers, by its name or folder; by default the embedded generator."""
    beside: Path | None = None
    """Folder of another labelled SAE, shown beside the first."""
    robustness: Path | None = None
    """An evaluation of robustness, a ``robustness.json``."""


@dataclass(frozen=True)
class Demo:
    """An entry of the register."""

    name: str
    """What it is called on the command line."""
    module: str
    """Where its ``build(options: DemoOptions) -> gr.Blocks`` lives."""
    title: str
    """What it is called on its page."""
    description: str
    """What it is good for, in one line."""
    takes_pipeline: bool = False
    """Whether it draws with a pipeline, which may be another one."""
    takes_beside: bool = False
    """Whether it shows a second SAE beside the first."""
    takes_robustness: bool = False
    """Whether it shows an evaluation of robustness, which may be another one."""
    needs_sae: bool = True
    """Whether an SAE is made where none was named and there is none."""

    def build(self, options: DemoOptions) -> gr.Blocks:
        """Import the demo and make its page; importing Gradio takes seconds.

        Raises
        ------
        UserError
            If what the options name cannot be opened.
        """
        return importlib.import_module(self.module).build(options)


DEMOS: dict[str, Demo] = {
    demo.name: demo
    for demo in (
        Demo(
            "explorer",
            "mm_sae_plugin.demos.explorer",
            "Explorer of latents",
            "Browse an SAE's latents, see what each fires on, edit them, and rate them blind.",
        ),
        Demo(
            "steering",
            "mm_sae_plugin.demos.steering",
            "Text-to-image steering",
            "Pull a prompt, or a search, towards a reference by the latents of one modality.",
            takes_pipeline=True,
        ),
        Demo(
            "bias",
            "mm_sae_plugin.demos.bias",
            "Bias detection",
            "Audit two models on twins that differ in gender alone, and ask latents for the gap.",
            takes_beside=True,
        ),
        Demo(
            "defense",
            "mm_sae_plugin.demos.defense",
            "Adversarial defense",
            "Attack a picture through every defense, and see what static evaluations hide.",
            takes_robustness=True,
            needs_sae=False,
        ),
    )
}
"""Name on the command line to the demo, in the order in which they are listed."""
