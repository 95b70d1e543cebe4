"""An evaluation as one drawing: the labels beside their nulls, and what removing latents costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.evaluated import Row, cost_rows, null_rows
from mm_sae_plugin.report.palette import COLOURS, DISPLAY_ORDER
from mm_sae_plugin.report.svg import document, element, scale, text, title

_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
fill:#5c6775}
.strong{fill:#1d2530}.name{font-weight:600}.title{font-size:17px}.inside{fill:#fff}
.rule{stroke:#e4e8ed}.whisker{stroke:#1d2530;stroke-width:1.5}.random{fill:#fff;stroke:#1d2530;
stroke-width:1.5}
"""
_LEFT, _TOP, _WIDTH, _ROW, _GAP, _NAMES = 190, 84, 430, 30, 70, 150
_BAR = 18
_TASKS = {"retrieval": "retrieval R@1", "zero_shot": "zero-shot accuracy"}
_REMOVED = ("ImgD", "CrossD", "TextD")


def evaluation_figure(record: Mapping[str, Any]) -> str:
    """Draw an SVG file; a panel whose part was not measured is left out.

    Parameters
    ----------
    record : mapping
        What `evaluation.json` holds.
    """
    nulls = null_rows(record)
    costs = [row for row in cost_rows(record) if row["name"] in _REMOVED]
    parts: list[str] = []
    right = _LEFT
    if nulls:
        parts += _nulls(nulls, record["labels"]["score"])
        right = _LEFT + _WIDTH + _GAP
    n_rows = len(nulls)
    if costs:
        tasks = [task for task in _TASKS if task in costs[0]["measures"]]
        parts += _costs(costs, tasks, right)
        right += _NAMES + _WIDTH
        n_rows = max(n_rows, len(costs) * len(tasks) + len(tasks))
    height = _TOP + _ROW * n_rows + 56
    label = "Class counts of the labels and under nulls, and what removing each class costs"
    return document(max(right, _LEFT + _WIDTH) + 24, height, label, _STYLE, *parts)


def write_evaluation_figure(record: Mapping[str, Any], path: Path) -> Path:
    """Write the drawing; return where.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(evaluation_figure(record), encoding="utf-8")
    return path


def _nulls(rows: list[Row], score: str) -> list[str]:
    """One bar for the labels and one for each null, a stretch for each class."""
    total = sum(rows[0]["counts"].values()) or 1
    x = scale(0, total, _LEFT, _LEFT + _WIDTH)
    parts = [
        text("The same labels under nulls", _LEFT, 28, class_="strong name title"),
        text(f"latents of each class by {score}, of {total:,.0f}", _LEFT, 48),
    ]
    for line, row in enumerate(rows):
        y = _TOP + _ROW * line
        name_class = "strong name" if line == 0 else "strong"
        parts.append(text(row["name"], _LEFT - 10, y + 13, text_anchor="end", class_=name_class))
        start = 0.0
        for name in DISPLAY_ORDER:
            count = row["counts"][name]
            hint = title(f"{row['name']}: {count:.0f} {name}")
            width = x(start + count) - x(start)
            shape = {"x": x(start), "y": y, "width": width, "height": _BAR}
            parts.append(element("rect", hint, **shape, fill=COLOURS[name]))
            if width > 34 and name != "Dead":
                middle = x(start) + width / 2
                inside = {"text_anchor": "middle", "class_": "inside"}
                parts.append(text(f"{count:.0f}", middle, y + 13, **inside))
            start += count
    left = float(_LEFT)
    for name in DISPLAY_ORDER:
        y = _TOP + _ROW * len(rows) + 14
        parts.append(element("circle", cx=left + 5, cy=y - 4, r=5, fill=COLOURS[name]))
        parts.append(text(name, left + 15, y))
        left += 34 + 8 * len(name)
    return parts


def _costs(rows: list[Row], tasks: list[str], left: float) -> list[str]:
    """One bar a class and task: how far accuracy falls, with its interval and random sets."""
    start = left + _NAMES
    highest = max(_ends(row, task)[1] for row in rows for task in tasks)
    x = scale(0, max(highest, 0.1) * 1.05, start, start + _WIDTH)
    parts = [
        text("What removing a class costs", left, 28, class_="strong name title"),
        text(
            "fall of accuracy, removed from both sides; the ring: random latents alike",
            left,
            48,
        ),
    ]
    line = 0
    for task in tasks:
        y = _TOP + _ROW * line
        parts.append(text(_TASKS[task], left, y + 13, class_="strong name"))
        line += 1
        for row in rows:
            y = _TOP + _ROW * line
            cost, high, low = _ends(row, task)
            name = row["name"]
            written = f"{name} ({row['n_latents']})"
            parts.append(text(written, start - 10, y + 13, text_anchor="end"))
            hint = title(f"{name}: {_TASKS[task]} falls by {cost:.3f} [{low:.3f}, {high:.3f}]")
            shape = {"x": x(0), "y": y, "width": max(x(cost) - x(0), 1), "height": _BAR}
            parts.append(element("rect", hint, **shape, fill=COLOURS[name]))
            middle = y + _BAR / 2
            whisker = {"x1": x(max(low, 0)), "x2": x(max(high, 0)), "y1": middle, "y2": middle}
            parts.append(element("line", **whisker, class_="whisker"))
            random = _random_cost(row, task)
            if random is not None:
                at = x(min(max(random, 0), highest))
                parts.append(element("circle", cx=at, cy=middle, r=5, class_="random"))
            line += 1
    foot = _TOP + _ROW * line + 14
    for tick in (0, 0.2, 0.4, 0.6, 0.8):
        if tick <= highest * 1.05:
            parts.append(text(f"{tick:g}", x(tick), foot, text_anchor="middle"))
    return parts


def _ends(row: Row, task: str) -> tuple[float, float, float]:
    """Cost, and the high and low end of its interval: a fall counts as above 0."""
    found = row["measures"][task]["difference"]
    return -found["value"], -found["low"], -found["high"]


def _random_cost(row: Row, task: str) -> float | None:
    """What random sets cost; None where nothing is known of them."""
    found = row["measures"][task]
    beyond, random = found.get("beyond_random"), found.get("random")
    if beyond is None or beyond["value"] is None or random is None:
        return None
    whole = found["value"]["value"] - found["difference"]["value"]
    mean = random["value"] if isinstance(random, Mapping) else random
    return whole - mean
