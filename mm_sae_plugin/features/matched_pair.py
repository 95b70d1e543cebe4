"""Two SAEs, one for each tower, as one feature map: each feature is a latent of either or of both.

Lee, Kwon, Min and Sohn (2026, arXiv 2606.29888) train an SAE for each modality, so that each keeps
its own directions, and match the latents afterwards. How they match could not be looked up; what
`stats.coactivation_matching` does is our reading.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.modality import MODALITIES, Modality


@dataclass(frozen=True)
class Matching:
    """Which latent of either SAE each feature is."""

    image: Int[Tensor, "n_features"]
    """int64: latent of the images' SAE; −1 where the feature is a caption's alone."""
    text: Int[Tensor, "n_features"]
    """int64: latent of the captions' SAE; −1 where the feature is an image's alone."""
    correlation: Float[Tensor, "n_features"]
    """float64, −1 to 1: of the two latents' codes over pairs; 0 where there is one alone."""

    @classmethod
    def of_none(cls, n_image: int, n_text: int) -> "Matching":
        """Every latent by itself: those of the images' SAE, then those of the captions'."""
        alone = torch.full((n_image,), -1), torch.full((n_text,), -1)
        return cls(
            torch.cat([torch.arange(n_image), alone[1]]),
            torch.cat([alone[0], torch.arange(n_text)]),
            torch.zeros(n_image + n_text, dtype=torch.float64),
        )

    @property
    def n_matched(self) -> int:
        """Features that are a latent of both SAEs."""
        return int(((self.image >= 0) & (self.text >= 0)).sum())

    def latents(self, modality: Modality) -> Int[Tensor, "n_features"]:
        """Each feature's latent on one side; −1 where it has none."""
        return self.image if modality == "image" else self.text


class MatchedPair:
    """Two SAEs whose latents are matched; what has no match is a feature of its own side.

    It decodes, each modality by its own SAE, but has no `directions`: a feature that both sides
    have has a direction on either.

    Parameters
    ----------
    image, text : SAEFeatureMap
        One SAE for each tower; widths of activations and dictionaries may differ.
    matching : Matching, optional
        Holds every latent of both SAEs once; by default all stand alone.

    Raises
    ------
    UserError
        If the matching is of other SAEs.
    """

    def __init__(
        self, image: SAEFeatureMap, text: SAEFeatureMap, matching: Matching | None = None
    ) -> None:
        self.sides: dict[Modality, SAEFeatureMap] = {"image": image, "text": text}
        self.matching = matching or Matching.of_none(image.n_features, text.n_features)
        self._feature_of: dict[Modality, Int[Tensor, "n_latents"]] = {}
        for modality in MODALITIES:
            latents = self.matching.latents(modality)
            features = (latents >= 0).nonzero()[:, 0]
            n_latents = self.sides[modality].n_features
            if not torch.equal(latents[features].sort().values, torch.arange(n_latents)):
                raise UserError(
                    f"The matching does not hold each of the {n_latents} latents of the {modality} "
                    "SAE once: match these two SAEs, match_by_coactivation(image, text, store)."
                )
            # Features in the order of their latents, so that a code is copied where it belongs.
            self._feature_of[modality] = features[latents[features].argsort()]

    @property
    def n_features(self) -> int:
        """Matched latents count once, others by themselves."""
        return len(self.matching.image)

    def encode(
        self, acts: Float[Tensor, "*batch d_in"], modality: Modality
    ) -> Float[Tensor, "*batch n_features"]:
        """Return the codes of the modality's own SAE, each where its feature is.

        Raises
        ------
        UserError
            If the activations are of another width.
        """
        return self._spread(self.sides[modality].encode(acts, modality), modality)

    def decode(
        self, codes: Float[Tensor, "*batch n_features"], modality: Modality
    ) -> Float[Tensor, "*batch d_in"]:
        """Return reconstructions in the units of the activations; the other side's latents, which
        say nothing of this modality, are left out."""
        return self.sides[modality].decode(codes[..., self._features(modality, codes)], modality)

    def reconstruct(
        self, acts: Float[Tensor, "n d_in"], modality: Modality
    ) -> tuple[Float[Tensor, "n d_in"], Float[Tensor, "n n_features"], Float[Tensor, "n d_in"]]:
        """Return what the modality's SAE is given, the codes, and its reconstruction."""
        given, codes, returned = self.sides[modality].reconstruct(acts, modality)
        return given, self._spread(codes, modality), returned

    def directions_of(self, modality: Modality) -> Float[Tensor, "n_features d_in"]:
        """What each feature adds to a reconstruction of one modality; zero where nothing."""
        directions = self.sides[modality].directions
        spread = directions.new_zeros(self.n_features, directions.shape[1])
        return spread.index_copy(0, self._features(modality, directions), directions)

    def _spread(self, codes: Tensor, modality: Modality) -> Tensor:
        spread = codes.new_zeros(*codes.shape[:-1], self.n_features)
        return spread.index_copy(-1, self._features(modality, codes), codes)

    def _features(self, modality: Modality, like: Tensor) -> Int[Tensor, "n_latents"]:
        return self._feature_of[modality].to(like.device)
