"""The similarity of a picture with captions, as it is and under an edit of latents."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from torch.nn.functional import cosine_similarity

from mm_sae_plugin.interventions import FeatureEdit, edited
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    from PIL.Image import Image


def similarities(
    study: Study, picture: "Image", captions: Sequence[str], edit: FeatureEdit | None = None
) -> list[float]:
    """Return the cosine similarity of a picture with each caption.

    Parameters
    ----------
    study : Study
    picture : PIL image
    captions : sequence of str
    edit : FeatureEdit, optional
        Applied on both sides, at the SAE's hooks.

    Raises
    ------
    UserError
        If the edit is of another SAE, or the SAE's output cannot be put back.
    """
    with nullcontext() if edit is None else edited(study, edit):
        image, texts = study.model([picture], list(captions))
    # An edit changes lengths, too.
    return cosine_similarity(texts, image).tolist()
