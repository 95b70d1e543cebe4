"""What an evaluation of monosemanticity depends on. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mm_sae_plugin.errors import UserError, check_numbers


@dataclass(frozen=True)
class MonosemanticityConfig:
    """Which encoders judge, on how much, and how."""

    image_encoder: str | None = None
    """Encoder of images other than the one interpreted, by a name that
    :func:`~mm_sae_plugin.models.independent.load_encoder` takes. By default FactorWorld's
    classifier for pairs of FactorWorld, and none for others: images are then not judged."""
    text_encoder: str | None = None
    """Encoder of captions; by default the words that captions share (``tfidf-words``)."""
    joint_encoder: str | None = None
    """Encoder of both, for what fires across modalities. By default the embedded CLIP that was
    trained otherwise for pairs of FactorWorld, and none for others."""
    n_images: int | None = 4_000
    """Images that are drawn, with all of their captions; None for all."""
    tops: tuple[int, ...] = (10, 20, 30, 50)
    """Numbers m of strongest samples for EmbSim and WinRate, each at least 2."""
    min_active: int = 10
    """A feature's Monosemanticity Score counts when it is active on so many samples."""
    n_folds: int = 10
    """Folds of images for the intervals, at least 2."""
    confidence: float = 0.95
    """Of every interval, between 0 and 1."""
    device: str = "cpu"
    """Where encoders run."""
    seed: int = 0
    """Of the images drawn, their folds, and the random pairs."""

    def full(self) -> MonosemanticityConfig:
        """The same on all images."""
        return replace(self, n_images=None)

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        if not self.tops or min(self.tops) < 2 or len(set(self.tops)) < len(self.tops):
            raise UserError(
                f"tops must be different numbers of samples, each at least 2, not {self.tops}."
            )
        if self.n_images is not None and self.n_images < 2:
            raise UserError(f"n_images must be at least 2, not {self.n_images}.")
        if self.min_active < 2:
            raise UserError(
                f"min_active must be at least 2, not {self.min_active}: one sample has no other "
                "to be like."
            )
        if self.n_folds < 2:
            raise UserError(f"n_folds must be at least 2, not {self.n_folds}.")
        if not 0 < self.confidence < 1:
            raise UserError(f"The confidence must lie between 0 and 1, not {self.confidence}.")
