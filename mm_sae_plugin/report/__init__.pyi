from .evaluation import EvaluationFigures as EvaluationFigures
from .page import render_report as render_report
from .terminal import terminal_table as terminal_table
