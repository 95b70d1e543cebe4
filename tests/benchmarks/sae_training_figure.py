"""The figure of the SAE training benchmark."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import METHODS

# Okabe and Ito's palette, told apart by shape as well.
_LOOKS = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))
_GREY = "#767676"


@dataclass(frozen=True)
class _Panel:
    metric: str
    label: str
    scale: float = 1.0
    from_zero: bool = True


_PANELS = (
    _Panel("rows_per_second", "training speed (thousand rows/s)", 1e-3),
    _Panel("explained_variance", "explained variance, held-out rows", from_zero=False),
    _Panel("dead_share", "latents that never fire (%)", 100.0),
    _Panel("peak_rss_mib", "memory before training → peak (MiB)", from_zero=False),
)


def write_figure(results: dict[str, Any], path: Path) -> str:
    """Draw medians with their ranges and return what to tell the reader."""
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
        from matplotlib.lines import Line2D  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return f"No figure was drawn ({error}); matplotlib comes with the extra bench."
    methods = list(results["methods"])
    threads = sorted({entry["threads"] for entry in results["summary"]})
    looks = dict(zip(threads, _LOOKS * len(threads), strict=False))
    datasets, notes = results["datasets"], _notes(results)
    notes_height = 0.2 * len(notes)
    height = 1.0 + len(datasets) * (0.9 + 0.42 * len(methods)) + notes_height
    figure = Figure(figsize=(14, height))
    bottom = notes_height / height
    figure.set_layout_engine("constrained", rect=(0, bottom, 1, 1 - bottom), h_pad=0.12)
    rows = figure.subplots(len(datasets), len(_PANELS), squeeze=False, sharey=True)
    for axes, (name, facts) in zip(rows, datasets.items(), strict=True):
        recipe = results["recipes"][name]
        entries = [entry for entry in results["summary"] if entry["dataset"] == name]
        for axis, panel in zip(axes, _PANELS, strict=True):
            _draw_panel(axis, panel, entries, methods, looks)
        axes[0].set_title(
            f"{facts['title']}: {facts['d_in']} wide, {recipe['d_sae']} latents, k = {recipe['k']}",
            loc="left",
            fontweight="bold",
        )
    handles = [
        Line2D([], [], color=colour, marker=marker, label=_threads(n))
        for n, (colour, marker) in looks.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False)
    figure.text(0.01, 0.01, "\n".join(notes), fontsize=8.5, color="#444444", va="bottom")
    figure.savefig(path, dpi=150)
    return f"The figure is {path}."


def _draw_panel(
    axis: Any,
    panel: _Panel,
    entries: list[dict[str, Any]],
    methods: list[str],
    looks: dict[int, tuple[str, str]],
) -> None:
    for number, (threads, (colour, marker)) in enumerate(looks.items()):
        shift = 0.3 * (number - (len(looks) - 1) / 2) / max(1, len(looks) - 1)
        for entry in (entry for entry in entries if entry["threads"] == threads):
            y = methods.index(entry["method"]) + shift
            spread = entry[panel.metric]
            middle = panel.scale * spread["median"]
            if panel.metric == "peak_rss_mib":
                before = entry["rss_before_mib"]["median"]
                axis.plot([before, middle], [y, y], color=colour, alpha=0.45, linewidth=2.5)
                axis.plot(before, y, marker="|", color=colour, markersize=9)
            ends = [panel.scale * spread["min"], panel.scale * spread["max"]]
            axis.plot(ends, [y, y], color=colour, linewidth=1.2)
            axis.plot(middle, y, marker=marker, color=colour, markersize=6)
    there = {entry["method"] for entry in entries}
    for y, method in enumerate(methods):
        if method not in there:
            across = axis.get_yaxis_transform()
            axis.text(0.03, y, "not run", transform=across, va="center", color=_GREY)
    axis.set_xlabel(panel.label)
    axis.set_yticks(range(len(methods)), [METHODS[method].title for method in methods])
    axis.set_ylim(len(methods) - 0.5, -0.5)
    left, right = axis.get_xlim()
    margin = 0.05 * (right - (0 if panel.from_zero else left))
    axis.set_xlim(-0.3 * margin if panel.from_zero else left - margin, right + margin)
    axis.grid(axis="x", color="#e3e3e3")
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _notes(results: dict[str, Any]) -> list[str]:
    recipe = next(iter(results["recipes"].values()))
    machine = results["machine"]
    n_repeats = max(run["repeat"] + 1 for run in results["runs"])
    lines = [
        f"Medians of {n_repeats} interleaved trainings, lines from the smallest to the largest; "
        f"{recipe['n_steps']} steps of {recipe['batch_size']} rows, "
        f"Adam at {recipe['lr']:g}, fp32; {machine['processor']}, torch {machine['torch']}."
    ]
    for method, reason in results["failed"].items():
        lines += textwrap.wrap(f"{METHODS[method].title} was not run: {reason}", 180)
    return lines


def _threads(n: int) -> str:
    return "1 thread" if n == 1 else f"{n} threads"
