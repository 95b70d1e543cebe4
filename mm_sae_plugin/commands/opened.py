"""Opening the model that a verb is to judge, with an SAE of it where one is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP
    from mm_sae_plugin.study import Study


def open_model(
    choice: ModelChoice, sae: Path | None, acts: Path | None
) -> tuple[HookedCLIP, Study | None]:
    """Open a model, and the labelled SAE of its joint space; another model's SAE is refused.

    A choice with an empty model means that of the SAE, else the embedded one.
    """
    from mm_sae_plugin.study import Study
    from mm_sae_plugin.study.site import check_site

    is_chosen = choice != ModelChoice(model="")
    if sae is None:
        if acts is not None:
            raise UserError("A store is of an SAE: give --sae with --acts.")
        return replace(choice, model=choice.model or ModelChoice.model).load(), None
    study = Study.open(sae, acts)
    if is_chosen:
        name = choice.model or study.sae.cfg.metadata.model_name or ModelChoice.model
        study = Study.open(sae, acts, replace(choice, model=name).load())
    # Before the pictures: all of this is asked for only after them.
    check_site(study)
    _ = study.store, study.labels
    return study.model, study
