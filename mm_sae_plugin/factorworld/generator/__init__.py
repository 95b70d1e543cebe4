"""The embedded generator: text to picture through FactorWorld's joint space, of diffusers parts.

Importing this package registers its classes, so that ``DiffusionPipeline.from_pretrained`` can load
a folder of theirs. It needs diffusers: ``pip install 'mm_sae_plugin[demos]'``.
"""

from mm_sae_plugin.errors import UserError

try:
    from mm_sae_plugin.factorworld.generator.codec import PatchCodec
    from mm_sae_plugin.factorworld.generator.folder import (
        DEFAULTS,
        GENERATOR_FOLDER,
        NO_CALLBACK,
        build_pipeline,
        load_generator,
        save_generator,
    )
    from mm_sae_plugin.factorworld.generator.layout import LayoutNet
    from mm_sae_plugin.factorworld.generator.prior import JointPrior, build_prior
    from mm_sae_plugin.factorworld.generator.towers import StemVisionTower
    from mm_sae_plugin.factorworld.generator.unet import Layout, LayoutUNet
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "diffusers":
        raise
    raise UserError(
        "Drawing pictures needs diffusers, which is not installed: "
        'pip install "mm_sae_plugin[demos]".'
    ) from error

__all__ = [
    "DEFAULTS",
    "GENERATOR_FOLDER",
    "NO_CALLBACK",
    "JointPrior",
    "Layout",
    "LayoutNet",
    "LayoutUNet",
    "PatchCodec",
    "StemVisionTower",
    "build_pipeline",
    "build_prior",
    "load_generator",
    "save_generator",
]
