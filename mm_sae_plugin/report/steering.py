"""What steering does, as a drawing and as a table: control of the subject against detail kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.steering.evaluation import PROMPT_EDIT, UNMOVED
from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.svg import document, element, scale, text

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]
_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
fill:#5c6775}
.strong{fill:#1d2530}.name{font-weight:600}.title{font-size:17px}
.rule{stroke:#e4e8ed}.line{fill:none;stroke-width:2.5}.paper{fill:none;stroke-width:1.5;
stroke-dasharray:7 4}.random{fill:none;stroke-width:1.5;stroke-dasharray:1.5 4}
.best{stroke:#1d2530;stroke-width:1.5}
"""
_OTHER = "#6b7684"
_BASELINES = {
    PROMPT_EDIT: "#1d2530",
    "gap": "#98a1ad",
    "reconstruction": "#6b7684",
    "blend": "#2a8c6e",
    "mean difference of captions": "#b8860b",
    "mean difference of pictures": "#c2569b",
}
_LEFT, _TOP, _WIDTH, _HEIGHT, _LEGEND = 64, 64, 440, 380, 230


def steering_figure(record: Mapping[str, Any]) -> str:
    """Draw an SVG file: one line an arm, from the prompt as it is to its largest strength.

    Parameters
    ----------
    record : mapping
        What `steering.json` holds.
    """
    arms = _by_name(record["arms"])
    start = arms.pop(UNMOVED)[0]
    highest = max(max(row["control"], row["kept"]) for rows in arms.values() for row in rows)
    top = min(1.0, max(0.2, 1.1 * max(highest, start["control"], start["kept"])))
    x = scale(0, top, _LEFT, _LEFT + _WIDTH)
    y = scale(0, top, _TOP + _HEIGHT, _TOP)
    parts = [text("Where each way of moving leads", _LEFT, 28, class_="strong name title")]
    told = "a dot a strength, larger ones further; ringed where no other dot is better in both"
    parts += [text(told, _LEFT, 48)]
    for tick in (i * 0.2 for i in range(6)):
        if tick <= top + 1e-9:
            ends = {"x1": _LEFT, "x2": _LEFT + _WIDTH, "y1": y(tick), "y2": y(tick)}
            parts.append(element("line", **ends, class_="rule"))
            parts.append(text(f"{tick:.0%}", _LEFT - 8, y(tick) + 4, text_anchor="end"))
            parts.append(text(f"{tick:.0%}", x(tick), _TOP + _HEIGHT + 18, text_anchor="middle"))
    best = undominated([start, *(row for rows in arms.values() for row in rows)])
    for line, (name, rows) in enumerate(arms.items()):
        parts.append(_arm(name, [start, *rows], x, y, best))
        parts.append(_key(name, _TOP + 14 + 22 * line))
    parts.append(
        element("circle", cx=x(start["control"]), cy=y(start["kept"]), r=5, fill="#1d2530")
    )
    across = "control: the reference’s subject that the picture shows"
    parts.append(text(across, _LEFT + _WIDTH / 2, _TOP + _HEIGHT + 42, text_anchor="middle"))
    middle = _TOP + _HEIGHT / 2
    turned = {"text_anchor": "middle", "transform": f"rotate(-90 16 {middle:g})"}
    parts.append(text("kept: the reference’s detail that it shows", 16, middle, **turned))
    width, height = _LEFT + _WIDTH + 24 + _LEGEND, _TOP + _HEIGHT + 60
    label = "Control of the subject against detail kept, for every way of moving a prompt"
    return document(width, height, label, _STYLE, *parts)


def write_steering_figure(record: Mapping[str, Any], path: Path) -> Path:
    """Write the drawing; return where.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(steering_figure(record), encoding="utf-8")
    return path


def steering_table(record: Mapping[str, Any]) -> "Table":
    """Build what `rich.print` shows: one line an arm and strength."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title="What moving a prompt towards a reference does",
        title_justify="left",
        caption="control: shared factors of the reference that the picture shows, of those in\n"
        "which the prompt differs; own: the prompt’s; kept: image-dominant factors of the\n"
        "reference; marks: its text-dominant ones, where it has any; dist.: from the\n"
        "reference, by the classifier’s features; n: pictures.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("arm")
    for head in ("|Δe|/|e|", "control", "own", "kept", "marks", "SSIM", "dist.", "n"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in record["arms"]:
        found = (row[name] for name in ("control", "own", "kept", "marks"))
        shares = ("–" if share is None else f"{share:.0%}" for share in found)
        figures = (f"{row[name]:.2f}" for name in ("ssim", "distance"))
        table.add_row(row["name"], f"{row['strength']:.2f}", *shares, *figures, f"{row['n']:,}")
    return table


def undominated(rows: list[Row]) -> list[Row]:
    """Return those to which no other is better in control or detail and as good in the other."""

    def beats(other: Row, row: Row) -> bool:
        ends = [(other[measure], row[measure]) for measure in ("control", "kept")]
        return all(a >= b for a, b in ends) and any(a > b for a, b in ends)

    return [row for row in rows if not any(beats(other, row) for other in rows)]


def _by_name(rows: Iterable[Row]) -> dict[str, list[Row]]:
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(row["name"], []).append(row)
    return arms


def _look(name: str) -> dict[str, str]:
    of_class = next((COLOURS[part] for part in COLOURS if part in name), _OTHER)
    # Labels of the paper's and random latents in the colour of their class, broken.
    kind = "paper" if "(paper)" in name else "random" if name.startswith("random") else "line"
    return {"stroke": _BASELINES.get(name, of_class), "class_": kind}


def _arm(name: str, rows: list[Row], x: Any, y: Any, best: list[Row]) -> str:
    points = [(x(row["control"]), y(row["kept"])) for row in rows]
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    look = _look(name)
    dots = [
        element(
            "circle",
            cx=a,
            cy=b,
            r=2.5 + 1.2 * step,
            fill=look["stroke"],
            class_="best" if rows[step + 1] in best else None,
        )
        for step, (a, b) in enumerate(points[1:])
    ]
    title = element("title", name)
    return element("g", title, element("path", d=path, **look), *dots)


def _key(name: str, at: float) -> str:
    left = _LEFT + _WIDTH + 24
    line = element("line", x1=left, x2=left + 26, y1=at - 4, y2=at - 4, **_look(name))
    return line + text(name, left + 34, at)
