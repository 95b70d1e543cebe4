"""FactorWorld: a small world of image–caption pairs whose truth is known."""

from mm_sae_plugin.factorworld.factors import FACTORS, SHARED_FACTORS, Factor
from mm_sae_plugin.factorworld.world import FactorWorld, Scene, WorldPair

__all__ = ["FACTORS", "SHARED_FACTORS", "Factor", "FactorWorld", "Scene", "WorldPair"]
