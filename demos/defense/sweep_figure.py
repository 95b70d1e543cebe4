"""One contender's accuracy over ε: as a static evaluation sees it, and as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.report.svg import element, scale, text, title

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 190, 36, 286, 12, 148
KEY = (
    '<div class="df-key"><span><svg viewBox="0 0 26 12" aria-hidden="true">'
    '<path d="M1 6h24" stroke="var(--soft)" stroke-width="2" stroke-dasharray="5 4"/></svg>'
    "static: images made without knowing the defense</span>"
    '<span><svg viewBox="0 0 26 12" aria-hidden="true">'
    '<path d="M1 6h24" stroke="var(--accent)" stroke-width="2.5"/></svg>'
    "adaptive: the attacks go through it</span>"
    '<span><svg viewBox="0 0 26 12" aria-hidden="true">'
    '<path d="M1 6h24" stroke="var(--faint)" stroke-width="1.5"/></svg>'
    "no defense</span></div>"
)
"""What the lines stand for."""


@dataclass(frozen=True)
class Curve:
    """Shares of images that are right, over ε."""

    eps: list[float]
    """In 1/255, from 0 on."""
    static: list[float]
    adaptive: list[float]
    at: int
    """Which of them is the budget that is judged on."""
    wilson: tuple[float, float]
    """Interval of the adaptive share there."""


def curve_of(row: Mapping[str, Any], eps: float) -> Curve:
    """Return the curve of one arm; `eps` is the budget that is judged on, in pixels of [0, 1]."""
    judged = round(eps * 255, 2)
    points = {
        round(float(given) * 255, 2): (one["static"], one["adaptive"])
        for given, one in row["sweep"].items()
    }
    # Here all attacks count, on all pictures.
    points |= {0.0: (row["clean"],) * 2, judged: (row["static"], row["adaptive"])}
    found = sorted(points)
    low, high = row["wilson"]
    return Curve(
        found,
        [points[one][0] for one in found],
        [points[one][1] for one in found],
        found.index(judged),
        (low, high),
    )


def sweep_figure(name: str, curve: Curve, bare: Curve | None) -> str:
    """Draw both lines, and that of the encoder without a defense faintly below."""
    x = scale(0.0, max(curve.eps), _LEFT, _RIGHT)
    y = scale(0.0, 1.0, _BOTTOM, _TOP)
    parts = []
    for share in (0.0, 0.5, 1.0):
        parts += [
            element("line", x1=_LEFT, x2=_RIGHT, y1=y(share), y2=y(share), class_="axis"),
            text(f"{share:g}", _LEFT - 8, y(share) + 4, text_anchor="end"),
        ]
    parts += [text(f"{one:.3g}", x(one), _BOTTOM + 17, text_anchor="middle") for one in curve.eps]
    parts.append(text("ε, in 1/255", (_LEFT + _RIGHT) / 2, _HEIGHT - 1, text_anchor="middle"))
    if bare is not None:
        parts.append(_line(bare.eps, bare.adaptive, x, y, "bare-line"))
    parts.append(_line(curve.eps, curve.static, x, y, "static-line"))
    at, (low, high) = x(curve.eps[curve.at]), curve.wilson
    parts.append(element("line", x1=at, x2=at, y1=y(low), y2=y(high), class_="interval"))
    parts.append(_line(curve.eps, curve.adaptive, x, y, "adaptive-line"))
    for one, static, adaptive in zip(curve.eps, curve.static, curve.adaptive, strict=True):
        told = title(f"ε {one:.3g}/255: static {static:.2f}, adaptive {adaptive:.2f}")
        parts.append(element("circle", told, cx=x(one), cy=y(adaptive), r=3.5, class_="filled"))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=_told(name, curve),
        class_="df-figure",
    )


def _line(eps: Sequence[float], shares: Sequence[float], x, y, kind: str) -> str:
    points = " ".join(
        f"{x(one):.1f},{y(share):.1f}" for one, share in zip(eps, shares, strict=True)
    )
    return element("polyline", points=points, class_=kind)


def _told(name: str, curve: Curve) -> str:
    points = "; ".join(
        f"{one:.3g}: static {static:.2f}, adaptive {adaptive:.2f}"
        for one, static, adaptive in zip(curve.eps, curve.static, curve.adaptive, strict=True)
    )
    return f"Accuracy of {name} by ε in 1/255. {points}."
