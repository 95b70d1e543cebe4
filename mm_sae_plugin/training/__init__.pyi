from .config import MultimodalSAERunnerConfig as MultimodalSAERunnerConfig
from .distributed import process_group as process_group
from .evaluation import evaluate_per_modality as evaluate_per_modality
from .fused_adam import use_fused_adam as use_fused_adam
from .ncl import NCLResult as NCLResult, train_ncl as train_ncl
from .ncl_config import NCLConfig as NCLConfig
from .runner import (
    MultimodalSAETrainingRunner as MultimodalSAETrainingRunner,
    TrainingResult as TrainingResult,
)
from .seeds import train_seeds as train_seeds
