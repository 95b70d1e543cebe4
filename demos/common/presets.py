"""Presets of edits: JSON files that a visitor brings and takes away."""

from __future__ import annotations

from pathlib import Path

from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study

_MOST_STEPS = 200
"""All of them are carried out anew at each denoising step."""


def uploaded_preset(path: str | None, study: Study) -> FeatureEdit | None:
    """Read a preset; None where none was given.

    Raises
    ------
    UserError
        If the file holds no edit, one of another SAE or encoder, or one too long for a page.
    """
    if path is None:
        return None
    try:
        content = parse_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{Path(path).name} is no preset: give a JSON file of an edit.") from error
    edit = FeatureEdit.from_dict(content)
    if len(edit.steps) > _MOST_STEPS:
        raise UserError(
            f"The preset has {len(edit.steps):,} steps, more than the {_MOST_STEPS} that a page "
            "carries out in time: use it in a script."
        )
    edit.check_study(study)
    return edit


def preset_file(edit: FeatureEdit) -> str:
    """Write an edit where Gradio may hand it out, and return its path."""
    path = place_for("edit.json")
    edit.save(path)
    return str(path)
