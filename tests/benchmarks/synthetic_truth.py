"""Hold labels against SAELens' synthetic dictionaries with paired sides: a truth without a model.

Run ``python -m tests.benchmarks.synthetic_truth --out FOLDER``. Pairs are drawn whose concepts have
known rates on either side (see `tests.stats.paired_atoms`); SAEs of several sizes are trained on
them by the package's own runner; and the paper's score and carried dominance are held against the
rates of the concept that each latent follows. A side shows 2.6 concepts on average: k = 4 leaves
little room, and k = 8 is filled up with faint codes that follow nothing. ``--firing`` makes
concepts speak for each other, ``--turn`` and ``--gap`` part the two sides more or less.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console
from rich.table import Table

from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.training import MultimodalSAERunnerConfig
from tests.stats.atoms_truth import (
    agreement,
    label,
    latents_that_follow,
    split_concepts,
    train,
)
from tests.stats.paired_atoms import AtomWorld, Firing, paired_atoms

CONTRASTS = ("ImgD_vs_TextD", "ImgD_vs_shared", "TextD_vs_shared")


def main() -> None:
    """Measure, print the table and write ``synthetic_truth.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d-sae", nargs="+", type=int, default=[64, 128, 256, 512])
    parser.add_argument("--k", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--architecture", default="topk")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=AtomWorld.n_pairs)
    parser.add_argument("--gap", type=float, default=AtomWorld.gap)
    parser.add_argument("--turn", type=float, default=AtomWorld.turn, help="degrees")
    parser.add_argument("--base-rate", type=float, default=AtomWorld.base_rate)
    parser.add_argument("--firing", choices=get_args(Firing), default=AtomWorld.firing)
    parser.add_argument("--out", type=Path, default=Path("synthetic_truth"))
    args = parser.parse_args()
    # A busy small machine loses more by a second thread than it gains.
    torch.set_num_threads(1)
    world = AtomWorld(
        n_pairs=args.pairs,
        gap=args.gap,
        turn=args.turn,
        base_rate=args.base_rate,
        firing=args.firing,
    )
    rows = []
    for d_sae in args.d_sae:
        for k in args.k:
            for seed in args.seeds:
                cfg = MultimodalSAERunnerConfig(
                    architecture=args.architecture,
                    d_sae=d_sae,
                    k=k,
                    training_steps=args.steps,
                    seed=seed,
                )
                rows.extend(measured(replace(world, seed=seed), cfg))
    Console(width=150).print(table(rows))
    args.out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(args.out / "synthetic_truth.json", {"world": asdict(world), "rows": rows})


def measured(world: AtomWorld, cfg: MultimodalSAERunnerConfig) -> Iterator[dict[str, Any]]:
    """Train one SAE; yield a row for each score."""
    started = time.perf_counter()
    store = paired_atoms(world)
    feature_map = train(store, cfg)
    paper, scored = label(feature_map, store)
    follow = latents_that_follow(feature_map, store, paper, world.rates)
    facts = {
        "model": f"atoms, {world.firing}",
        "architecture": cfg.architecture,
        "d_sae": cfg.d_sae,
        "k": cfg.k,
        "seed": cfg.seed,
        "n_following": len(follow),
        "n_split": len(split_concepts(follow)),
    }
    for score, values in scored.items():
        yield {**facts, "score": score, **asdict(agreement(follow, values))}
    print(json.dumps({**facts, "seconds": round(time.perf_counter() - started, 1)}), flush=True)


def table(rows: list[dict[str, Any]]) -> Table:
    """One line for each SAE and score."""
    shown = Table(title="Scores against known rates, latents that follow one concept")
    names = ("d_sae", "k", "seed", "follow", "split", "score", *CONTRASTS)
    for column in (*names, "within 0.07", "coverage", "undecidable"):
        shown.add_column(column, justify="left" if column == "score" else "right")
    for row in rows:
        areas = [row["auroc"][name] for name in CONTRASTS]
        shown.add_row(
            *(str(row[name]) for name in ("d_sae", "k", "seed", "n_following", "n_split")),
            row["score"],
            *("" if area is None else f"{area:.2f}" for area in areas),
            f"{row['within']:.0%}",
            f"{row['coverage']:.0%}",
            str(row["n_undecidable"]),
            end_section=row["score"] == "carried",
        )
    return shown


if __name__ == "__main__":
    main()
