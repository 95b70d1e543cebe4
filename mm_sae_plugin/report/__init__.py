"""What a person reads: one self-contained HTML page, and a table for the terminal."""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from mm_sae_plugin.report.evaluation import EvaluationFigures
    from mm_sae_plugin.report.page import render_report
    from mm_sae_plugin.report.terminal import terminal_table

_HOMES = {
    "EvaluationFigures": "mm_sae_plugin.report.evaluation",
    "render_report": "mm_sae_plugin.report.page",
    "terminal_table": "mm_sae_plugin.report.terminal",
}

__all__ = ["EvaluationFigures", "render_report", "terminal_table"]

__getattr__ = lazy_names(__name__, _HOMES)
