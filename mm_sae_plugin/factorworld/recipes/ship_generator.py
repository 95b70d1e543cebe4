"""From training checkpoints, finished or not, to a generator's folder and a card beside it.

``python -m mm_sae_plugin.factorworld.recipes.ship_generator --run RUN`` writes it into the package,
and with ``--out`` anywhere else.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.factorworld.generator.folder import (
    GENERATOR_FOLDER,
    build_pipeline,
    card_of,
    save_generator,
)
from mm_sae_plugin.factorworld.generator.prior import build_prior
from mm_sae_plugin.factorworld.generator.unet import LayoutUNet
from mm_sae_plugin.factorworld.recipes.generator_training import averaged_weights, progress
from mm_sae_plugin.factorworld.recipes.train_generator import fitted_codec
from mm_sae_plugin.files import (
    atomic_path,
    refuse_unwritable,
    sha256_of_file,
    write_json_atomically,
)

_PARTS = ("layout", "unet", "prior")


@dataclass(frozen=True)
class ShipGeneratorConfig:
    """Which training becomes which folder."""

    run: Path
    """The folder in which ``train_generator`` wrote its checkpoints."""
    out: Path = GENERATOR_FOLDER
    """The folder to write, which is replaced; the card gets its name and `.json`."""
    world_seed: int = 4_000
    """Seed of the training world, from which the codec is made."""


def ship_generator(cfg: ShipGeneratorConfig) -> Path:
    """Write the generator of a training's averaged weights, in half precision."""
    refuse_unwritable(card_of(cfg.out))
    unet, prior = LayoutUNet(), build_prior()
    unet.load_state_dict(averaged_weights(cfg.run / "unet.pt"))
    prior.load_state_dict(averaged_weights(cfg.run / "prior.pt"))
    pipeline = build_pipeline(fitted_codec(cfg.world_seed), unet, prior)
    with atomic_path(cfg.out) as temporary:
        save_generator(pipeline, temporary)
        # A folder does not take the place of one that is not empty.
        shutil.rmtree(cfg.out, ignore_errors=True)
    weights = sorted(cfg.out.rglob("*.safetensors"))
    card = {
        "sha256": {str(path.relative_to(cfg.out)): sha256_of_file(path) for path in weights},
        "world_seed": cfg.world_seed,
        "trained": {part: progress(cfg.run / f"{part}.pt") for part in _PARTS},
    }
    write_json_atomically(card_of(cfg.out), card)
    return cfg.out


if __name__ == "__main__":
    import tyro

    ship_generator(tyro.cli(ShipGeneratorConfig))
