"""Image–text pairs from wherever they lie: tables, folders, shards, data sets, FactorWorld."""

from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, BadImage, decode_image
from mm_sae_plugin.pairs.loading import load_pairs, open_images
from mm_sae_plugin.pairs.records import ImageKey, ImageOpener, ListedPairs, PairRecord, PairSource

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "BadImage",
    "ImageKey",
    "ImageOpener",
    "ListedPairs",
    "PairRecord",
    "PairSource",
    "decode_image",
    "load_pairs",
    "open_images",
]
