"""What an extraction costs beyond the bare towers.

Run ``python -m tests.benchmarks.extraction_overhead --out FOLDER``. All jobs take their turn in
each round, the order changing, so that they meet the same other work on the machine; ratios are
medians of the ratios within rounds. Throughputs over that of the bare towers, a loop of
``encode_image`` and ``encode_text`` over ready pixels and tokens in batches as large:

- *hooks*: the same pixels and tokens through the hooks of an extraction (CPU time);
- *in memory*: a whole extraction to disk of pictures that lie decoded in memory, preprocessed by
  workers beside the towers (wall-clock time, so it needs another free core for each);
- *drawn*: a whole extraction of FactorWorld's pictures without workers, over a bare loop that
  draws, preprocesses and tokenises them too (CPU time).

And times over that of an extraction at the last block, pixels ready (CPU time):

- *block i of n*: the tower stops behind an earlier block;
- *all blocks*: a store of the class token behind every block, in one pass.

Captions of FactorWorld fill most of its model's context; other models are given sentences of
8 to 14 words, as people write of photographs. With ``--device cuda`` the ready pixels and tokens
lie there, and all times are wall-clock times.
"""

import argparse
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from rich.console import Console
from rich.table import Table

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.models import HookedCLIP, load_model
from mm_sae_plugin.models.hook_names import VISION
from mm_sae_plugin.pairs import ListedPairs, PairRecord, load_pairs
from mm_sae_plugin.pairs.records import ImageKey
from tests.benchmarks.clocks import wall_clock, work_clock

Jobs = Mapping[str, Callable[[], None]]
_BARE = "bare"


@dataclass(frozen=True)
class InMemory:
    """Pictures that are decoded already."""

    pictures: list[Image]

    def open_image(self, image_key: ImageKey) -> Image:
        """Return one."""
        return self.pictures[int(image_key)]


