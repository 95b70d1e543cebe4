"""Whether a study's SAE is of the space that images and captions share."""

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.hook_names import HOOK_NORMALIZED
from mm_sae_plugin.study.study import Study


def check_site(study: Study) -> None:
    """Raise ``UserError`` where an SAE is not of the joint space of both towers."""
    for modality, name in study.hook_names.items():
        if not (name or "").endswith(HOOK_NORMALIZED):
            raise UserError(
                f"This is asked of latents of the joint space, and the SAE in {study.path} has "
                f"{name or 'nothing'} for its {modality} side: train one at {HOOK_NORMALIZED} of "
                "both towers."
            )
