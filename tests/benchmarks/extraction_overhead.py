"""What the pipeline costs beyond the model: ``python -m tests.benchmarks.extraction_overhead``.

Two figures on one core, from CPU times of many short rounds in which both sides take turns. The
fastest round of each side tells most, since other work on the machine can only slow a round down;
the median of the ratios is printed beside it:

- *hooks*: encoding ready pixels and tokens through the hooks of an extraction, over a bare loop of
  ``encode_image`` and ``encode_text``;
- *pipeline*: a whole extraction to disk without workers, over drawing, preprocessing, tokenising
  and encoding the same pairs in a bare loop.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.models import HookedCLIP, load_model
from mm_sae_plugin.pairs import load_pairs


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def _compare(name: str, bare: Callable[[], None], ours: Callable[[], None], rounds: int) -> None:
    bare()
    ours()
    both = []
    for number in range(rounds):
        # Whichever runs second finds a warmer machine, so they take turns.
        first, second = (bare, ours) if number % 2 else (ours, bare)
        times = {first: _seconds(first), second: _seconds(second)}
        both.append((times[bare], times[ours]))
    median = statistics.median(b / a for a, b in both) - 1
    fastest = [min(column) for column in zip(*both, strict=True)]
    print(
        f"{name:>9}: bare {fastest[0]:.3f} s, ours {fastest[1]:.3f} s, overhead "
        f"{fastest[1] / fastest[0] - 1:+.1%} (fastest of {rounds} rounds; median {median:+.1%})"
    )


def _hooks(model: HookedCLIP, n_pairs: int, batch_size: int, rounds: int) -> None:
    source = load_pairs(f"factorworld:{n_pairs}")
    assert model.preprocess is not None and model.tokenizer is not None
    batches = []
    for start in range(0, n_pairs, batch_size):
        records = source.records[start : start + batch_size]
        pixels = [model.preprocess(source.open_image(r.image_key)) for r in records]
        tokens = model.tokenizer([r.caption for r in records])
        batches.append((torch.stack(pixels), tokens))
    clip = model.clip

    def bare() -> None:
        with torch.inference_mode():
            for pixels, tokens in batches:
                clip.encode_image(pixels, normalize=True)  # type: ignore[operator]
                clip.encode_text(tokens, normalize=True)  # type: ignore[operator]

    def ours() -> None:
        with HookReader(model, ExtractConfig()).attached() as reader:
            for pixels, tokens in batches:
                reader.images(pixels)
                reader.texts(tokens)

    _compare("hooks", bare, ours, rounds)


def _pipeline(model: HookedCLIP, n_pairs: int, batch_size: int, rounds: int) -> None:
    source = load_pairs(f"factorworld:{n_pairs}")
    clip, preprocess, tokenizer = model.clip, model.preprocess, model.tokenizer
    assert preprocess is not None and tokenizer is not None

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, n_pairs, batch_size):
                records = source.records[start : start + batch_size]
                pixels = torch.stack([preprocess(source.open_image(r.image_key)) for r in records])
                clip.encode_image(pixels, normalize=True)  # type: ignore[operator]
                tokens = tokenizer([r.caption for r in records])
                clip.encode_text(tokens, normalize=True)  # type: ignore[operator]

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            cfg = ExtractConfig(batch_size=batch_size, num_workers=0)
            extract(model, source, Path(folder) / "store", cfg, progress=False)

    _compare("pipeline", bare, ours, rounds)


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description="What the pipeline costs beyond the model.")
    parser.add_argument("--model", default="factorworld", help="name given to load_model")
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        # Random weights are as fast as any.
        warnings.simplefilter("ignore")
        model = load_model(args.model)
    print(f"{args.model}, {args.pairs} pairs in batches of {args.batch_size}, one thread")
    _hooks(model, args.pairs, args.batch_size, args.rounds)
    _pipeline(model, args.pairs, args.batch_size, args.rounds)


if __name__ == "__main__":
    main()
