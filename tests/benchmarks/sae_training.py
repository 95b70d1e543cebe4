"""How fast and how well SAEs are trained, against other libraries.

``python -m tests.benchmarks.sae_training`` trains TopK SAEs of one size on the same rows with our
``sparse_topk``, with SAELens, with overcomplete and with dictionary-learning (the last two come
with the extra ``bench``), on the CPU in fp32, and writes ``results.json`` and ``figure.png``. What
the libraries do differently is listed in ``tests/benchmarks/peers.py``.

Every training runs in a fresh process, so that its peak of memory is its own. Repeats are the
outermost loop and methods the innermost, in rotating order, so that a slow minute of the machine
falls on all of them; medians are shown with the smallest and largest value. A library that cannot
be run is named with the reason. Run it on an idle Linux machine.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import write_json_atomically
from tests.benchmarks import sae_training_report as report
from tests.benchmarks.peers import METHODS, Recipe
from tests.benchmarks.sae_training_data import DataSetFacts, factorworld_data, synthetic_data
from tests.benchmarks.sae_training_figure import write_figure
from tests.benchmarks.sae_training_worker import Job

_ROOT = Path(__file__).parents[2]
_DATASETS = ("factorworld", "synthetic")


@dataclass(frozen=True)
class BenchmarkConfig:
    """Compare libraries that train TopK SAEs, on the CPU."""

    methods: tuple[str, ...] = ("ours", "saelens", "overcomplete", "dictionary_learning")
    """Any of ours, saelens, saelens_sparse, overcomplete, dictionary_learning."""
    datasets: tuple[str, ...] = _DATASETS
    """Any of factorworld, synthetic."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to train with."""
    repeats: int = 3
    """Trainings of each kind, with another seed each."""
    steps: int = 120
    """Optimiser steps of a training."""
    batch_size: int = 512
    """Rows of a batch; half of them images where the data are pairs."""
    d_sae: int | None = None
    """Latents. None: 512 for FactorWorld (128 wide), 2048 for the synthetic set (512 wide)."""
    k: int | None = None
    """Active latents per row. None: 16 for FactorWorld, 32 for the synthetic set."""
    lr: float = 3e-3
    """Constant learning rate of Adam. Of 1e-3, 3e-3 and 1e-2 it is the one at which SAELens,
    overcomplete and dictionary-learning each explain most of the synthetic set."""
    dead_feature_window: int = 1000
    """Steps without firing after which SAELens' auxiliary loss sets in, for SAELens and ours.
    SAELens' own default; in a training of fewer steps no library runs an auxiliary loss."""
    pairs: int = 4000
    """FactorWorld pairs to embed; an eighth is held out."""
    rows: int = 40_000
    """Rows of the synthetic set; an eighth is held out."""
    timeout: float = 900.0
    """Seconds after which a training is given up."""
    out: Path = Path("runs/benchmarks/sae_training")
    """Folder for results.json, figure.png and the data, which are reused."""

    def __post_init__(self) -> None:
        _check_names("methods", self.methods, METHODS)
        _check_names("datasets", self.datasets, _DATASETS)
        for name in ("repeats", "steps", "d_sae", "k", "dead_feature_window", "pairs", "rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
        if self.batch_size < 2 or self.batch_size % 2:
            raise UserError(f"batch_size must be even and at least 2; got {self.batch_size}.")
        n_cores = len(os.sched_getaffinity(0))
        if not self.threads or not all(1 <= n <= n_cores for n in self.threads):
            raise UserError(
                f"threads must lie between 1 and the {n_cores} cores of this machine; got "
                f"{' '.join(map(str, self.threads)) or 'none'}."
            )
        if not self.lr > 0 or not self.timeout > 0:
            raise UserError("lr and timeout must be above 0.")
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out} is a file: give a folder for the results.")


Train = Callable[[Job, float], dict[str, Any]]


def train_in_subprocess(job: Job, timeout: float) -> dict[str, Any]:
    """Run a job in a fresh process; a result with ``error`` says why there are no measurements."""
    settings = {
        "OMP_NUM_THREADS": str(job.threads),
        "MKL_NUM_THREADS": str(job.threads),
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.sae_training_worker", job.to_json()],
            cwd=_ROOT,
            env=os.environ | settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"given up after {timeout:g} s"}
    result = Path(job.result_file)
    if not result.is_file():
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"error": f"its process ended with status {done.returncode}. {last}".strip()}
    return json.loads(result.read_text(encoding="utf-8"))


