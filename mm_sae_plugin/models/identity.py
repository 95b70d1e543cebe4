"""What a store and an SAE folder note of the model that they were made with."""

from typing import Any

from mm_sae_plugin.models.input_ids import tokenizer_digest, transform_digest
from mm_sae_plugin.models.weights import WeightsId


class Identified:
    """The ids of a model: its weights, and the transform and the tokenizer in front of it."""

    tokenizer: Any
    preprocess: Any
    _weights: WeightsId

    @property
    def weights_id(self) -> str:
        """Which weights, and the settings that change what they compute."""
        return self._weights.current

    @property
    def legacy_weights_id(self) -> str:
        """What earlier versions called these weights: stores and SAEs of theirs carry it."""
        return self._weights.legacy

    def has_weights(self, noted: str) -> bool:
        """Say whether ``noted``, in a store or an SAE folder, is the id of this model's weights.

        Other spellings of published names count as the same; the id of an earlier version does
        with a warning, since it said nothing about the activation function.
        """
        return self._weights.is_id_of(noted)

    @property
    def transform_id(self) -> str | None:
        """Which image transform, by what it does to a picture; ``None`` without one.

        Raises
        ------
        UserError
            If the transform cannot be loaded.
        """
        return None if self.preprocess is None else transform_digest(self.preprocess)

    @property
    def tokenizer_id(self) -> str | None:
        """Which tokenizer, by what it makes of some captions; ``None`` without one.

        Raises
        ------
        UserError
            If the tokenizer cannot be loaded.
        """
        return None if self.tokenizer is None else tokenizer_digest(self.tokenizer)
