"""The look of all demos, which is the report's: its colours are read from its style sheet."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from mm_sae_plugin.report.palette import COLOURS

if TYPE_CHECKING:
    from gradio.themes import Base

ASK = "ask"
"""Class of a row of a field and the button that sends it."""
SIGNED = "signed"
"""Class of a slider from below 0 to above it, which is filled from 0 on."""
# Names of fonts that are there, so that none is fetched.
_FONT = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Arial",
    "sans-serif",
)
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


@cache
def report_colours() -> tuple[dict[str, str], dict[str, str]]:
    """Return the report's named colours (``ink``, ``card``, ``accent``, …), light and dark."""
    sheet = files("mm_sae_plugin.report").joinpath("templates/report.css").read_text("utf-8")
    light, dark = re.findall(r":root\{(.*?)\}", sheet, re.DOTALL)[:2]
    named = [dict(re.findall(r"--([\w-]+):\s*(#\w+)", block)) for block in (light, dark)]
    return named[0], named[0] | named[1]


def css() -> str:
    """Style sheet of every demo: the report's names for colours, and what Gradio leaves open."""
    light, dark = (
        ";".join(f"--{name}:{colour}" for name, colour in named.items())
        for named in report_colours()
    )
    classes = "".join(f".class-{name}{{--class:{colour}}}" for name, colour in COLOURS.items())
    return f":root{{{light}}}.dark{{{dark}}}{classes}{_RULES}"


def theme() -> Base:
    """Gradio's theme in the report's colours, in the light and in the dark."""
    from gradio.themes import Base

    chosen = Base(font=_FONT, font_mono=_MONO, radius_size="lg")
    return chosen.set(
        **_both("body_background_fill", "page"),
        **_both("body_text_color", "ink"),
        **_both("body_text_color_subdued", "soft"),
        **_both("background_fill_primary", "card"),
        **_both("background_fill_secondary", "band"),
        **_both("border_color_primary", "line"),
        **_both("border_color_accent", "accent"),
        **_both("color_accent_soft", "band"),
        **_both("link_text_color", "accent"),
        **_both("link_text_color_hover", "accent"),
        **_both("link_text_color_visited", "accent"),
        **_both("link_text_color_active", "accent"),
        **_both("block_background_fill", "card"),
        **_both("block_border_color", "line"),
        **_both("block_label_background_fill", "card"),
        **_both("block_label_text_color", "soft"),
        **_both("block_title_text_color", "soft"),
        **_both("block_info_text_color", "soft"),
        **_both("input_background_fill", "card"),
        **_both("input_border_color", "faint"),
        **_both("input_border_color_focus", "accent"),
        **_both("input_placeholder_color", "soft"),
        **_both("table_border_color", "line"),
        **_both("table_even_background_fill", "card"),
        **_both("table_odd_background_fill", "card"),
        **_both("table_row_focus", "band"),
        **_both("table_text_color", "ink"),
        **_both("slider_color", "accent"),
        **_both("loader_color", "accent"),
        **_both("button_primary_background_fill", "accent"),
        **_both("button_primary_background_fill_hover", "accent"),
        **_both("button_primary_text_color", "card"),
        **_both("button_primary_border_color", "accent"),
        **_both("button_primary_border_color_hover", "accent"),
        **_both("button_secondary_background_fill", "band"),
        **_both("button_secondary_background_fill_hover", "line"),
        **_both("button_secondary_text_color", "ink"),
        **_both("checkbox_background_color_selected", "accent"),
        **_both("code_background_fill", "band"),
        color_accent="*link_text_color",
        input_border_width="1px",
    )


def _both(setting: str, colour: str) -> dict[str, str]:
    light, dark = report_colours()
    return {setting: light[colour], f"{setting}_dark": dark[colour]}


_RULES = """
.gradio-container{width:100%;min-width:0!important;max-width:1120px!important;
margin:0 auto!important}
.gradio-container :is(.main,.wrap,.contain,.column){min-width:0!important}
.gradio-container :focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.gradio-container :is(table,[role=grid],[role=gridcell],[role=gridcell] *){
font-family:var(--font)!important;font-variant-numeric:tabular-nums}
.gradio-container h1{font-size:32px;line-height:1.2;letter-spacing:-.015em;overflow-wrap:anywhere}
.gradio-container .prose p{max-width:76ch}
.gradio-container .wrap:has(>.error){display:none!important}
.gradio-container .ask{align-items:flex-end!important}
.gradio-container .html-container{padding:0!important}
.gradio-container ::-webkit-slider-runnable-track{background:linear-gradient(90deg,
var(--accent) var(--range_progress),var(--line) 0)!important}
.gradio-container ::-moz-range-track{background:var(--line)!important}
.gradio-container .signed ::-webkit-slider-runnable-track{background:linear-gradient(90deg,
var(--line) min(50%,var(--range_progress)),var(--accent) 0 max(50%,var(--range_progress)),
var(--line) 0)!important}
.signed ::-moz-range-progress{background:none!important}
.toast-messages>:not(:last-child),.toast-count{display:none!important}
.gradio-container .image-frame img{width:100%;height:100%;object-fit:contain}
.class-dot{display:inline-block;width:11px;height:11px;border-radius:50%;background:var(--class)}
@media (max-width:700px){.gradio-container h1{font-size:27px}}
@media (prefers-reduced-motion:reduce){*{animation-duration:.01ms!important;
transition-duration:.01ms!important}}
"""
