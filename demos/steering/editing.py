"""The edit: towards a reference by modality, single latents, a preset, and how far it may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.applications.steering import mix
from mm_sae_plugin.demos.common.manifest import picture_hash
from mm_sae_plugin.demos.common.presets import uploaded_preset
from mm_sae_plugin.demos.common.theme import SIGNED
from mm_sae_plugin.demos.common.typed import finite_number, slider_input
from mm_sae_plugin.demos.common.uploads import uploaded_picture
from mm_sae_plugin.demos.steering.reference import Reference, reference_input
from mm_sae_plugin.demos.steering.stacking import Stacking, stacking
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study
from mm_sae_plugin.wording import n_latents

if TYPE_CHECKING:
    from PIL.Image import Image

CLASSES = {
    "ImgD": "Image-dominant (ImgD)",
    "TextD": "Text-dominant (TextD)",
    "CrossD": "Cross-modal (CrossD)",
}
"""Class to what its slider is called."""
_FIRST = ("CrossD", "TextD", "ImgD")
REACH = 2.0
"""Strength of a class at most, either way."""


@dataclass(frozen=True)
class Asked:
    """An edit, and what it was made of."""

    edit: FeatureEdit
    told: dict[str, Any]
    """For the manifest: plain values, hashes instead of pictures."""
    reference: Image | None
    """The picture that it pulls towards."""


@dataclass(frozen=True)
class Editing:
    """The controls of the edit."""

    study: Study
    reference: Reference
    """What it pulls towards."""
    alphas: list[Any]
    """The three sliders of classes."""
    relative: Any
    """How far a vector may move."""
    stacked: Stacking
    """Single latents on top."""
    changes: list[Any]
    """Triggers that say that the edit is another one by now."""
    shown: list[Any]
    """Every field that says something of the edit, as the page shows it."""
    inputs: list[Any]
    """What :meth:`read` takes, in its order."""

    def read(self, values: Sequence[Any]) -> Asked:
        """Make the edit that the controls ask for.

        Raises
        ------
        UserError
            If a strength is not finite, a class has no latents, there is no reference where one is
            needed, it is no picture, or the preset is none or of another SAE.
        """
        path, *alphas, relative, preset, latents = values[:7]
        study = self.study
        strengths = {
            name: finite_number(f"The strength of {name}", alpha)
            for name, alpha in zip(CLASSES, alphas, strict=True)
        }
        stacked = {
            latent: finite_number(f"The strength of latent {latent}", amount)
            for latent, amount in zip(latents, values[7:], strict=False)
        }
        reference = None
        if any(strengths.values()):
            if path is None:
                raise UserError(
                    "The strengths pull towards a reference, and there is none: choose, upload or "
                    "draw one, or set them to 0."
                )
            reference = uploaded_picture(path)
        given = uploaded_preset(preset, study) or FeatureEdit.none(study)
        # What is laid on top has no norm of its own: the sum gets it.
        edit = given.with_relative_norm(None) + mix(study, strengths, reference, latents=stacked)
        far = _share(relative) if (relative or "").strip() else given.relative_norm
        told = {
            "strengths": strengths,
            "latents": {str(latent): amount for latent, amount in stacked.items()},
            "relative_norm": far,
            "reference_sha256": None if reference is None else picture_hash(reference),
        }
        return Asked(edit.with_relative_norm(far), told, reference)


def editing(explorer: Explorer) -> Editing:
    """Lay the controls out."""
    import gradio as gr

    study = explorer.study
    counts = {name: len(study.labels.latents(name)) for name in CLASSES}
    first = next((name for name in _FIRST if counts[name]), None)
    reference = reference_input()
    gr.Markdown(
        "**Pull towards the reference** by the latents (directions that a sparse autoencoder "
        "found) of each modality: those that fire on images, on captions, or on both. 0 is off, 1 "
        "takes all of the reference's, below 0 leads away."
    )
    alphas = [
        slider_input(
            -REACH,
            REACH,
            1.0 if name == first else 0.0,
            step=0.05,
            label=f"{label}, {n_latents(counts[name])}",
            elem_classes=[f"class-{name}", SIGNED],
        )
        for name, label in CLASSES.items()
    ]
    with gr.Accordion("Stack single latents", open=False):
        stacked = stacking(explorer)
    with gr.Accordion("How far, and presets", open=False):
        # A field for numbers would make 0 of an empty one.
        relative = gr.Textbox(
            label="|Δe|\u00a0/\u00a0|e|: how far the vector moves, as a share of its length",
            placeholder="empty: as far as the strengths say",
            max_length=20,
        )
        gr.Markdown(
            "A preset is an edit in a file, as “Download the preset” gives it: it is done first, "
            "and the strengths come on top.",
            elem_classes="st-soft",
        )
        preset = gr.File(label="Preset of an edit (JSON)", height=140)
    inputs = [reference.picture, *alphas, relative, preset, stacked.latents, *stacked.sliders]
    changes = [
        *[slider.input for slider in (*alphas, *stacked.sliders)],
        reference.picture.change,
        stacked.latents.change,
        relative.submit,
        relative.blur,
        preset.upload,
        preset.clear,
    ]
    shown = [reference.picture, *alphas, relative, preset, stacked.chosen, *stacked.sliders]
    return Editing(study, reference, alphas, relative, stacked, changes, shown, inputs)


def _share(typed: str) -> float:
    try:
        share = finite_number("|Δe| / |e|", float(typed))
    except ValueError as error:
        raise UserError(f"{typed[:40]!r} is no |Δe| / |e|: give a number such as 0.3.") from error
    if share < 0:
        raise UserError(f"|Δe| / |e| must be 0 or more, and is {share:g}.")
    return share
