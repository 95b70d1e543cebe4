"""Pieces of HTML: scores with intervals, bars, pictures and captions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mm_sae_plugin.demos.common.pieces import dot as dot, picture as picture

if TYPE_CHECKING:
    from PIL.Image import Image

STACK = "lt-stack"
"""Class of a row whose parts stand below each other on a narrow screen."""
# Gradio draws frames about tables and dots before lists inside a page.
STYLE = """
.lt-head{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:24px}
.lt-head h2,.lt-part h3{margin:18px 0 8px!important}
.lt-head a,.lt-bars a{margin:0!important;padding:0!important;display:inline!important}
.lt-scores,.lt-bars{border-collapse:collapse!important;border:0!important;width:100%;max-width:640px}
:is(.lt-scores,.lt-bars) :is(td,th,tr){border:0!important;background:none!important}
:is(.lt-scores,.lt-bars) :is(td,th){padding:4px 10px 4px 0!important;text-align:left!important;
font-weight:400!important;vertical-align:middle}
:is(.lt-scores,.lt-bars) svg{display:block}
.lt-scored{display:flex;gap:8px;align-items:center}
.lt-scored svg{flex:none}.lt-table .lt-scored svg{width:96px}
.lt-wide{max-width:none}
.lt-wide [scope=col]{white-space:nowrap}
.lt-grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:12px}
.lt-grid figure{margin:0}
.lt-grid img{width:100%;border-radius:8px;display:block}
.lt-grid figcaption,.lt-soft{color:var(--soft);font-size:13px}
.lt-pair{display:grid;grid-template-columns:120px 1fr;gap:20px;align-items:center}
.lt-pair figure{margin:0}.lt-pair img{width:100%;border-radius:8px;display:block}
.lt-pair figcaption{color:var(--soft);font-size:13px}
.lt-said{margin:0 0 8px!important;padding:0!important}
.lt-said li{list-style:none!important;padding:5px 0;margin:0!important;overflow-wrap:anywhere;
border-bottom:1px solid var(--line)}
.lt-said mark{background:linear-gradient(rgb(255 196 0/var(--weight)) 0 0) #fff3c4;
color:#1d2433!important;
border-radius:4px;padding:0 2px}
@media (max-width:700px){.lt-stack{flex-direction:column!important;align-items:stretch!important}
.lt-stack>*{width:100%!important}.lt-wide svg{display:none!important}.lt-bars svg{width:96px}}
"""


def whole_page(title: str, body: str, css: str) -> str:
    """A page of its own: pictures lie inside it, and links to other latents lead nowhere."""
    body = re.sub(r'<a href="[^"]*">(.*?)</a>', r"\1", body)
    frame = (
        "body{font-family:system-ui,sans-serif;max-width:1100px;margin:24px auto;padding:0 16px;"
    )
    frame += "background:var(--page);color:var(--ink)}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{css}{STYLE}{frame}</style>'
        f"</head><body>{body}</body></html>"
    )


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def interval(value: float, low: float, high: float, band: tuple[float, float] | None = None) -> str:
    """A score on a line from 0 (text) to 1 (image) with its interval, and the null's band."""
    if math.isnan(value):
        return '<span class="lt-soft">cannot be told</span>'
    at = [6 + 108 * min(max(x, 0.0), 1.0) for x in (value, low, high)]
    shade = ""
    if band is not None and not math.isnan(band[0]):
        left, right = (6 + 108 * min(max(x, 0.0), 1.0) for x in band)
        # A narrow one is still to be seen.
        width = max(right - left, 4.0)
        left = (left + right - width) / 2
        shade = f'<rect x="{left:.1f}" y="3" width="{width:.1f}" height="14" fill="var(--line)"/>'
    told = f"{value:.2f}, interval {low:.2f} to {high:.2f}"
    return (
        f'<svg width="120" height="20" viewBox="0 0 120 20" role="img" aria-label="{told}">{shade}'
        '<line x1="6" y1="10" x2="114" y2="10" stroke="var(--line)"/>'
        f'<line x1="{at[1]:.1f}" y1="10" x2="{at[2]:.1f}" y2="10" stroke="var(--ink)" '
        'stroke-width="3"/>'
        f'<circle cx="{at[0]:.1f}" cy="10" r="4" fill="var(--accent)"/></svg>'
    )


