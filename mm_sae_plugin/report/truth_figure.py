"""The figure of a sweep: score against truth, a column a size, two scores above each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.svg import document, element, scale, text, width_of
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE

_ROWS = ((PAPER_SCORE, "the paper’s score"), (CARRIED, "carried dominance"))
_GROUPS = (
    ("TextD", "captions have it more often"),
    ("CrossD", "both always have it"),
    ("ImgD", "images have it more often"),
)
_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
fill:#5c6775}
.strong{fill:#1d2530}.name{font-weight:600}.title{font-size:17px}
.rule{stroke:#e4e8ed}.axis{stroke:#6b7684}.border{stroke:#5c6775;stroke-dasharray:4 4}
.band{fill:#eef1f5}.dots{fill:none;stroke-linecap:round;stroke-width:4.4;stroke-opacity:.75}
"""
_SIDE, _GAP, _LEFT, _RIGHT = 190, 18, 74, 14
_TOP, _BETWEEN, _BOTTOM = 108, 84, 80
# What the words around the panels need.
_NARROWEST = 660
# Latents of one truth are spread over this much of the axis.
_SPREAD = 0.055


@dataclass(frozen=True)
class TruthPanel:
    """The latents of one size of dictionary, of all its seeds together."""

    d_sae: int
    """Latents of a dictionary."""
    k: int
    """Active ones among them."""
    rows: Sequence[Mapping[str, Any]]
    """Rows of the sweep, of any scores."""
    latents: Sequence[Mapping[str, Sequence[Any]]]
    """For each dictionary the columns of its latents: `dominance`, `modality`, `eta2`, scores."""


def truth_figure(panels: Sequence[TruthPanel], tolerance: float, min_eta2: float) -> str:
    """Draw an SVG file.

    Parameters
    ----------
    panels : sequence of TruthPanel
        One or more, from small to large.
    tolerance : float
        Half width of the band around the truth.
    min_eta2 : float
        Share of a latent's variance that its factor must explain for a dot.
    """
    width = max(_LEFT + len(panels) * (_SIDE + _GAP) - _GAP + _RIGHT, _NARROWEST)
    height = _TOP + len(_ROWS) * (_SIDE + _BETWEEN) - _BETWEEN + _BOTTOM + 24
    parts = _head(width)
    for row, (score, name) in enumerate(_ROWS):
        top = _TOP + row * (_SIDE + _BETWEEN)
        middle = top + _SIDE / 2
        turned = {"text_anchor": "middle", "transform": f"rotate(-90 20 {middle:g})"}
        parts.append(text(name, 20, middle, class_="strong name", **turned))
        for column, panel in enumerate(panels):
            left = _LEFT + column * (_SIDE + _GAP)
            parts.append(_panel(panel, score, left, top, tolerance, min_eta2, column == 0))
    for column, panel in enumerate(panels):
        centre = _LEFT + column * (_SIDE + _GAP) + _SIDE / 2
        told = f"{panel.d_sae:,} latents"
        parts.append(text(told, centre, _TOP - 12, text_anchor="middle", class_="strong name"))
    centre = (_LEFT + width - _RIGHT) / 2
    parts.append(
        text(
            "true dominance of the factor that a latent follows: 0 captions alone, 1 images alone",
            centre,
            height - 12,
            text_anchor="middle",
        )
    )
    label = "Modality scores of latents against the known truth, by size of the dictionary"
    return document(width, height, label, _STYLE, *parts)


def _head(width: float) -> list[str]:
    parts = [
        text(
            "The modality score of every latent, against the truth",
            _LEFT,
            28,
            class_="strong name title",
        )
    ]
    x = float(_LEFT)
    for name, told in _GROUPS:
        parts.append(element("circle", cx=x + 5, cy=51, r=5, fill=COLOURS[name]))
        parts.append(text(told, x + 16, 56))
        x += 16 + 0.72 * width_of(told) + 20
    return parts


def _panel(
    panel: TruthPanel,
    score: str,
    left: float,
    top: float,
    tolerance: float,
    min_eta2: float,
    is_first: bool,
) -> str:
    x = scale(-0.06, 1.06, left, left + _SIDE)
    y = scale(-0.06, 1.06, top + _SIDE, top)
    band = [(0, -tolerance), (0, tolerance), (1, 1 + tolerance), (1, 1 - tolerance)]
    points = " ".join(f"{x(a):.1f},{y(min(max(b, -0.06), 1.06)):.1f}" for a, b in band)
    parts = [element("polygon", points=points, class_="band")]
    for tick in (0.0, 0.5, 1.0):
        parts.append(
            element("line", x1=left, x2=left + _SIDE, y1=y(tick), y2=y(tick), class_="rule")
        )
        parts.append(text(f"{tick:g}", x(tick), top + _SIDE + 16, text_anchor="middle"))
        if is_first:
            parts.append(text(f"{tick:g}", left - 8, y(tick) + 4, text_anchor="end"))
    parts.append(element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="border"))
    for name, _ in _GROUPS:
        dots = "".join(
            f"M{x(truth):.1f} {y(value):.1f}h0"
            for truth, value in _dots(panel.latents, score, name, min_eta2)
        )
        parts.append(element("path", d=dots, stroke=COLOURS[name], class_="dots"))
    rows = [row for row in panel.rows if row["score"] == score]
    for line, told in enumerate(_caption(rows, tolerance)):
        at = top + _SIDE + 38 + 17 * line
        parts.append(text(told, left + _SIDE / 2, at, text_anchor="middle", class_="strong"))
    return element("g", *parts)


def _dots(
    dictionaries: Iterable[Mapping[str, Sequence[Any]]], score: str, modality: str, least: float
) -> list[tuple[float, float]]:
    """Truth and score of every latent that has one, those of one truth set apart."""
    found = [
        (truth, value)
        for latents in dictionaries
        for truth, value, group, eta2 in zip(
            *(latents[name] for name in ("dominance", score, "modality", "eta2")), strict=True
        )
        if group == modality and value is not None and eta2 >= least
    ]
    # Multiples of the golden ratio fill the width evenly, however many there are.
    return [
        (truth + (i * 0.618034 % 1 - 0.5) * _SPREAD, value)
        for i, (truth, value) in enumerate(found)
    ]


def _caption(rows: Sequence[Mapping[str, Any]], tolerance: float) -> list[str]:
    values = [v for row in rows for v in row["auroc"].values() if v is not None]
    scored = [(row["within"], sum(row["n"].values())) for row in rows if row["within"] is not None]
    lines = []
    if values:
        low, high = f"{min(values):.2f}", f"{max(values):.2f}"
        lines.append(f"AUROC {low}" if low == high else f"AUROC {low}–{high}")
    if scored:
        share = sum(within * n for within, n in scored) / sum(n for _, n in scored)
        lines.append(f"{share:.0%} within {tolerance:g}")
    return lines
