"""Pieces of HTML: tables, and the style sheet of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mm_sae_plugin.demos.common.pieces import dot

STACK = "bd-stack"
"""Class of a row whose parts stand below each other on a narrow screen."""
STYLE = """
.bd-two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,360px),1fr));gap:24px}
.bd-two>*{min-width:0}
.bd-level{row-gap:0}.bd-level>*{display:grid;grid-template-rows:subgrid;align-content:start}
.bd-note{border-left:4px solid var(--accent);background:var(--band);border-radius:0 8px 8px 0;
padding:10px 16px;margin:8px 0}
.bd-note :is(p,li){max-width:90ch}.bd-note p{margin:4px 0}
.bd-soft,.bd-soft p{color:var(--soft)!important;font-size:13px!important}
.bd-part{margin:0 0 8px}.bd-part details{margin:8px 0}.bd-part summary{cursor:pointer}
.bd-part h3{margin:18px 0 6px!important}.bd-part h4{margin:12px 0 6px!important}
.bd-verdict{border:1px solid var(--line);border-radius:8px;padding:10px 14px;background:var(--card)}
.bd-verdict b{display:block;margin:0 0 4px}.bd-verdict p{margin:4px 0!important}
.bd-figure{display:block;width:100%;max-width:480px;height:auto}
.bd-figure text{font-size:13px;fill:var(--soft);font-family:inherit}
.bd-figure .strong{fill:var(--ink);paint-order:stroke;stroke:var(--page);stroke-width:4px}
.bd-figure .axis{stroke:var(--faint)}
.bd-figure .whole{stroke:var(--ink);stroke-dasharray:4 3}
.bd-figure .meaningless{fill:var(--band);stroke:var(--faint);stroke-dasharray:2 3}
.bd-figure .chance{fill:var(--soft);opacity:.35}
.bd-figure .interval{stroke:var(--ink);stroke-width:2}
.bd-figure .filled{fill:var(--accent);stroke:var(--accent);stroke-width:2}
.bd-figure .hollow{fill:var(--card);stroke:var(--accent);stroke-width:2}
.bd-figure .random{stroke:var(--ink);stroke-width:1;opacity:.55}
.bd-figure .move{stroke:var(--accent);stroke-width:2}
.bd-key{display:inline-block!important;width:22px!important;height:12px;vertical-align:-1px;
margin-right:4px}
.bd-table{border-collapse:collapse!important;border:0!important;width:100%;max-width:640px}
.bd-table :is(td,th,tr){border:0!important;background:none!important}
.bd-table :is(td,th){padding:3px 12px 3px 0!important;text-align:left!important;
font-weight:400!important;vertical-align:top;font-variant-numeric:tabular-nums}
.bd-table [scope=col]{color:var(--soft);vertical-align:bottom}
.bd-table tr{border-bottom:1px solid var(--line)!important}
.bd-wide{max-width:none}.bd-scroll{overflow-x:auto}
.bd-class{white-space:nowrap}
.bd-worse{font-weight:650!important}
.bd-twins{display:grid;grid-template-columns:repeat(2,minmax(0,240px));gap:16px}
.bd-twins figure{margin:0}.bd-twins img{width:100%;border-radius:8px;display:block}
.bd-twins figcaption{color:var(--soft);font-size:14px;margin-top:4px}
.bd-grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(72px,1fr));gap:10px}
.bd-grid figure{margin:0}.bd-grid img{width:100%;border-radius:8px;display:block}
.bd-grid figcaption{color:var(--soft);font-size:13px}
.bd-said{margin:0!important;padding:0!important}
.bd-said li{list-style:none!important;margin:0!important;padding:3px 0;overflow-wrap:anywhere;
border-bottom:1px solid var(--line)}
@media (max-width:700px){.bd-stack{flex-direction:column!important;align-items:stretch!important}
.bd-stack>*{width:100%!important}
.bd-figure text{font-size:14px}
.bd-table :is(td,th){padding-right:7px!important;font-size:13px}}
"""


def class_dot(name: str) -> str:
    """A class with its colour, in one line."""
    return f'<span class="bd-class">{dot(name)}</span>'


def part(title: str, *content: str) -> str:
    """A section with a heading."""
    return f'<section class="bd-part"><h3>{escape(title)}</h3>{"".join(content)}</section>'


def soft(sentence: str) -> str:
    """A sentence of less weight; it is HTML already."""
    return f'<p class="bd-soft">{sentence}</p>'


def side_by_side(parts: Iterable[str]) -> str:
    """Parts beside each other, or below each other on a narrow screen."""
    return f'<div class="bd-two">{"".join(f"<div>{one}</div>" for one in parts)}</div>'


def level(columns: Iterable[Sequence[str]]) -> str:
    """Columns of pieces beside each other, each piece at the height of those beside it."""
    laid = "".join(
        f'<div style="grid-row:span {len(pieces)}">{"".join(f"<div>{one}</div>" for one in pieces)}'
        "</div>"
        for pieces in columns
    )
    return f'<div class="bd-two bd-level">{laid}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], wide: bool = False) -> str:
    """A table of cells that are HTML already; the first of each row is its heading."""
    head = "".join(f"<th scope='col'>{escape(name)}</th>" for name in heads)
    lines = [
        f"<tr><th scope='row'>{first}</th>{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    ]
    kind = "bd-table bd-wide" if wide else "bd-table"
    whole = f'<table class="{kind}"><tr>{head}</tr>{"".join(lines)}</table>'
    return f'<div class="bd-scroll">{whole}</div>'


def details(summary: str, content: str) -> str:
    """What is folded away until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


def sentence(told: str) -> str:
    """What the page has to say of itself."""
    return f'<div role="status">{escape(told)}</div>' if told else ""
