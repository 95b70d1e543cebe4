"""One training of the SAE training benchmark, in a process of its own.

``python -m tests.benchmarks.sae_training_worker JOB`` with a :class:`Job` as JSON writes the
measurements, or the reason why there are none, into the job's result file.
"""

import dataclasses
import gc
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tests.benchmarks.peers import METHODS, Recipe, TrainedSAE
from tests.benchmarks.sae_training_data import Batches
from tests.memory import memory_mib, reset_peak

_CHUNK = 1024


@dataclass(frozen=True)
class Job:
    """One training and where its data and its result lie."""

    method: str
    """Key of ``METHODS``."""
    recipe: Recipe
    """What to train."""
    threads: int
    """Threads of PyTorch."""
    train_file: str
    """Tensor [items, rows per item, d_in]."""
    held_out_file: str
    """The same for the held-out items."""
    groups: tuple[str, ...]
    """Name of each row of an item."""
    result_file: str
    """JSON to write."""

    def to_json(self) -> str:
        """Return the job as the command line takes it."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Return the job of a command line."""
        values = json.loads(text)
        recipe, groups = Recipe(**values.pop("recipe")), tuple(values.pop("groups"))
        return cls(recipe=recipe, groups=groups, **values)


def measure(job: Job) -> dict[str, Any]:
    """Train once and measure speed, memory and quality.

    Returns
    -------
    dict
        ``seconds`` and ``cpu_seconds`` of building and training; ``rows_per_second`` and, for
        pairs, ``pairs_per_second``, by wall time; ``rss_before_mib`` (libraries and rows in
        memory), ``peak_rss_mib`` (highest while training) and their difference
        ``added_rss_mib``; ``explained_variance`` of held-out rows with the mean of each group
        removed, alone in ``explained_variance_by_group``; ``l0``; ``dead_share`` of latents that
        no held-out row activates.

    Raises
    ------
    FloatingPointError
        If a measurement is not finite, as after a training that diverged.
    """
    torch.set_num_threads(job.threads)
    recipe, train = job.recipe, METHODS[job.method].train
    # The first training of a process imports what it needs only then; that is not to be timed.
    train(dataclasses.replace(recipe, d_in=8, d_sae=16, k=2, batch_size=8, n_steps=2), _few_rows())
    items = torch.load(job.train_file)
    batches = Batches(items, recipe.batch_size, recipe.n_steps, recipe.seed)
    gc.collect()
    reset_peak()
    before = memory_mib("VmRSS")
    started, cpu_started = time.perf_counter(), time.process_time()
    sae = train(recipe, batches)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    # Read before the evaluation, which needs memory too.
    peak = memory_mib("VmHWM")
    n_rows = recipe.n_steps * recipe.batch_size
    result = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "rows_per_second": n_rows / seconds,
        "pairs_per_second": n_rows / 2 / seconds if len(job.groups) == 2 else None,
        "rss_before_mib": before,
        "peak_rss_mib": peak,
        "added_rss_mib": peak - before,
        **_quality(sae, torch.load(job.held_out_file), job.groups),
    }
    for name, value in result.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    return result


@torch.no_grad()
def _quality(
    sae: TrainedSAE, items: Float[Tensor, "n_items rows_per_item d_in"], groups: tuple[str, ...]
) -> dict[str, Any]:
    errors, variances, n_active = [], [], 0
    fired = torch.tensor(False)
    for rows in items.unbind(dim=1):
        mean = rows.mean(dim=0)
        error = variance = 0.0
        for part in rows.split(_CHUNK):
            codes = sae.encode(part)
            error += float((sae.decode(codes) - part).double().square().sum())
            variance += float((part - mean).double().square().sum())
            # A slot that TopK filled with zero is not a firing.
            active = codes != 0
            n_active += int(active.sum())
            fired = fired | active.any(dim=0)
        errors.append(error)
        variances.append(variance)
    by_group = (1 - e / v for e, v in zip(errors, variances, strict=True))
    return {
        # Were the groups' means left in, telling images from captions would count as explaining.
        "explained_variance": 1 - sum(errors) / sum(variances),
        "explained_variance_by_group": dict(zip(groups, by_group, strict=True)),
        "l0": n_active / (len(items) * len(groups)),
        "dead_share": 1 - float(fired.double().mean()),
    }


def _few_rows() -> Batches:
    return Batches(torch.randn(16, 1, 8), batch_size=8, n_steps=2, seed=0)


def outcome(job: Job) -> dict[str, Any]:
    """Return the measurements, or under ``error`` one line that says why there are none."""
    try:
        return measure(job)
    except ModuleNotFoundError as error:
        return {"error": f'{error}; pip install -e ".[bench]" installs the peers'}
    except Exception as error:
        # Whatever a library may raise is a result of the benchmark, not the end of it.
        first_sentence = " ".join(str(error).split()).split(". ")[0]
        return {"error": f"{type(error).__name__}: {first_sentence[:200]}"}


def main(argv: list[str]) -> None:
    """Run the job of the command line."""
    job = Job.from_json(argv[0])
    text = json.dumps(outcome(job), allow_nan=False)
    Path(job.result_file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
