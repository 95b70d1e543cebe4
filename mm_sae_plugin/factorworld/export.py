"""Writing FactorWorld as files: PNGs and a table, as a user's own data would lie."""

import csv
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.truth import factor_labels
from mm_sae_plugin.factorworld.world import FactorWorld
from mm_sae_plugin.files import atomic_path, plain_write_errors

_IMAGES = "images"
_TABLE = "captions.csv"
_COLUMNS = ("image", "caption", "image_id", *factor_labels(FACTORS))
# There while a world is being written, so that an interrupted one can be written again.
_UNFINISHED = ".factorworld.unfinished"


@dataclass(frozen=True)
class WorldConfig:
    """Write FactorWorld pairs as PNGs with a captions.csv and the truth about every factor."""

    out: Path
    """Folder to write to."""
    pairs: int = 1_000
    """Number of pairs."""
    seed: int = 0
    """Seed of the world."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.pairs < 1:
            raise UserError(f"A world needs at least 1 pair, not {self.pairs}.")


def export_world(cfg: WorldConfig, progress: bool = True) -> Path:
    """Write ``images/*.png`` and ``captions.csv``; return the path of the table.

    The table has the columns ``image`` (relative path), ``caption``, ``image_id``, and
    ``drawn.<factor>`` and ``said.<factor>`` for every factor.

    Raises
    ------
    UserError
        If the folder holds anything but a world, cannot be written, or the disk is full.
    """
    world = FactorWorld(cfg.seed)
    unfinished, images = cfg.out / _UNFINISHED, cfg.out / _IMAGES
    with plain_write_errors(cfg.out):
        _refuse_foreign(cfg.out)
        images.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        # An earlier table would not be of the pictures that now take their places.
        (cfg.out / _TABLE).unlink(missing_ok=True)
        with (
            atomic_path(cfg.out / _TABLE) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, _COLUMNS)
            table.writeheader()
            for index in tqdm(range(cfg.pairs), "drawing", unit="pair", disable=not progress):
                pair = world.pair(index)
                path = images / f"{index:06d}.png"
                pair.image.save(path)
                name = path.relative_to(cfg.out).as_posix()
                row = {"image": name, "caption": pair.caption, "image_id": path.stem}
                table.writerow(row | pair.labels)
        unfinished.unlink()
    return cfg.out / _TABLE


def _refuse_foreign(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the world.")
    if not out.is_dir() or not any(out.iterdir()) or (out / _UNFINISHED).is_file():
        return
    if not _is_of_a_world(out / _TABLE):
        raise UserError(
            f"{out} is not empty and holds no FactorWorld pairs: give a new folder for the world."
        )


def _is_of_a_world(table: Path) -> bool:
    """Whether a table has the columns that only a world's has."""
    if not table.is_file():
        return False
    with open(table, encoding="utf-8", errors="replace") as file:
        return file.readline().rstrip("\n") == ",".join(_COLUMNS)
