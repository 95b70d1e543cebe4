"""Each occupation's gap as it is and edited."""

from __future__ import annotations

from collections.abc import Sequence

from mm_sae_plugin.applications.bias.contrast import Gaps
from mm_sae_plugin.demos.bias.drawing import signed
from mm_sae_plugin.demos.bias.gaps_figure import gap_axis
from mm_sae_plugin.report.svg import element, scale, text, title

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 420, 92, 346, 24, 30


def moves_figure(
    name: str, before: Gaps, after: Gaps, targets: Sequence[str], values: tuple[str, str]
) -> str:
    """Draw the gaps of one model between two values: hollow as they are, filled as edited."""
    ends = [0.0, *before.values(), *after.values()]
    reach = min(ends), max(ends)
    x, bottom = scale(*reach, _LEFT, _RIGHT), _TOP + _ROW * len(targets)
    parts = gap_axis(x, reach, values, _TOP, bottom)
    for row, target in enumerate(targets):
        y, old, new = _TOP + _ROW * (row + 0.5), before[target], after[target]
        parts += [
            text(target, _LEFT - 10, y + 4, text_anchor="end", class_="strong"),
            element("line", x1=x(old), x2=x(new), y1=y, y2=y, class_="move"),
            element("circle", title(f"{target} as it is"), cx=x(old), cy=y, r=4.5, class_="hollow"),
            element("circle", title(f"{target} edited"), cx=x(new), cy=y, r=4.5, class_="filled"),
            text(signed(new), _WIDTH - 4, y + 4, text_anchor="end"),
        ]
    told = "; ".join(f"{name} {signed(before[name])} to {signed(after[name])}" for name in targets)
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {bottom + 24}",
        role="img",
        aria_label=f"Gaps of {name} as they are, and edited: {told}.",
        class_="bd-figure",
    )
