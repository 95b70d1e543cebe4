"""How time and memory of labelling grow: ``python -m tests.benchmarks.growth``.

Scores, what carried dominance takes of a first pass and the strongest examples are summed over
pairs that are drawn as they are read, by a TopK SAE of random weights; what they mean does not
matter, only how much there is. One thing is varied at a time: the pairs, the latents, the workers.
Every setting runs in a process of its own, so that its peak of memory is its own, and beside it
stands what encoding the same pairs takes alone. Settings are taken in turn, round after round, and
medians are reported. ``--out`` writes all figures as JSON, and a drawing where matplotlib is
installed.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from tests.benchmarks.explorer_scale import RandomStore
from tests.memory import memory_mib, reset_peak

_WIDTH, _K = 256, 32


@dataclass(frozen=True)
class Setting:
    """One point of a curve."""

    n_pairs: int
    """Image–caption pairs."""
    d_sae: int
    """Latents."""
    n_workers: int = 1
    """Threads, each on one core."""


@dataclass(frozen=True)
class Curve:
    """What is varied, and how the figures should follow it."""

    varied: str
    """Field of `Setting`."""
    settings: tuple[Setting, ...]
    """In ascending order."""
    expected: dict[str, float]
    """Slope on logarithmic scales of time and of memory."""


def curves(scale: float) -> list[Curve]:
    """Return the curves, with so many times 10,000 to 1,000,000 pairs."""
    few, some, many, most = (int(n * scale) for n in (10_000, 30_000, 100_000, 1_000_000))
    return [
        Curve(
            "n_pairs",
            tuple(Setting(n, 2048) for n in (few, many, most)),
            {"seconds": 1.0, "added_mib": 0.0},
        ),
        Curve(
            "d_sae",
            tuple(Setting(some, d) for d in (1024, 5120, 30_720)),
            {"seconds": 1.0, "added_mib": 1.0},
        ),
        Curve(
            "n_workers",
            tuple(Setting(some, 2048, n) for n in (1, 2)),
            {"seconds": -1.0},
        ),
    ]


def measure(setting: Setting) -> dict[str, float]:
    """Label random pairs in this process, and encode them without summing anything."""
    from mm_sae_plugin.engines import ThreadEngine
    from mm_sae_plugin.features import SAEFeatureMap
    from mm_sae_plugin.stats import ExampleRows, ModalityStatistics, Reading, run_pass
    from mm_sae_plugin.stats.carried.first_pass import first_sums
    from mm_sae_plugin.stats.interfaces import PairedActivations

    torch.set_num_threads(1)
    store = cast(PairedActivations, RandomStore(None, setting.n_pairs, _WIDTH))
    feature_map = SAEFeatureMap(_random_sae(setting.d_sae))
    engine = ThreadEngine(setting.n_workers)
    nothing = Reading(feature_map, {})
    run_pass(cast(PairedActivations, RandomStore(None, 512, _WIDTH)), [nothing], engine)
    reset_peak()
    before, start = memory_mib("VmRSS"), time.perf_counter()
    sums = {
        "scores": ModalityStatistics(setting.d_sae),
        "examples": ExampleRows.of(store),
        **first_sums(store, setting.d_sae),
    }
    run_pass(store, [Reading(feature_map, sums)], engine)
    seconds, added = time.perf_counter() - start, memory_mib("VmHWM") - before
    start = time.perf_counter()
    run_pass(store, [nothing], engine)
    return {
        "seconds": seconds,
        "encoding_seconds": time.perf_counter() - start,
        "added_mib": added,
    }


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of log y over log x."""
    at, of = ([math.log(value) for value in values] for values in (x, y))
    mean_at, mean_of = statistics.mean(at), statistics.mean(of)
    above = sum((a - mean_at) * (o - mean_of) for a, o in zip(at, of, strict=True))
    return above / sum((a - mean_at) ** 2 for a in at)


def run(scale: float, rounds: int) -> dict[str, Any]:
    """Measure every curve."""
    found = curves(scale)
    settings = list(dict.fromkeys(setting for curve in found for setting in curve.settings))
    taken: dict[Setting, list[dict[str, float]]] = {setting: [] for setting in settings}
    for number in range(rounds):
        for setting in settings:
            taken[setting].append(_in_a_process(setting))
            print(f"round {number + 1}: {setting}: {taken[setting][-1]}", file=sys.stderr)
    medians = {
        setting: {name: statistics.median(one[name] for one in of) for name in of[0]}
        for setting, of in taken.items()
    }
    return {
        "d_in": _WIDTH,
        "k": _K,
        "threads": "one a worker",
        "rounds": rounds,
        "curves": [
            {
                "varied": curve.varied,
                "points": [asdict(s) | medians[s] for s in curve.settings],
                "slopes": {
                    name: {
                        "expected": expected,
                        "found": slope(
                            [getattr(s, curve.varied) for s in curve.settings],
                            [medians[s][name] for s in curve.settings],
                        ),
                    }
                    for name, expected in curve.expected.items()
                },
            }
            for curve in found
        ],
    }


