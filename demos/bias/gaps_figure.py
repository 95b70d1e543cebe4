"""Gaps by occupation with intervals, the band of what means nothing, and that of no bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mm_sae_plugin.applications.bias.twin_audit import TwinAudit
from mm_sae_plugin.demos.bias.drawing import signed
from mm_sae_plugin.demos.bias.subject import called
from mm_sae_plugin.report.svg import element, scale, text, title

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 420, 92, 362, 26, 30


def mean_gap(audit: TwinAudit) -> float:
    """Mean of the gaps of all targets."""
    return sum(found.gap for found in audit.targets.values()) / len(audit.targets)


def largest_meaningless(audit: TwinAudit) -> float:
    """Largest spread of the gaps of a flip that means nothing, other than the audit's own."""
    own = called(audit.flip)
    return max(value for name, value in audit.nuisances.items() if name != own)


def reach_of(audits: Sequence[TwinAudit]) -> tuple[float, float]:
    """Ends of the axis that holds all audits."""
    ends = [0.0]
    for audit in audits:
        middle, width = mean_gap(audit), largest_meaningless(audit)
        ends += [middle - width, middle + width]
        for found in audit.targets.values():
            ends += [found.interval.low, found.interval.high, *found.no_bias]
    return min(ends), max(ends)


def gaps_figure(
    name: str, audit: TwinAudit, direction: Mapping[str, int], reach: tuple[float, float]
) -> str:
    """Draw one model's gaps, those stated for the first value above.

    Parameters
    ----------
    name : str
        Of the model.
    audit : TwinAudit
    direction : mapping of str to int
        Target to +1 or -1, in the order of the rows.
    reach : tuple of float
        Ends of the axis, in logits.
    """
    _, first, second = audit.flip
    targets = list(direction)
    x, bottom = scale(*reach, _LEFT, _RIGHT), _TOP + _ROW * len(targets)
    middle, width = mean_gap(audit), largest_meaningless(audit)
    parts = [
        _rect(
            x(middle - width),
            x(middle + width),
            _TOP,
            bottom - _TOP,
            "meaningless",
            f"Where flips that mean nothing spread: {signed(middle)} ± {width:.2f}",
        ),
        *gap_axis(x, reach, (first, second), _TOP, bottom),
    ]
    for row, target in enumerate(targets):
        parts += _row(target, audit, direction[target], x, _TOP + _ROW * (row + 0.5))
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {bottom + 24}",
        role="img",
        aria_label=_told(name, audit, targets),
        class_="bd-figure",
    )


def gap_axis(
    x: Callable[[float], float],
    reach: tuple[float, float],
    values: tuple[str, str],
    top: float,
    bottom: float,
) -> list[str]:
    """Draw the line of no gap, which value lies on which side of it, and the ends of the axis."""
    first, second = values
    parts = [
        element("line", x1=x(0), x2=x(0), y1=top - 4, y2=bottom + 4, class_="axis"),
        text("0", x(0), bottom + 18, text_anchor="middle"),
        text(f"← {second}", x(0) - 8, top - 12, text_anchor="end"),
        text(f"{first} →", x(0) + 8, top - 12),
    ]
    for end, anchor in zip(reach, ("start", "end"), strict=True):
        if abs(x(end) - x(0)) > 60:
            parts.append(text(signed(end, 1), x(end), bottom + 18, text_anchor=anchor))
    return parts


def _row(target: str, audit: TwinAudit, sign: int, x, y: float) -> list[str]:
    found = audit.targets[target]
    low, high = found.interval.low, found.interval.high
    told = f"{target}: {signed(found.gap)} [{signed(low)}, {signed(high)}]"
    return [
        text(target, _LEFT - 10, y + 4, text_anchor="end", class_="strong"),
        _rect(x(found.no_bias[0]), x(found.no_bias[1]), y - 7, 14, "chance", "No bias"),
        element("line", x1=x(low), x2=x(high), y1=y, y2=y, class_="interval"),
        element(
            "circle",
            title(told),
            cx=x(found.gap),
            cy=y,
            r=5,
            class_="filled" if sign > 0 else "hollow",
        ),
        text(signed(found.gap), _WIDTH - 4, y + 4, text_anchor="end"),
    ]


def _rect(left: float, right: float, y: float, height: float, kind: str, told: str) -> str:
    return element("rect", title(told), x=left, width=right - left, y=y, height=height, class_=kind)


def _told(name: str, audit: TwinAudit, targets: Sequence[str]) -> str:
    gaps = "; ".join(
        f"{target} {signed(found.gap)}, interval {signed(found.interval.low)} to "
        f"{signed(found.interval.high)}"
        for target, found in ((target, audit.targets[target]) for target in targets)
    )
    _, first, second = audit.flip
    return (
        f"Gaps of {name} in logits, above 0 where {first} is nearer than {second}: {gaps}. Flips "
        f"that mean nothing spread by up to {largest_meaningless(audit):.2f}."
    )
