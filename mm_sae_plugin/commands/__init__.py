"""The verbs of ``mm-sae``, one file each.

A verb is a frozen dataclass whose fields are its options and whose ``run()`` does the work and
prints the outcome. Nothing heavy is imported before a verb runs.
"""

from typing import Protocol, runtime_checkable

from mm_sae_plugin.commands.align import AlignCommand
from mm_sae_plugin.commands.bias import BiasCommand
from mm_sae_plugin.commands.claims import ClaimsCommand
from mm_sae_plugin.commands.convert import ConvertCommand
from mm_sae_plugin.commands.demo import DemoCommand
from mm_sae_plugin.commands.evaluate import EvaluateCommand
from mm_sae_plugin.commands.explain import ExplainCommand
from mm_sae_plugin.commands.extract import ExtractCommand
from mm_sae_plugin.commands.hooks import HooksCommand
from mm_sae_plugin.commands.mds import MdsCommand
from mm_sae_plugin.commands.push import PushCommand
from mm_sae_plugin.commands.quickstart import QuickstartCommand
from mm_sae_plugin.commands.report import ReportCommand
from mm_sae_plugin.commands.robustness import RobustnessCommand
from mm_sae_plugin.commands.steering_eval import SteeringEvalCommand
from mm_sae_plugin.commands.steering_sweep import SteeringSweepCommand
from mm_sae_plugin.commands.train import TrainCommand
from mm_sae_plugin.commands.truth import TruthCommand
from mm_sae_plugin.commands.world import WorldCommand


@runtime_checkable
class Verb(Protocol):
    """What the command line asks of each verb."""

    def run(self) -> None:
        """Do the work and print the outcome."""
        ...


VERBS: dict[str, type[Verb]] = {
    "quickstart": QuickstartCommand,
    "world": WorldCommand,
    "hooks": HooksCommand,
    "extract": ExtractCommand,
    "train": TrainCommand,
    "mds": MdsCommand,
    "report": ReportCommand,
    "explain": ExplainCommand,
    "truth": TruthCommand,
    "evaluate": EvaluateCommand,
    "bias": BiasCommand,
    "steering-sweep": SteeringSweepCommand,
    "steering-eval": SteeringEvalCommand,
    "align": AlignCommand,
    "robustness": RobustnessCommand,
    "claims": ClaimsCommand,
    "convert": ConvertCommand,
    "push": PushCommand,
    "demo": DemoCommand,
}
"""Name on the command line to the verb, in the order of ``--help``."""