def histogram(edges: Sequence[float], images: Sequence[int], captions: Sequence[int]) -> str:
    """Activations above 0 of both sides in one drawing, images upward and captions downward."""
    most = max([*images, *captions, 1])
    step = 260 / max(len(images), 1)
    bars = []
    for i, (up, down) in enumerate(zip(images, captions, strict=True)):
        # Square roots, so that few among many are seen.
        for count, colour, upward in ((up, "ImgD", True), (down, "TextD", False)):
            height = 44 * (count / most) ** 0.5
            y = 50 - height if upward else 54
            bars.append(
                f'<rect class="class-{colour}" fill="var(--class)" x="{i * step:.1f}" y="{y:.1f}" '
                f'width="{max(step - 1, 1):.1f}" height="{height:.1f}"/>'
            )
    told = f"Activations up to {edges[-1]:.2f}: images above the line, captions below"
    return (
        f'<svg viewBox="0 0 260 104" width="100%" style="max-width:340px" role="img" '
        f'aria-label="{told}">{"".join(bars)}'
        '<line x1="0" y1="52" x2="260" y2="52" stroke="var(--soft)"/></svg>'
        f'<div class="lt-soft">activation from 0 to {edges[-1]:.2f}; images above, captions below '
        "(square roots of counts)</div>"
    )


def contributions(rows: Iterable[tuple[str, float]]) -> str:
    """Bars to the right for what adds to a similarity, to the left for what takes from it."""
    rows = list(rows)
    most = max([abs(value) for _, value in rows] + [1e-9])
    lines = [
        f"<tr><th scope='row'>{label}</th><td>{value:+.3f}</td><td>{_bar(value / most)}</td></tr>"
        for label, value in rows
    ]
    return f'<table class="lt-bars">{"".join(lines)}</table>'


def change(old: float, new: float) -> str:
    """How far a similarity moved, with a bar that is full at a tenth."""
    # Of what is shown beside it, so that the line adds up.
    moved = round(new, 3) - round(old, 3)
    return f'<span class="lt-scored">{moved:+.3f} {_bar(max(-1.0, min(10 * moved, 1.0)))}</span>'


def _bar(share: float) -> str:
    """A bar to the right or, below 0, to the left; -1 to 1."""
    width = 90 * abs(share)
    x = 92 if share >= 0 else 92 - width
    colour = "var(--accent)" if share >= 0 else "var(--soft)"
    return (
        '<svg width="184" height="14" viewBox="0 0 184 14" aria-hidden="true">'
        '<line x1="92" x2="92" y1="0" y2="14" stroke="var(--line)"/>'
        f'<rect x="{x:.1f}" y="2" width="{width:.1f}" height="10" '
        f'fill="{colour}"/></svg>'
    )


def heated(image: Image, codes: np.ndarray) -> Image:
    """Lay where a latent fires over a picture: the stronger, the more of it is yellow."""
    from PIL import Image as pil

    base = image.convert("RGB")
    strength = codes / codes.max() if codes.max() > 0 else codes
    mask = pil.fromarray((strength * 190).astype(np.uint8))
    mask = mask.resize(base.size, pil.Resampling.BILINEAR)
    dimmed = pil.blend(base, pil.new("RGB", base.size, "black"), 0.35)
    return pil.composite(pil.new("RGB", base.size, (255, 214, 0)), dimmed, mask)


def marked(caption: str, weights: Iterable[tuple[int, int, float]]) -> str:
    """A caption with its words marked by how much they carry."""
    weights = list(weights)
    most = max([fall for *_, fall in weights] + [1e-9])
    parts, at = [], 0
    for start, stop, fall in weights:
        parts.append(escape(caption[at:start]))
        word, share = escape(caption[start:stop]), fall / most
        parts.append(f'<mark style="--weight:{share:.2f}">{word}</mark>' if share > 0.15 else word)
        at = stop
    return "".join(parts) + escape(caption[at:])