def main() -> None:
    """Measure, write ``extraction_overhead.json`` and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("extraction_overhead"))
    parser.add_argument("--model", default="factorworld", help="name given to load_model")
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode in memory")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with warnings.catch_warnings():
        # Random weights are as fast as any.
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        model = load_model(args.model, device=args.device)
    drawn = load_pairs(f"factorworld:{args.pairs}")
    pictures = [drawn.open_image(record.image_key) for record in drawn.records]
    captions = [_caption(args.model, i, r.caption) for i, r in enumerate(drawn.records)]
    records = [PairRecord(i, caption, str(i)) for i, caption in enumerate(captions)]
    memory = ListedPairs("pictures in memory", "in memory", records, InMemory(pictures))
    batches = _batches(model, pictures, captions, args.batch_size)

    cpu, wall = work_clock(args.device), wall_clock(args.device)
    size, rounds = args.batch_size, args.rounds
    throughput = {
        "hooks": _ratio(_hooks(model, batches), cpu, rounds),
        "in memory": _ratio(_in_memory(model, memory, batches, args), wall, rounds),
        "drawn": _ratio(_drawn(model, drawn, size), cpu, rounds),
    }
    stops = _rounds(_stops(model, batches), cpu, max(3, rounds // 2))
    *_, last = [name for name in stops if name.startswith("block")]
    times = {name: _median_of_ratios(stops[name], stops[last]) for name in stops}
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    result = {"settings": settings, "throughput": throughput, "time": times}
    args.out.mkdir(parents=True, exist_ok=True)
    write_json_atomically(args.out / "extraction_overhead.json", result)
    _print(result)


def _caption(model: str, number: int, caption: str) -> str:
    return caption if model == "factorworld" else " ".join(caption.split()[: 8 + number % 7])


def _batches(
    model: HookedCLIP, pictures: list[Image], captions: list[str], size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    assert model.preprocess is not None and model.tokenizer is not None
    return [
        (
            torch.stack([model.preprocess(p) for p in pictures[i : i + size]]).to(model.device),
            model.tokenizer(captions[i : i + size]).to(model.device),
        )
        for i in range(0, len(pictures), size)
    ]


def _towers(model: HookedCLIP, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    clip: Any = model.clip
    with torch.inference_mode():
        for pixels, tokens in batches:
            clip.encode_image(pixels, normalize=True)
            clip.encode_text(tokens, normalize=True)


def _hooks(model: HookedCLIP, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> Jobs:
    def ours() -> None:
        with HookReader(model, ExtractConfig()).attached() as reader:
            for pixels, tokens in batches:
                reader.images(pixels)
                reader.texts(tokens)

    return {_BARE: lambda: _towers(model, batches), "ours": ours}


def _in_memory(
    model: HookedCLIP,
    source: ListedPairs,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
    args: argparse.Namespace,
) -> Jobs:
    cfg = ExtractConfig(batch_size=args.batch_size, num_workers=args.workers)
    return {
        _BARE: lambda: _towers(model, batches),
        "ours": lambda: _extracted(model, source, cfg),
    }


def _drawn(model: HookedCLIP, source: Any, size: int) -> Jobs:
    def bare() -> None:
        assert model.preprocess is not None and model.tokenizer is not None
        for start in range(0, len(source.records), size):
            records = source.records[start : start + size]
            pictures = [source.open_image(record.image_key) for record in records]
            captions = [record.caption for record in records]
            _towers(model, _batches(model, pictures, captions, size))

    cfg = ExtractConfig(batch_size=size, num_workers=0)
    return {_BARE: bare, "ours": lambda: _extracted(model, source, cfg)}


def _extracted(model: HookedCLIP, source: Any, cfg: ExtractConfig) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extract(model, source, Path(folder) / "store", cfg, progress=False)


def _stops(model: HookedCLIP, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> Jobs:
    n_layers = model.n_layers(VISION)
    cfgs = [
        ExtractConfig(f"vision.blocks.{i}.hook_resid_post", None, "cls") for i in range(n_layers)
    ]

    def read(*cfgs: ExtractConfig) -> None:
        with HookReader(model, *cfgs).attached() as reader:
            for pixels, _ in batches:
                reader.images(pixels)

    jobs: dict[str, Callable[[], None]] = {"all blocks": lambda: read(*cfgs)}
    for layer in sorted({max(n_layers // 4, 1), max(n_layers // 2, 1), n_layers}):
        jobs[f"block {layer} of {n_layers}"] = lambda cfg=cfgs[layer - 1]: read(cfg)
    return jobs


def _ratio(jobs: Jobs, clock: Callable[[], float], rounds: int) -> dict[str, float]:
    taken = _rounds(jobs, clock, rounds)
    ratios = [bare / ours for bare, ours in zip(taken[_BARE], taken["ours"], strict=True)]
    return {
        "bare_s": statistics.median(taken[_BARE]),
        "ours_s": statistics.median(taken["ours"]),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def _rounds(jobs: Jobs, clock: Callable[[], float], rounds: int) -> dict[str, list[float]]:
    names = list(jobs)
    for job in jobs.values():
        job()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        at = turn % len(names)
        for name in names[at:] + names[:at]:
            start = clock()
            jobs[name]()
            taken[name].append(clock() - start)
    return taken


def _median_of_ratios(mine: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, other, strict=True))


def _print(result: dict[str, Any]) -> None:
    console = Console(width=100)
    settings = ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    table = Table(title=f"Throughput over the bare towers' ({settings})")
    for heading in ("", "bare, s", "ours, s", "ratio", "least", "most"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, row in result["throughput"].items():
        seconds = [f"{row[key]:.2f}" for key in ("bare_s", "ours_s")]
        table.add_row(name, *seconds, *(f"{row[key]:.1%}" for key in ("ratio", "least", "most")))
    console.print(table)
    table = Table(title="Time over that of the last block")
    for heading in ("", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, ratio in result["time"].items():
        table.add_row(name, f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
