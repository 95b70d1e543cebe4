"""What reads the pictures, or why nothing does."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mm_sae_plugin.applications.steering.evaluation import Reader
from mm_sae_plugin.applications.steering.painting import Painted
from mm_sae_plugin.applications.steering.reading import asked_by, read_against
from mm_sae_plugin.demos.steering import drawing
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.classifier import load_classifier
from mm_sae_plugin.factorworld.drawing.render import IMAGE_SIZE

if TYPE_CHECKING:
    from PIL.Image import Image


class PictureReading:
    """Reads pictures of FactorWorld's size with the package's classifier."""

    def __init__(self) -> None:
        self._classifier: Reader | None = None
        self._missing = ""
        try:
            self._classifier = load_classifier()
        # Pictures can be drawn all the same.
        except UserError as error:
            self._missing = f"Nothing reads the pictures: {error}"

    def panel(
        self, prompt: str, before: Painted, after: Painted, reference: Image | None = None
    ) -> str:
        """Both pictures, against what was asked and what the reference shows."""
        if not _is_card(after.picture):
            return _soft("The classifier reads pictures of FactorWorld, and this is none.")
        if self._classifier is None:
            return _soft(self._missing)
        card = reference if reference is not None and _is_card(reference) else None
        found = read_against(self._classifier, prompt, before.picture, after.picture, card)
        return drawing.answers(found)

    def count(self, prompt: str, painted: Painted) -> str:
        """How much of what was asked a picture shows, as the end of a line; may be empty."""
        n_asked = len(asked_by(prompt))
        if self._classifier is None or not n_asked or not _is_card(painted.picture):
            return ""
        found = read_against(self._classifier, prompt, painted.picture, painted.picture)
        shown = sum(answer.asked == answer.after for answer in found)
        return f", {shown} of {n_asked} as asked"


def _is_card(picture: Image) -> bool:
    return picture.size == (IMAGE_SIZE, IMAGE_SIZE)


def _soft(told: str) -> str:
    return f'<p class="st-soft">{escape(told)}</p>'
