"""What one contender says of each class: of the picture as it is, and of both attacked ones."""

from __future__ import annotations

from collections.abc import Sequence

from mm_sae_plugin.applications.defense.one_picture import Said
from mm_sae_plugin.demos.defense.subject import called
from mm_sae_plugin.report.svg import element, scale, text, title

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 400, 118, 384, 22, 22
_LONGEST = 15
KEY = (
    '<div class="df-key"><span><svg viewBox="0 0 26 12" aria-hidden="true"><g class="df-figure">'
    '<circle cx="13" cy="6" r="4.5" fill="var(--card)" stroke="var(--soft)" stroke-width="2"/>'
    "</g></svg>as it is</span>"
    '<span><svg viewBox="0 0 26 12" aria-hidden="true">'
    '<path d="M8 1h10v10H8z" fill="var(--soft)"/></svg>static: made without knowing the defense'
    "</span>"
    '<span><svg viewBox="0 0 26 12" aria-hidden="true">'
    '<circle cx="13" cy="6" r="5" fill="var(--accent)"/></svg>adaptive: made through it</span>'
    "</div>"
)
"""What the marks stand for."""


def scores_figure(name: str, names: Sequence[str], truth: int, said: Said, is_bare: bool) -> str:
    """Draw a row for every class, the true one marked.

    Parameters
    ----------
    name : str
        The contender's.
    names : sequence of str
        Of the classes.
    truth : int
        Number of the one that the picture shows.
    said : Said
    is_bare : bool
        Without a defense the two attacked pictures are one.
    """
    x, bottom = scale(0.0, 1.0, _LEFT, _RIGHT), _TOP + _ROW * len(names)
    parts = [
        text(f"{share:g}", x(share), _TOP - 8, text_anchor="middle") for share in (0.0, 0.5, 1.0)
    ]
    parts += [
        element("line", x1=x(share), x2=x(share), y1=_TOP - 2, y2=bottom, class_="axis")
        for share in (0.0, 0.5, 1.0)
    ]
    for row, one in enumerate(names):
        y = _TOP + _ROW * (row + 0.5)
        is_true = row == truth
        shown = one if len(one) <= _LONGEST else f"{one[: _LONGEST - 1]}…"
        parts.append(
            text(
                f"✓ {shown}" if is_true else shown,
                _LEFT - 12,
                y + 4,
                text_anchor="end",
                class_="strong" if is_true else None,
            )
        )
        parts += _marks(x, y, one, said, row, is_bare)
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {bottom + 6}",
        role="img",
        aria_label=_told(name, names, truth, said),
        class_="df-figure",
    )


def _marks(x, y: float, name: str, said: Said, row: int, is_bare: bool) -> list[str]:
    clean, static = float(said.clean[row]), float(said.static[row])
    marks = []
    if not is_bare:
        marks.append(
            element(
                "rect",
                title(f"{name}, static: {static:.2f}"),
                x=x(static) - 5,
                y=y - 5,
                width=10,
                height=10,
                class_="static",
            )
        )
    now = None if said.adaptive is None else float(said.adaptive[row])
    if now is not None:
        told = title(f"{name}, adaptive: {now:.2f}")
        marks.append(element("circle", told, cx=x(now), cy=y, r=5, class_="filled"))
    told = title(f"{name}, as it is: {clean:.2f}")
    # Last and hollow, so that what lies below it is seen.
    marks.append(element("circle", told, cx=x(clean), cy=y, r=6.5, class_="hollow", fill_opacity=0))
    return marks


def _told(name: str, names: Sequence[str], truth: int, said: Said) -> str:
    def top(shares) -> str:
        first = int(shares.argmax())
        return f"{names[first]} {float(shares[first]):.2f}"

    now = "" if said.adaptive is None else f", of the adaptive one {top(said.adaptive)}"
    return (
        f"Scores with {called(name)}; the picture shows {names[truth]}. Highest as it is "
        f"{top(said.clean)}, of the static picture {top(said.static)}{now}."
    )
