"""Files to keep: the audit card, the record it is made from, and the manifest of what is shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from mm_sae_plugin.applications.bias.twins import TWIN_SEED
from mm_sae_plugin.demos.bias.controls import Controls
from mm_sae_plugin.demos.bias.subject import FLIPS, SEED, prompts_for
from mm_sae_plugin.demos.bias.toggling import removal
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import place_for, written
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.report.bias_card import write_bias_card

_PREPARE = ("Prepare the audit card", "Prepare the audit as JSON", "Prepare the manifest")
_ABOUT = (
    "The card is one page on the audit of gender in the model chosen above, with every prompt, "
    "count, seed, metric and removal; the JSON is the same for programs. Either takes a quarter of "
    "a minute. The manifest says what was chosen on this page."
)


def file_buttons(controls: Controls) -> list[Any]:
    """Lay the buttons out; a file is written when it is asked for."""
    import gradio as gr

    @told
    def card(*values: Any):
        subject = controls.subject(controls.read(values).model)
        path = write_bias_card(subject.record(), place_for("bias-card.html"), subject.study)
        return gr.DownloadButton("Download bias-card.html", value=str(path))

    @told
    def record(*values: Any):
        subject = controls.subject(controls.read(values).model)
        path = written("audit.json", json.dumps(subject.record(), indent=1, allow_nan=False))
        return gr.DownloadButton("Download audit.json", value=path)

    @told
    def manifest(*values: Any):
        path = manifest_file(_manifest(controls, values))
        return gr.DownloadButton("Download bias-manifest.json", value=path)

    with gr.Row():
        buttons = [gr.DownloadButton(name) for name in _PREPARE]
    gr.Markdown(_ABOUT, elem_classes="bd-soft")
    for button, prepare in zip(buttons, (card, record, manifest), strict=True):
        button.click(prepare, controls.fields, button, api_name=prepare.__name__)
    return buttons


def unprepared() -> list[Any]:
    """Updates of the buttons: what they were prepared for is not shown any more."""
    import gradio as gr

    return [gr.DownloadButton(name, value=None) for name in _PREPARE]


def _manifest(controls: Controls, values: Any) -> dict[str, Any]:
    asked = controls.read(values)
    subject = controls.subject(asked.model)
    edit = removal(subject, asked.classes, asked.latents)
    told = {
        **asdict(asked),
        "beside": [
            {
                "model": other.name,
                "weights_id": other.study.weights_id,
                "sae_id": other.study.sae_id,
            }
            for other in controls.subjects
            if other is not subject
        ],
        "pairs_of_twins_per_occupation": subject.n_per_target,
        "seed_of_twins": TWIN_SEED,
        "prompts": prompts_for(FLIPS[asked.flip]).to_dict(),
    }
    return manifest_of(subject.study, "bias", told, seed=SEED, edit=edit)
