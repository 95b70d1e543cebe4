"""The two modalities, and the tower of a model that each belongs to."""

from typing import Literal

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, Modality] = ("image", "text")
TOWERS: dict[Modality, str] = {"image": "vision", "text": "text"}
"""Modality to the first part of its hook names."""


def other_modality(modality: Modality) -> Modality:
    """Return the modality that ``modality`` is not."""
    return "text" if modality == "image" else "image"
