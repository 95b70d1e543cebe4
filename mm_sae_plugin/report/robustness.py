"""How defenses stand up to attacks, as a drawing over budgets and as a table."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.svg import document, element, scale, text, title

if TYPE_CHECKING:
    from rich.table import Table

VERDICTS = {
    "claim_c5": "Does aligning text-dominant latents (TextD) defend best, as was claimed?",
    "claim_c5_paper_labels": "And with the classes of the paper's own score?",
    "beats_fare": "Is aligning readings better than FARE, which aligns the whole embedding?",
    "beats_fare_held_out": "And on tasks whose prompts the alignment never saw?",
}
"""Key of the record to what is judged."""
Row = Mapping[str, Any]
Side = Literal["static", "adaptive"]
_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
fill:#5c6775}
.strong{fill:#1d2530}.name{font-weight:600}.title{font-size:17px}
.rule{stroke:#e4e8ed}.line{fill:none;stroke-width:2.5}.free{fill:none;stroke-width:1.75;
stroke-dasharray:7 4}
"""
_FIXED = {"none": "#1d2530", "FARE": "#b8860b", "readings": "#2a8c6e", "TeCoA": "#c2569b"}
_SHIPPED, _OTHER = "#0b6e4f", "#98a1ad"
_SHADES = ("#98a1ad", "#7d5fb2", "#5f8fb2", "#b2845f", "#8a9a5b", "#b25f6e", "#4f6d7a", "#a0a0a0")
_LEFT, _TOP, _WIDTH, _HEIGHT, _GAP, _LEGEND = 56, 84, 330, 300, 44, 250
_TITLES: dict[Side, str] = {
    "adaptive": "Attacks that go through the defense",
    "static": "Attacks made against the bare encoder",
}


def robustness_figure(record: Mapping[str, Any]) -> str:
    """Draw an SVG file: accuracy over the budget, adaptive beside static.

    Parameters
    ----------
    record : mapping
        What `robustness.json` holds.
    """
    rows = [row for row in record["arms"] if row["sweep"]]
    looks = _looks(rows)
    most = max((float(eps) for row in rows for eps in row["sweep"]), default=1.0)
    task = rows[0]["task"] if rows else ""
    parts = [
        text("What each defense withstands", _LEFT, 28, class_="strong name title"),
        text(f"accuracy on the task {task}, {_n_swept(rows)} images, PGD", _LEFT, 48),
    ]
    sides: tuple[Side, Side] = ("adaptive", "static")
    for panel, side in enumerate(sides):
        left = _LEFT + panel * (_WIDTH + _GAP)
        x = scale(0, most, left, left + _WIDTH)
        y = scale(0, 1, _TOP + _HEIGHT, _TOP)
        parts.append(text(_TITLES[side], left, _TOP - 12, class_="strong name"))
        parts += _grid(x, y, left, most, with_names=panel == 0)
        for row in rows:
            parts.append(_line(row, side, x, y, looks[row["name"]]))
    across = "largest change of a pixel, in 255ths" if _is_linf(record) else "length of the change"
    middle = _LEFT + _WIDTH + _GAP / 2
    parts.append(text(across, middle, _TOP + _HEIGHT + 44, text_anchor="middle"))
    parts += [_key(row["name"], looks[row["name"]], at) for at, row in enumerate(rows)]
    width = _LEFT + 2 * _WIDTH + _GAP + _LEGEND
    height = max(_TOP + _HEIGHT + 60, _TOP + 22 * len(rows) + 20)
    label = "Accuracy of every defense over the budget of the attack, adaptive beside static"
    return document(width, height, label, _STYLE, *parts)


