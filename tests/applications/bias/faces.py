"""Small tables of drawn people, in files as a user has them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from mm_sae_plugin.factorworld import FactorWorld

GENDERS = ("woman", "man")
JOBS = ("nurse", "pilot")


def draw_faces(folder: Path, n: int = 40, seed: int = 7) -> list[dict[str, str]]:
    """Draw n pictures, which are twins two by two; returns a row of a table for each."""
    world = FactorWorld(seed)
    rows = []
    for index in range(n):
        pair, gender = index // 2, GENDERS[index % 2]
        asked = {"gender": gender, "occupation": JOBS[pair % 2]}
        row = {"image": f"faces/{index}.png", **asked, "twin": f"pair{pair}", "who": f"p{index}"}
        (folder / "faces").mkdir(exist_ok=True)
        world.pair_with(pair, asked, "person").image.save(folder / row["image"])
        rows.append(row)
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write rows as CSV, or as TSV where the name says so."""
    with path.open("w", newline="", encoding="utf-8") as file:
        dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
        writer = csv.DictWriter(file, list(rows[0]), dialect=dialect)
        writer.writeheader()
        writer.writerows(rows)
    return path
