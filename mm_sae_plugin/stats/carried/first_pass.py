"""What the first pass over a store takes for the carried score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.interfaces import Accumulator, PairedActivations
from mm_sae_plugin.stats.kept_codes import KeptCodes, KnownCodes

MOMENTS, CODES = "carried.moments", "carried.codes"

# Codes may take as much memory as the moments, and always this many bytes.
_LEAST_ROOM = 2**26


def first_sums(store: PairedActivations, n_features: int) -> dict[str, Accumulator]:
    """Empty accumulators of the first pass, by name."""
    moments = ProbeMoments.of(store, n_features)
    room = max(moments.n_bytes, _LEAST_ROOM)
    return {MOMENTS: moments, CODES: KeptCodes(n_features, room)}


@dataclass(frozen=True)
class FirstPass:
    """A feature map, and what the first pass took of it."""

    feature_map: FeatureMap
    """Encodes both modalities."""
    moments: ProbeMoments
    """What the readers are fitted from."""
    known: KnownCodes
    """Codes that the second pass need not encode again."""

    @classmethod
    def of(cls, feature_map: FeatureMap, taken: Mapping[str, Accumulator]) -> "FirstPass":
        """From the accumulators of `first_sums`, filled."""
        known = cast(KeptCodes, taken[CODES]).known()
        return cls(feature_map, cast(ProbeMoments, taken[MOMENTS]), known)
