"""Writing FactorWorld as files: PNGs and a table, as a user's own data would lie."""

import csv
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.truth import factor_labels
from mm_sae_plugin.factorworld.world import FactorWorld
from mm_sae_plugin.files import atomic_path


@dataclass(frozen=True)
class WorldConfig:
    """Write FactorWorld pairs as PNGs with a captions.csv and the truth about every factor."""

    out: Path
    """Folder to write to."""
    pairs: int = 1_000
    """Number of pairs."""
    seed: int = 0
    """Seed of the world."""


def export_world(cfg: WorldConfig, progress: bool = True) -> Path:
    """Write ``images/*.png`` and ``captions.csv``; return the path of the table.

    The table has the columns ``image`` (relative path), ``caption``, ``image_id``, and
    ``drawn.<factor>`` and ``said.<factor>`` for every factor.
    """
    world = FactorWorld(cfg.seed)
    (cfg.out / "images").mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(cfg.out / "captions.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, ["image", "caption", "image_id", *factor_labels(FACTORS)])
        table.writeheader()
        for index in tqdm(range(cfg.pairs), "drawing", unit="pair", disable=not progress):
            pair = world.pair(index)
            name = f"images/{index:06d}.png"
            pair.image.save(cfg.out / name)
            row = {"image": name, "caption": pair.caption, "image_id": f"{index:06d}"}
            table.writerow(row | pair.labels)
    return cfg.out / "captions.csv"
