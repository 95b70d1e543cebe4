"""One pass with every sum against encoding alone: CPU time for each pair.

Run ``python -m tests.benchmarks.statistics_pass --out FOLDER``. An SAE of random weights with k
active latents encodes pairs of random activations, once as many as one part of a store has and once
those of two, so that what every pair costs in the long run (the slope, in which a part's sums are
made and merged) is told from what is paid once. In each round all take their turn, the order
changing, so that they meet the same other work on the machine; figures are medians over rounds, and
ratios medians of the ratios within rounds. Encoding alone takes as many rows at a time as the pass.
``together`` is one pass with every accumulator; the second pass is that of the carried score, whose
readers ask every latent about every pair, with the codes that the first pass has kept.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sae_lens import TopKSAE, TopKSAEConfig

from mm_sae_plugin.features import SAEFeatureMap
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.stats import EvaluationSums, ExampleRows, ModalityStatistics, Reading, TruthSums
from mm_sae_plugin.stats.carried.first_pass import FirstPass, first_sums
from mm_sae_plugin.stats.carried.partners import PartnerCounts, candidates
from mm_sae_plugin.stats.carried.probes import fit_probes
from mm_sae_plugin.stats.carried.readings import ReadingCounts
from mm_sae_plugin.stats.interfaces import Accumulator
from mm_sae_plugin.stats.kept_codes import KnownCodes
from mm_sae_plugin.stats.passes import PassTask, pairs_of_part, run_pass
from tests.stats.fakes import FakeStore

ALONE, SCORES, TOGETHER = "encoding alone", "scores", "together"
FIRST, SECOND, BOTH = "carry, first pass", "carry, second pass", "carry, both passes"
_FACTORS = [f"factor {i}" for i in range(8)]
_VALUES = 6


def main() -> None:
    """Measure, write ``statistics_pass.json`` and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("statistics_pass"))
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--d-in", type=int, default=512)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--parts", type=int, nargs=2, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    result = {"settings": settings, "d_sae": {n: _measured(args, n) for n in args.d_sae}}
    args.out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(args.out / "statistics_pass.json", result)
    _print(result)


def _measured(args: argparse.Namespace, d_sae: int) -> dict[str, dict[str, float]]:
    feature_map = _features(args.d_in, d_sae, args.k)
    few, many = (n * pairs_of_part(d_sae) for n in args.parts)
    stores = [_store(n, args.d_in) for n in (few, many)]
    jobs = [_jobs(feature_map, store) for store in stores]
    names = list(jobs[0])
    rounds = []
    for turn in range(args.rounds):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        rounds.append({name: [_cpu_seconds(of[name]) for of in jobs] for name in order})
        both = zip(rounds[-1][FIRST], rounds[-1][SECOND], strict=True)
        rounds[-1][BOTH] = [first + second for first, second in both]
    names.append(BOTH)
    slopes = {n: [1e6 * (r[n][1] - r[n][0]) / (many - few) for r in rounds] for n in names}
    fixed = {n: [r[n][0] - slopes[n][i] * 1e-6 * few for i, r in enumerate(rounds)] for n in names}
    return {
        name: {
            "us_per_pair": statistics.median(slopes[name]),
            "fixed_s": statistics.median(fixed[name]),
            "against_encoding": _median_ratio(slopes[name], slopes[ALONE]),
            "against_scores": _median_ratio(slopes[name], slopes[SCORES]),
        }
        for name in names
    }


def _median_ratio(mine: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def _features(d_in: int, d_sae: int, k: int) -> SAEFeatureMap:
    sae = TopKSAE(TopKSAEConfig(d_in=d_in, d_sae=d_sae, k=k))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        sae.W_dec.copy_(torch.randn(d_sae, d_in, generator=generator) / d_in**0.5)
        sae.W_enc.copy_(sae.W_dec.T)
    return SAEFeatureMap(sae)


def _store(n_pairs: int, d_in: int) -> FakeStore:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n_pairs, d_in, generator=generator)
    texts = images + torch.randn(n_pairs, d_in, generator=generator)
    store = FakeStore(images, texts, torch.arange(n_pairs))
    for factor in _FACTORS:
        for side in ("drawn", "said"):
            values = torch.randint(_VALUES, (n_pairs,), generator=generator).tolist()
            store.labels[f"{side}.{factor}"] = [str(value) for value in values]
    return store


def _jobs(feature_map: SAEFeatureMap, store: FakeStore) -> dict[str, Callable[[], Any]]:
    n = feature_map.n_features
    first: dict[str, Accumulator] = {
        SCORES: ModalityStatistics(n),
        "evaluation": EvaluationSums(),
        "examples": ExampleRows.of(store),
        "truth": TruthSums.of(store, _FACTORS, n),
    }

    def passed(
        accumulators: Mapping[str, Accumulator], known: KnownCodes | None = None
    ) -> dict[str, Accumulator]:
        return run_pass(store, [Reading(feature_map, accumulators, known=known)])[0]

    carry = first_sums(store, n)
    seen = FirstPass.of(feature_map, passed(carry))
    probes = fit_probes(seen.moments, 1e-3, 0.1)
    second = {
        "readings": ReadingCounts(probes),
        "partners": PartnerCounts(candidates(seen.moments, probes), probes),
    }
    one_by_one = {name: (lambda sums={name: a}: passed(sums)) for name, a in first.items()}
    return {
        ALONE: lambda: _encode(feature_map, store),
        **one_by_one,
        FIRST: lambda: passed(carry),
        TOGETHER: lambda: passed(first | carry),
        SECOND: lambda: passed(second, seen.known),
    }


@torch.no_grad()
def _encode(feature_map: SAEFeatureMap, store: FakeStore) -> None:
    size = PassTask((Reading(feature_map, {}),)).batch_size
    for acts_image, acts_text, _ in store.iter_pairs(size):
        feature_map.encode(acts_image, "image")
        feature_map.encode(acts_text, "text")


def _cpu_seconds(job: Callable[[], Any]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start


def _print(result: dict[str, Any]) -> None:
    console = Console(width=100)
    settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    for d_sae, rows in result["d_sae"].items():
        table = Table(title=f"{d_sae:,} latents ({settings})")
        for heading in ("", "CPU µs/pair", "against encoding", "against scores", "once, s"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, row in rows.items():
            ratios = [f"{row[against]:.2f}" for against in ("against_encoding", "against_scores")]
            table.add_row(name, f"{row['us_per_pair']:,.0f}", *ratios, f"{row['fixed_s']:.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
