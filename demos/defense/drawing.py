"""Pieces of HTML: pictures, tables, progress, and the style sheet of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from mm_sae_plugin.demos.common.pieces import picture

if TYPE_CHECKING:
    from PIL.Image import Image

STACK = "df-stack"
"""Class of the row of the page's parts, which stand below each other on a narrow screen."""
_SIDE = 192
"""Pixels of a picture on the page at most."""
STYLE = """
.df-stack{display:grid!important;grid-template:"ask show"/minmax(0,5fr) minmax(0,8fr);
gap:16px 28px!important;align-items:start!important}
.df-ask{grid-area:ask}.df-show{grid-area:show}
.df-soft,.df-soft p{color:var(--soft)!important;font-size:13px!important}
.df-part details{margin:8px 0}.df-part summary{cursor:pointer}
.df-part h3{margin:18px 0 6px!important}.df-part h4{margin:12px 0 6px!important}
.df-pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(116px,1fr));gap:12px}
.df-pictures figure{margin:0}
.df-pictures img{width:100%;border-radius:8px;display:block;image-rendering:pixelated;
background:var(--band)}
.df-pictures figcaption{color:var(--soft);font-size:13px;margin-top:4px;overflow-wrap:anywhere}
.df-verdict{border-left:4px solid var(--accent);background:var(--band);border-radius:0 8px 8px 0;
padding:10px 16px;margin:12px 0}
.df-verdict p{margin:4px 0!important}
.df-two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:24px}
.df-two>*{min-width:0}
.df-figure{display:block;width:100%;max-width:440px;height:auto}
.df-figure text{font-size:13px;fill:var(--soft);font-family:inherit}
.df-figure .strong{fill:var(--ink);font-weight:650}
.df-figure .axis{stroke:var(--line)}
.df-figure .hollow{fill:var(--card);stroke:var(--soft);stroke-width:2}
.df-figure .static{fill:var(--soft);stroke:var(--soft)}
.df-figure .filled{fill:var(--accent);stroke:var(--accent)}
.df-figure .static-line{fill:none;stroke:var(--soft);stroke-width:2;stroke-dasharray:5 4}
.df-figure .adaptive-line{fill:none;stroke:var(--accent);stroke-width:2.5}
.df-figure .interval{stroke:var(--accent);stroke-width:1.5}
.df-figure .bare-line{fill:none;stroke:var(--faint);stroke-width:1.5}
.df-grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(240px,1fr));gap:8px 20px}
.df-grid h4{margin:8px 0 0!important}
.df-key{display:flex;flex-wrap:wrap;gap:4px 20px;color:var(--soft);font-size:13px;margin:4px 0}
.df-key svg{display:inline-block!important;width:26px!important;height:12px;vertical-align:-1px;
margin-right:5px}
.df-table{border-collapse:collapse!important;border:0!important;width:100%}
.df-table :is(td,th,tr){border:0!important;background:none!important}
.df-table :is(td,th){padding:4px 12px 4px 0!important;text-align:left!important;
font-weight:400!important;vertical-align:top;font-variant-numeric:tabular-nums}
.df-table [scope=col]{color:var(--soft);vertical-align:bottom}
.df-table tr{border-bottom:1px solid var(--line)!important}
.df-table .df-chosen th{font-weight:650!important}
.df-scroll{overflow-x:auto}
.df-wrong{color:#b3261e!important;font-weight:650}
.dark .df-wrong{color:#ff9c8f!important}
.df-true{display:block}
.df-class{white-space:nowrap}
.df-tests{margin:0!important;padding:0!important}
.df-tests li{list-style:none!important;margin:0!important;padding:4px 0;
border-bottom:1px solid var(--line);max-width:90ch}
.df-progress{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:center;min-height:28px}
.df-progress progress{appearance:none;width:180px;height:10px;flex:none;border:0;
border-radius:5px;overflow:hidden;background:var(--line)}
.df-progress ::-webkit-progress-bar{background:var(--line)}
.df-progress ::-webkit-progress-value{background:var(--accent)}
.df-progress ::-moz-progress-bar{background:var(--accent)}
.df-cards{height:auto!important}
.df-cards :is(.gallery-container,.grid-wrap){height:auto!important;min-height:0!important;
overflow:visible!important}
.df-cards .grid-container{grid-template-columns:repeat(6,1fr)!important;gap:8px!important;
padding:36px 8px 8px!important;height:auto!important;
grid-template-rows:auto!important;grid-auto-rows:auto!important}
.df-cards .thumbnail-item{width:100%!important;height:auto!important;aspect-ratio:1}
.df-cards .caption-label{display:none}
@media (max-width:700px){.df-stack{grid-template:"ask" "show"/minmax(0,1fr)}
.df-pictures{grid-template-columns:repeat(2,minmax(0,1fr))}
.df-pictures figure:first-child{grid-column:1/-1;width:calc(50% - 6px)}
.df-table :is(td,th){padding-right:7px!important;font-size:13px}}
"""


def part(title: str, *content: str) -> str:
    """A section with a heading."""
    return f'<section class="df-part"><h3>{escape(title)}</h3>{"".join(content)}</section>'


def soft(sentence: str) -> str:
    """A sentence of less weight; it is HTML already."""
    return f'<p class="df-soft">{sentence}</p>'


def side_by_side(parts: Iterable[str]) -> str:
    """Parts beside each other, or below each other on a narrow screen."""
    return f'<div class="df-two">{"".join(f"<div>{one}</div>" for one in parts)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], chosen: int | None = None) -> str:
    """A table of cells that are HTML already; the first of each row is its heading."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in heads)
    lines = [
        f"<tr{' class=df-chosen' if row == chosen else ''}><th scope='row'>{first}</th>"
        f"{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"
        for row, (first, *rest) in enumerate(rows)
    ]
    whole = f'<table class="df-table"><tr>{head}</tr>{"".join(lines)}</table>'
    return f'<div class="df-scroll">{whole}</div>'


def details(summary: str, content: str) -> str:
    """What is folded away until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def pictures(shown: Iterable[tuple[Image, str, str]]) -> str:
    """Small pictures, each with its alternative text and a line below it."""
    drawn = [picture(_enlarged(image), alt, told, _SIDE) for image, alt, told in shown]
    return f'<div class="df-pictures">{"".join(drawn)}</div>'


def signed(value: float) -> str:
    """A number with its sign."""
    return f"{value:+.2f}".replace("-", "−")


def progress(told: str, n_begun: int, n_steps: int) -> str:
    """How far an attack is."""
    return (
        f'<div class="df-progress"><progress max="{n_steps}" value="{n_begun}" '
        f'aria-label="{escape(told)}"></progress><span>{escape(told)}: step {n_begun} of {n_steps}'
        "</span></div>"
    )


def sentence(told: str) -> str:
    """A line in place of the progress."""
    return f'<div class="df-progress" role="status">{escape(told)}</div>' if told else ""


def _enlarged(image: Image) -> Image:
    """The same pixels, larger: browsers would blur what an attack changed."""
    factor = max(1, _SIDE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), resample=0)
