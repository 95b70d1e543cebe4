"""Summary, table and JSON facts of the SAE training benchmark."""

import os
import platform
import statistics
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import METHODS

BASELINE = "saelens"
METRICS = (
    "rows_per_second",
    "pairs_per_second",
    "seconds",
    "cpu_seconds",
    "explained_variance",
    "l0",
    "dead_share",
    "rss_before_mib",
    "peak_rss_mib",
    "added_rss_mib",
)


def machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name"))
    return {
        "processor": next(models, platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def about_method(name: str) -> dict[str, str | None]:
    """Return title and installed version of a method."""
    method = METHODS[name]
    try:
        version = metadata.version(method.distribution)
    except metadata.PackageNotFoundError:
        version = None
    return {"title": method.title, "distribution": method.distribution, "version": version}


def progress_line(run: dict[str, Any]) -> str:
    """Return what is printed when a training has ended."""
    threads = "1 thread" if run["threads"] == 1 else f"{run['threads']} threads"
    what = f"repeat {run['repeat'] + 1}, {run['dataset']}, {threads}, {run['method']}"
    if "error" in run:
        return f"{what}: {run['error']}"
    return f"{what}: {run['rows_per_second']:,.0f} rows/s"


def summarise(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return median, smallest and largest value of every metric, one entry per kind of training.

    ``speed_over_saelens`` compares the trainings of one repeat with each other.
    """
    rows_per_second = {(*_kind(run), run["repeat"]): run["rows_per_second"] for run in runs}
    summary = []
    methods = list(METHODS)
    kinds = dict.fromkeys(_kind(run) for run in runs)
    for kind in sorted(kinds, key=lambda kind: (*kind[:2], methods.index(kind[2]))):
        mine = [run for run in runs if _kind(run) == kind]
        dataset, threads, method = kind
        entry: dict[str, Any] = {"dataset": dataset, "threads": threads, "method": method}
        entry["n_runs"] = len(mine)
        for metric in METRICS:
            entry[metric] = _spread(run[metric] for run in mine)
        entry["explained_variance_by_group"] = {
            group: _spread(run["explained_variance_by_group"][group] for run in mine)
            for group in mine[0]["explained_variance_by_group"]
        }
        ratios = []
        for run in mine:
            baseline = rows_per_second.get((dataset, threads, BASELINE, run["repeat"]))
            if baseline is not None:
                ratios.append(run["rows_per_second"] / baseline)
        entry["speed_over_saelens"] = _spread(ratios)
        summary.append(entry)
    return summary


def _kind(run: dict[str, Any]) -> tuple[str, int, str]:
    return run["dataset"], run["threads"], run["method"]


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    there = [value for value in values if value is not None]
    if not there:
        return None
    return {"median": statistics.median(there), "min": min(there), "max": max(there)}


def print_table(results: dict[str, Any]) -> None:
    """Print the summary, and below it why methods are missing."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Narrower, the columns would be cut off.
    console = Console(width=max(Console().width, 136))
    for name, facts in results["datasets"].items():
        recipe = results["recipes"][name]
        console.print(
            f"\n{facts['title']}: {facts['d_in']} wide, {recipe['d_sae']} latents, "
            f"k = {recipe['k']}, {recipe['n_steps']} steps of {recipe['batch_size']} rows",
            highlight=False,
        )
        paired = len(facts["groups"]) == 2
        table = Table("method", box=box.SIMPLE_HEAD)
        headings = ["threads", "rows/s (min–max)", "× SAELens"]
        headings += ["pairs/s", "EV (image, text)"] if paired else ["EV"]
        for heading in [*headings, "never fire", "peak MiB", "added MiB"]:
            table.add_column(heading, justify="right")
        entries = [entry for entry in results["summary"] if entry["dataset"] == name]
        for entry, following in zip(entries, [*entries, None][1:], strict=True):
            last = following is not None and following["threads"] != entry["threads"]
            table.add_row(*_cells(entry), end_section=last)
        if entries:
            console.print(table)
    for method, reason in results["failed"].items():
        console.print(f"{METHODS[method].title} was not run: {reason}", markup=False)


def _cells(entry: dict[str, Any]) -> list[str]:
    median = {metric: (entry[metric] or {}).get("median") for metric in METRICS}
    speed, ratio = entry["rows_per_second"], entry["speed_over_saelens"]
    cells = [
        METHODS[entry["method"]].title,
        str(entry["threads"]),
        f"{_thousands(speed['median'])} ({_thousands(speed['min'])}–{_thousands(speed['max'])})",
        f"{ratio['median']:.2f}" if ratio else "–",
    ]
    explained = f"{median['explained_variance']:.3f}"
    if median["pairs_per_second"] is not None:
        groups = entry["explained_variance_by_group"].values()
        cells.append(_thousands(median["pairs_per_second"]))
        explained += f" ({', '.join(format(group['median'], '.3f') for group in groups)})"
    return [
        *cells,
        explained,
        f"{median['dead_share']:.1%}",
        f"{median['peak_rss_mib']:,.0f}",
        f"{median['added_rss_mib']:,.0f}",
    ]


def _thousands(value: float) -> str:
    return f"{value / 1e3:.3g}k"
