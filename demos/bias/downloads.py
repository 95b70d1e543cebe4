"""Files to keep: the manifest of what is shown."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mm_sae_plugin.applications.bias.twins import TWIN_SEED
from mm_sae_plugin.demos.bias.controls import Controls
from mm_sae_plugin.demos.bias.subject import FLIPS, SEED, prompts_for
from mm_sae_plugin.demos.bias.toggling import removal
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of

_PREPARE = ("Prepare the manifest",)


def file_buttons(controls: Controls) -> list[Any]:
    """Lay the buttons out; a file is written when it is asked for."""
    import gradio as gr

    @told
    def manifest(*values: Any):
        path = manifest_file(_manifest(controls, values))
        return gr.DownloadButton("Download bias-manifest.json", value=path)

    with gr.Row():
        buttons = [gr.DownloadButton(name) for name in _PREPARE]
    buttons[0].click(manifest, controls.fields, buttons[0], api_name="manifest")
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
