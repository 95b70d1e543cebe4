"""Reading other toolkits' SAEs as SAELens SAEs, without running anything that a file holds.

A converter is what SAELens takes as ``converter=``: ``SAE.load_from_disk(path, converter=…)`` for
files, ``SAE.from_pretrained(repo, file, converter=…)`` for the hub.
"""

from mm_sae_plugin.saes.converters.convert import CONVERTERS, convert_sae
from mm_sae_plugin.saes.converters.prisma import prisma_converter, prisma_hub_converter
from mm_sae_plugin.saes.converters.saev import saev_converter, saev_hub_converter

__all__ = [
    "CONVERTERS",
    "convert_sae",
    "prisma_converter",
    "prisma_hub_converter",
    "saev_converter",
    "saev_hub_converter",
]
