"""Measure how often the intervals of carried dominance hold the truth, and how wide they are.

Run ``python -m tests.benchmarks.carried_coverage [--seeds N] [--out FILE]``. Each seed draws worlds
(see `tests.stats.carried.worlds`) whose factors are shown at every pair of rates from {0, .05, .15,
.4, 1}; both halves of each are labelled by the package, readers and all. ``--captions`` gives
images several captions, ``--extra`` gives captions more dimensions than images.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from math import isnan
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mm_sae_plugin.files import write_json_atomically
from tests.stats.carried.coverage import KINDS, Case, Coverage, Worlds, cases


def main() -> None:
    """Measure, print the table and write it down if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="worlds of each kind")
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--n-values", nargs="+", type=int, default=[2, 6, 12])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.05, 0.1])
    parser.add_argument("--pairs", type=int, default=Worlds.n_pairs)
    parser.add_argument("--captions", type=int, default=Worlds.captions)
    parser.add_argument("--extra", type=int, default=Worlds.extra)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    # A busy small machine loses more by a second thread than it gains.
    torch.set_num_threads(1)
    rows, everything = [], []
    first = args.first_seed
    for n_values, noise in product(args.n_values, args.noise):
        worlds = Worlds(n_values, noise, args.pairs, args.captions, args.extra)
        # Worlds of one seed that differ by their noise alone would show the same.
        seeds, first = range(first, first + args.seeds), first + args.seeds
        label = f"{n_values} values, noise {noise}"
        found = [case for seed in track(seeds, label) for case in cases(worlds, seed)]
        rows.extend(by_kind(found, asdict(worlds) | {"first_seed": seeds[0]}))
        everything.extend(found)
    rows.extend(by_kind(everything, {"n_values": "all", "noise": "all"}))
    Console(width=120).print(table(rows))
    if args.out:
        write_json_atomically(args.out, {"seeds": args.seeds, "rows": rows})


def by_kind(found: list[Case], facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each kind of rates."""
    for kind in KINDS:
        coverage = asdict(Coverage.of(case for case in found if case.kind == kind))
        known = {name: None if isnan(value) else value for name, value in coverage.items()}
        yield {**facts, "kind": kind, **known}


def table(rows: list[dict[str, Any]]) -> Table:
    """One line for each kind of worlds and of rates."""
    shown = Table(title="Intervals of carried dominance, against known rates")
    for column in ("values", "noise", "rates", "latents", "decidable", "held", "below", "above"):
        shown.add_column(column, justify="left" if column == "rates" else "right")
    shown.add_column("width", justify="right")
    shown.add_column("undecidable", justify="right")
    for row in rows:
        shares = [row[name] for name in ("held", "below", "above")]
        shown.add_row(
            *(str(row[name]) for name in ("n_values", "noise", "kind", "n", "n_decidable")),
            *("" if share is None else f"{share:.1%}" for share in shares),
            "" if row["width"] is None else f"{row['width']:.3f}",
            "" if row["undecidable"] is None else f"{row['undecidable']:.1%}",
            end_section=row["kind"] == KINDS[-1],
        )
    return shown


if __name__ == "__main__":
    main()
