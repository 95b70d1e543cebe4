"""What a person reads: one self-contained HTML page, and a table for the terminal."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.report.evaluation import EvaluationFigures
    from mm_sae_plugin.report.page import render_report
    from mm_sae_plugin.report.terminal import terminal_table

_HOMES = {"EvaluationFigures": "evaluation", "render_report": "page", "terminal_table": "terminal"}

__all__ = ["EvaluationFigures", "render_report", "terminal_table"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