def run_benchmark(cfg: BenchmarkConfig, train: Train = train_in_subprocess) -> dict[str, Any]:
    """Run every training, write the results and return what ``results.json`` holds.

    Parameters
    ----------
    cfg
        What to compare.
    train
        Runs one job; the default starts a process for each.

    Raises
    ------
    UserError
        If the data cannot be made, or k and d_sae do not fit.
    """
    out = cfg.out.resolve()
    (out / "data").mkdir(parents=True, exist_ok=True)
    machine = report.machine()
    datasets = [_make_data(cfg, name, out / "data") for name in cfg.datasets]
    recipes = {facts.name: _recipe(cfg, facts) for facts in datasets}
    runs: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    results: dict[str, Any] = {}
    for repeat in range(cfg.repeats):
        for facts, threads, method in _cells(cfg, datasets, repeat):
            if method in failed:
                continue
            recipe = replace(recipes[facts.name], seed=repeat)
            result = _train_once(train, facts, recipe, threads, method, cfg.timeout)
            run = {"dataset": facts.name, "threads": threads, "method": method, "repeat": repeat}
            print(report.progress_line(run | result), flush=True)
            if "error" in result:
                failed[method] = result["error"]
            else:
                runs.append(run | result)
        results = {
            "machine": machine,
            "datasets": {facts.name: facts.to_dict() for facts in datasets},
            "recipes": {name: asdict(recipe) for name, recipe in recipes.items()},
            "methods": {name: report.about_method(name) for name in cfg.methods},
            "failed": failed,
            "summary": report.summarise(runs),
            "runs": runs,
        }
        # An interruption loses one repeat at most.
        write_json_atomically(out / "results.json", results)
    return results


def _train_once(
    train: Train, facts: DataSetFacts, recipe: Recipe, threads: int, method: str, timeout: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            method=method,
            recipe=recipe,
            threads=threads,
            train_file=facts.train_file,
            held_out_file=facts.held_out_file,
            groups=facts.groups,
            result_file=str(Path(folder) / "result.json"),
        )
        return train(job, timeout)


def _cells(
    cfg: BenchmarkConfig, datasets: list[DataSetFacts], repeat: int
) -> Iterator[tuple[DataSetFacts, int, str]]:
    """Yield data set, threads and method of every training of a repeat."""
    turn = repeat
    for facts in datasets:
        for threads in cfg.threads:
            # Whoever goes first finds a cooler machine, so they take turns.
            first = turn % len(cfg.methods)
            for method in cfg.methods[first:] + cfg.methods[:first]:
                yield facts, threads, method
            turn += 1


def _make_data(cfg: BenchmarkConfig, name: str, folder: Path) -> DataSetFacts:
    if name == "factorworld":
        return factorworld_data(folder, cfg.pairs)
    return synthetic_data(folder, cfg.rows)


def _recipe(cfg: BenchmarkConfig, facts: DataSetFacts) -> Recipe:
    recipe = Recipe(
        d_in=facts.d_in,
        d_sae=cfg.d_sae or facts.d_sae,
        k=cfg.k or facts.k,
        batch_size=cfg.batch_size,
        n_steps=cfg.steps,
        lr=cfg.lr,
        dead_feature_window=cfg.dead_feature_window,
        seed=0,
    )
    if recipe.k > recipe.d_sae:
        raise UserError(f"k = {recipe.k} must not be above d_sae = {recipe.d_sae}.")
    return recipe


def _check_names(option: str, names: tuple[str, ...], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        what = f"unknown: {', '.join(unknown)}" if unknown else "name each once, and one at least"
        raise UserError(f"--{option} takes any of {', '.join(known)}; {what}.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 on wrong input and with 1 if no method could be run."""
    import tyro

    try:
        cfg = tyro.cli(BenchmarkConfig, args=argv, prog="python -m tests.benchmarks.sae_training")
        results = run_benchmark(cfg)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; repeats that were complete are in results.json.", file=sys.stderr)
        sys.exit(130)
    report.print_table(results)
    if not results["runs"]:
        sys.exit(1)
    print(write_figure(results, cfg.out / "figure.png"))


if __name__ == "__main__":
    main()