def write_robustness_figure(record: Mapping[str, Any], path: Path) -> Path:
    """Write the drawing; return where.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(robustness_figure(record), encoding="utf-8")
    return path


def robustness_table(record: Mapping[str, Any]) -> "Table":
    """Build what `rich.print` shows: one line a defense and task; a number is a tower's seed."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{escape(record['model'])}: what is still right within eps "
        f"{record['settings']['eps']:.4f} ({record['settings']['norm']})",
        title_justify="left",
        caption="static: under images made against the bare encoder; adaptive: in the worst case "
        "over attacks through the defense (PGD; on the first task, for the first seed of an arm "
        "and some of the images, all others too), with Wilson's interval; retr.: clean images that "
        "find their caption among 256; n: images; a number behind a name is a tower's seed.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for head in ("defense", "task"):
        table.add_column(head, no_wrap=True)
    for head in ("n", "clean", "static", "adaptive", "95%", "retr."):
        table.add_column(head, justify="right", no_wrap=True)
    for row in record["arms"]:
        low, high = row["wilson"]
        found = "–" if row["retrieval"] is None else f"{row['retrieval']:.2f}"
        name = f"{row['name']} {row['seed']}" if row["kind"] == "fine-tuned" else row["name"]
        figures = (f"{row[each]:.2f}" for each in ("clean", "static", "adaptive"))
        named = escape(name), escape(row["task"])
        table.add_row(*named, str(row["n"]), *figures, f"{_short(low)}–{_short(high)}", found)
    return table


def _short(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")


def told_of_detector(name: str, found: Mapping[str, Any]) -> str:
    """Return what became of a detector, in a sentence."""
    static, adaptive = found["static"], found["adaptive"]
    auroc = static["auroc"]["value"]
    separated = "" if auroc is None else f"separates attacked images with AUROC {auroc:.2f} and "
    return (
        f"detector {name}: {separated}flags {found['false_positives']:.0%} of clean images; "
        f"misclassified and passed are {static['evaded']:.0%} of images attacked without knowing "
        f"it, {adaptive['evaded']:.0%} [{adaptive['low']:.0%}, {adaptive['high']:.0%}] of those "
        "attacked knowing it."
    )


def curve(row: Row, side: Side) -> list[tuple[float, float]]:
    """Return budgets and accuracies of one defense, from the images as they are on."""
    return sorted((float(eps), found[side]) for eps, found in row["sweep"].items())


def _is_linf(record: Mapping[str, Any]) -> bool:
    return record["settings"]["norm"] == "Linf"


def _n_swept(rows: Iterable[Row]) -> int:
    return max((int(row["strong"]["n"]) for row in rows), default=0)


def _looks(rows: Iterable[Row]) -> dict[str, dict[str, str]]:
    """Name to colour and kind of line: dashed where nothing was trained."""
    looks, shades = {}, iter(_SHADES)
    for row in rows:
        name = row["name"]
        of_class = next((COLOURS[part] for part in COLOURS if name == part), None)
        colour = _FIXED.get(name) or of_class
        if row["kind"] == "shipped":
            colour = _SHIPPED
        kind = "free" if row["kind"] == "training-free" else "line"
        looks[name] = {"stroke": colour or next(shades, _OTHER), "class_": kind}
    return looks


def _grid(x: Any, y: Any, left: float, most: float, with_names: bool) -> list[str]:
    parts = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        ends = {"x1": left, "x2": left + _WIDTH, "y1": y(tick), "y2": y(tick)}
        parts.append(element("line", **ends, class_="rule"))
        if with_names:
            parts.append(text(f"{tick:.0%}", left - 8, y(tick) + 4, text_anchor="end"))
    for step in range(5):
        eps = most * step / 4
        written = f"{eps * 255:.3g}" if most < 1 else f"{eps:.2g}"
        parts.append(text(written, x(eps), _TOP + _HEIGHT + 20, text_anchor="middle"))
    return parts


def _line(row: Row, side: Side, x: Any, y: Any, look: dict[str, str]) -> str:
    points = [(x(at), y(share)) for at, share in curve(row, side)]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    dots = [element("circle", cx=a, cy=b, r=3, fill=look["stroke"]) for a, b in points]
    told = f"{row['name']}: clean {row['clean']:.2f}, static {row['static']:.2f}, adaptive "
    name = title(f"{told}{row['adaptive']:.2f}")
    return element("g", name, element("path", d=path, **look), *dots)


def _key(name: str, look: dict[str, str], line: int) -> str:
    left = _LEFT + 2 * _WIDTH + _GAP + 24
    at = _TOP + 8 + 22 * line
    stroke = element("path", d=f"M{left} {at - 4}h22", **look)
    return stroke + text(name, left + 30, at)
