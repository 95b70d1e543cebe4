"""Training a shared SAE on paired activations with SAELens' own trainer.

The names are resolved on first use, so that importing the config costs nothing.
"""

from typing import TYPE_CHECKING

from mm_sae_plugin.lazy import lazy_names

if TYPE_CHECKING:
    from mm_sae_plugin.training.config import MultimodalSAERunnerConfig
    from mm_sae_plugin.training.evaluation import PerModalityEvaluation, evaluate_per_modality
    from mm_sae_plugin.training.fused_adam import use_fused_adam
    from mm_sae_plugin.training.runner import MultimodalSAETrainingRunner, TrainingResult

_HOMES = {
    "MultimodalSAERunnerConfig": "mm_sae_plugin.training.config",
    "MultimodalSAETrainingRunner": "mm_sae_plugin.training.runner",
    "PerModalityEvaluation": "mm_sae_plugin.training.evaluation",
    "TrainingResult": "mm_sae_plugin.training.runner",
    "evaluate_per_modality": "mm_sae_plugin.training.evaluation",
    "use_fused_adam": "mm_sae_plugin.training.fused_adam",
}

__all__ = [
    "MultimodalSAERunnerConfig",
    "MultimodalSAETrainingRunner",
    "PerModalityEvaluation",
    "TrainingResult",
    "evaluate_per_modality",
    "use_fused_adam",
]

__getattr__ = lazy_names(__name__, _HOMES)
