"""Modality mixers: pull a prompt towards a reference, one strength for each modality class."""

from collections.abc import Mapping
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.study import Study


def mix(
    study: Study,
    strengths: Mapping[str, float],
    image: Any = None,
    text: str | None = None,
    latents: Mapping[int, float] | None = None,
    concepts: Mapping[int, float] | None = None,
) -> FeatureEdit:
    """Return the edit that pulls a prompt's vector towards a reference, class by class.

    ``e' = e + |e| Σ_class α_class · decode(mask_class ⊙ (z_ref - z))``, and after that single
    latents and concepts, by multiples of their typical activations.

    Parameters
    ----------
    study : Study
        Labelled.
    strengths : mapping
        Modality class to α: 0 leaves the class alone, 1 takes all of the reference's codes, less
        than 0 leads away from them.
    image, text : picture or path, or str
        The reference; exactly one where a strength is not 0.
    latents, concepts : mapping of int to float, optional
        Latent to the typical activations that are added; a concept is a latent with its partners.

    Raises
    ------
    UserError
        If there is no such class or latent, a class has no latents, a strength is not finite, or
        there is not exactly one reference.
    """
    strange = set(strengths) - set(CLASSES)
    if strange:
        raise UserError(
            f"There is no class {sorted(strange)[0]!r:.40}: choose of {', '.join(CLASSES)}."
        )
    edit = FeatureEdit.none(study)
    for name, strength in strengths.items():
        if strength != 0:
            edit += FeatureEdit.replace(study, image, text, strength, classes=name)
    for latent, amount in (latents or {}).items():
        if amount != 0:
            edit += FeatureEdit.add(study, amount, latents=[latent])
    for latent, amount in (concepts or {}).items():
        if amount != 0:
            edit += FeatureEdit.add(study, amount, concepts=[latent])
    return edit
