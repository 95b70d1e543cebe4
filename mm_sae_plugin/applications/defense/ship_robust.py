"""From a fine-tuned tower to the embedded model ``factorworld-robust``.

The tower was made and shipped by::

    mm-sae align --arms readings --seeds 0 --n-steps 1200 --out runs/robust
    python -m mm_sae_plugin.applications.defense.ship_robust --tower runs/robust/readings-0

which took 31 minutes on one core.
"""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.applications.defense.contenders import SHIPPED
from mm_sae_plugin.applications.defense.towers import read_tower
from mm_sae_plugin.factorworld.embedded import read_card
from mm_sae_plugin.factorworld.recipes.ship_clip import ship_weights
from mm_sae_plugin.models import load_model


@dataclass(frozen=True)
class ShipRobustConfig:
    """Which tower becomes the embedded model."""

    tower: Path
    """Folder that ``mm-sae align`` wrote."""
    n_pairs: int = 4_000
    """Held-out pairs on which the figures are measured."""


def ship_robust(cfg: ShipRobustConfig) -> None:
    """Write weights, JSON card and the Markdown card of the embedded models."""
    base = "factorworld"
    tower = read_tower(cfg.tower)
    clip = tower.on(load_model(base)).clip
    told = {
        "stages": read_card(base)["stages"],
        "final_losses": {"alignment": tower.card["losses"]["last"]},
        "base": base,
        "tower": {key: tower.card[key] for key in ("arm", "seed", "tasks", "n_images")},
        "alignment": tower.card["alignment"],
    }
    half = {name: value.half() for name, value in clip.state_dict().items()}
    ship_weights(SHIPPED[base], half, told, cfg.n_pairs)


if __name__ == "__main__":
    import tyro

    ship_robust(tyro.cli(ShipRobustConfig))
