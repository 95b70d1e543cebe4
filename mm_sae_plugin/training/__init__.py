"""Training a shared SAE on paired activations with SAELens' own trainer.

The names are resolved on first use, so that importing the config costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_sae_plugin.training.config import MultimodalSAERunnerConfig
    from mm_sae_plugin.training.evaluation import PerModalityEvaluation, evaluate_per_modality
    from mm_sae_plugin.training.runner import MultimodalSAETrainingRunner, TrainingResult

_HOMES = {
    "MultimodalSAERunnerConfig": "config",
    "MultimodalSAETrainingRunner": "runner",
    "PerModalityEvaluation": "evaluation",
    "TrainingResult": "runner",
    "evaluate_per_modality": "evaluation",
}

__all__ = [
    "MultimodalSAERunnerConfig",
    "MultimodalSAETrainingRunner",
    "PerModalityEvaluation",
    "TrainingResult",
    "evaluate_per_modality",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
