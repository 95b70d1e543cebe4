"""Measure what a loss on pairs does to an SAE: quality, classes, and how concepts are divided.

Run ``python -m tests.benchmarks.paired_saes --acts runs/quickstart/acts --out FOLDER``. Every
variant is trained on the same store with the quickstart's settings, one after another, and labelled
as ``mm-sae mds`` labels. *Shared values*: of the values of factors that are always drawn and said,
those that correlate best with one and the same latent on images and on captions; *carried over*,
how well the latent that is best on one side does on the other, as a share of its best. An
interrupted run goes on where it stopped, but then knows only the seconds of its last part.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.factorworld.factors import SHARED_FACTORS
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.files import parse_json, write_json_atomically
from mm_sae_plugin.saes import training_sae_config
from mm_sae_plugin.stats.labelling import label_features
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from mm_sae_plugin.training.data import TrainingData
from tests.saes.shared_latents import shared_latents


@dataclass(frozen=True)
class Variant:
    """What is trained."""

    architecture: str
    """A name in SAELens' registry."""
    coefficient: float | None = None
    """Weight of the loss on pairs at norm 1, where there is one."""
    options: tuple[tuple[str, Any], ...] = ()
    """Other fields of the architecture's config."""

    @property
    def name(self) -> str:
        """What it is called in table and file."""
        weight = "" if self.coefficient is None else f" {self.coefficient:g}"
        return f"{self.architecture}{weight}" + "".join(f" {n}={v}" for n, v in self.options)


VARIANTS = (
    # The same SAE as topk, as the quickstart trains it.
    Variant("sparse_topk"),
    *(Variant("aligned_topk", weight) for weight in (0.03, 0.1, 0.3)),
    Variant("aligned_topk", 0.1, (("alignment", "cosine"),)),
    Variant("group_topk", 0.01),
    Variant("group_topk", 0.01, (("mask_probability", 0.0),)),
    Variant("group_topk", 0.05, (("mask_probability", 0.0),)),
)


def main() -> None:
    """Measure what is missing, keep each variant in a file, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--acts", type=Path, required=True, help="a store of FactorWorld")
    parser.add_argument("--out", type=Path, default=Path("paired_saes"))
    parser.add_argument("--only", default="", help="variants whose names hold this")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    store, records = ActivationStore.open(args.acts), []
    for variant in (v for v in VARIANTS if args.only in v.name):
        for seed in args.seeds:
            folder = args.out / f"{variant.name.replace(' ', '-')}-{seed}-{args.steps}"
            path = folder / "measured.json"
            if not path.is_file():
                cfg = training_config(variant, store, seed, args.steps, folder / "sae")
                record = {"name": variant.name, "seed": seed, **measured(cfg, store)}
                write_json_atomically(path, record)
            records.append(parse_json(path.read_text(encoding="utf-8")))
    Console(width=200).print(table(records))


def training_config(
    variant: Variant, store: ActivationStore, seed: int, steps: int, out: Path
) -> MultimodalSAERunnerConfig:
    """Return the quickstart's training of another SAE."""
    data = TrainingData.from_store(store)
    sae_cfg = training_sae_config(
        variant.architecture,
        data.d_in,
        512,
        16,
        input_norm=data.spread(),
        pair_coefficient=variant.coefficient,
        warm_up_steps=steps // 20,
        seed=seed,
    )
    return MultimodalSAERunnerConfig(
        out=out,
        resume=True,
        sae=replace(sae_cfg, **dict(variant.options)),
        train_batch_size_samples=1024,
        lr=2e-3,
        adam_beta2=0.98,
        training_steps=steps,
        seed=seed,
    )


def measured(cfg: MultimodalSAERunnerConfig, store: ActivationStore) -> dict[str, Any]:
    """Train and label one SAE."""
    started = time.perf_counter()
    result = MultimodalSAETrainingRunner(cfg, store).run()
    trained = time.perf_counter()
    feature_map = SAEFeatureMap(result.sae, result.normalization)
    labels: Any = label_features(feature_map, store)  # pyright: ignore[reportArgumentType]
    shared = shared_latents(feature_map, store, SHARED_FACTORS)  # pyright: ignore[reportArgumentType]
    return {
        "explained_variance": result.evaluation.explained_variance,
        "l0": result.evaluation.l0,
        "n_never_firing_by_modality": result.evaluation.n_never_firing_by_modality,
        "classes_carried": labels.class_counts,
        "classes_paper": labels.by_paper_score.class_counts,
        "n_split": labels.n_split,
        "n_concepts_split": len(labels.concepts),
        "n_shared_values": shared.n_shared,
        "n_values": shared.n_values,
        "carried_over": shared.carried_over,
        "seconds": {
            "train": round(trained - started, 1),
            "label": round(time.perf_counter() - trained, 1),
        },
    }


def table(records: list[dict[str, Any]]) -> Table:
    """Return one line a variant and seed; classes are ImgD/CrossD/TextD/Undetermined/Dead."""
    made = Table()
    for name in ("variant", "EV img/txt", "L0", "silent", "shared values", "carried over", "split"):
        made.add_column(name)
    for name in ("carried I/C/T/U/-", "paper I/C/T/U/-", "train s"):
        made.add_column(name)
    for record in records:
        ev, l0 = record["explained_variance"], record["l0"]
        silent = record["n_never_firing_by_modality"]
        made.add_row(
            f"{record['name']} s{record['seed']}",
            f"{ev['image']:.3f} {ev['text']:.3f}",
            f"{l0['image']:.1f} {l0['text']:.1f}",
            f"{silent['image']} {silent['text']}",
            f"{record['n_shared_values']} of {record['n_values']}",
            f"{record['carried_over']:.3f}",
            f"{record['n_split']} in {record['n_concepts_split']}",
            *("/".join(map(str, record[f"classes_{by}"].values())) for by in ("carried", "paper")),
            f"{record['seconds']['train']:.0f}",
        )
    return made


if __name__ == "__main__":
    main()