def told(results: dict[str, Any]) -> str:
    """Write the figures as a table."""
    lines = [f"{_WIDTH} wide, k = {_K}, one thread a worker, medians of {results['rounds']} rounds"]
    head = ("varied", "pairs", "latents", "workers", "seconds", "over encoding", "added MiB")
    lines.append("  ".join(f"{name:>13}" for name in head))
    for curve in results["curves"]:
        for point in curve["points"]:
            ratio = point["seconds"] / point["encoding_seconds"]
            cells = (
                curve["varied"],
                f"{point['n_pairs']:,}",
                f"{point['d_sae']:,}",
                str(point["n_workers"]),
                f"{point['seconds']:.1f}",
                f"{ratio:.2f}",
                f"{point['added_mib']:,.0f}",
            )
            lines.append("  ".join(f"{cell:>13}" for cell in cells))
        for name, one in curve["slopes"].items():
            lines.append(
                f"  {name} over {curve['varied']}: slope {one['found']:+.2f}, expected "
                f"{one['expected']:+.0f}"
            )
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> str:
    """Draw time and memory of every curve."""
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
        from matplotlib.ticker import (  # pyright: ignore[reportMissingImports]
            FuncFormatter,
            LogLocator,
            NullFormatter,
        )
    except ImportError as error:
        return f"No figure was drawn ({error}); matplotlib comes with the extra bench."
    figure = Figure(figsize=(11, 6), layout="constrained")
    names = {"seconds": "seconds", "added_mib": "memory added at the peak (MiB)"}
    rows = figure.subplots(2, len(results["curves"]), sharey="row", squeeze=False)
    words = {"n_pairs": "pairs", "d_sae": "latents", "n_workers": "workers"}
    for column, curve in enumerate(results["curves"]):
        at = [point[curve["varied"]] for point in curve["points"]]
        for row, (name, label) in enumerate(names.items()):
            axis = rows[row][column]
            found = [point[name] for point in curve["points"]]
            one = curve["slopes"].get(name)
            if one is not None:
                axis.set_title(
                    f"slope {one['found']:+.2f}, expected {one['expected']:+.0f}", fontsize=10
                )
                straight = [found[0] * (x / at[0]) ** one["expected"] for x in at]
                axis.loglog(at, straight, ":", color="grey", label="expected slope")
            if name == "seconds":
                alone = [p["encoding_seconds"] for p in curve["points"]]
                axis.loglog(at, alone, "s--", color="tab:orange", label="encoding alone")
            axis.loglog(at, found, "o-", color="tab:blue", label="labelling")
            axis.set_xlabel(words[curve["varied"]])
            axis.set_xticks(at, [f"{value:,}" for value in at], fontsize=9)
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.xaxis.set_minor_locator(LogLocator(subs=[]))
            axis.yaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.grid(axis="y", alpha=0.3)
            if column == 0:
                axis.set_ylabel(label)
    rows[0][0].legend(frameon=False, fontsize=9)
    figure.savefig(path)
    return f"The drawing is {path}."


def _random_sae(d_sae: int) -> Any:
    from sae_lens import TopKSAE, TopKSAEConfig

    sae = TopKSAE(TopKSAEConfig(d_in=_WIDTH, d_sae=d_sae, k=_K))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(_WIDTH, d_sae, generator=generator) / _WIDTH**0.5)
        sae.W_dec.copy_(sae.W_enc.T)
    return sae


def _in_a_process(setting: Setting) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.growth", "--one", json.dumps(asdict(setting))],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, print the table, and write what is asked for."""
    parser = argparse.ArgumentParser(description="How time and memory of labelling grow.")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="times the pairs; 0.1 is 1e3 to 1e5"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for growth.json and growth.svg")
    parser.add_argument("--one", help="a Setting as JSON: measure it here and print the figures")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(Setting(**json.loads(args.one)))))
        return
    results = run(args.scale, args.rounds)
    print(told(results))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "growth.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(draw(results, args.out / "growth.svg"))


if __name__ == "__main__":
    main()
