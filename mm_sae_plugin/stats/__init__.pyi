from .accumulator import ModalityStatistics as ModalityStatistics
from .compute import compute_modality as compute_modality
from .config import ModalityConfig as ModalityConfig
from .dominance import ModalityDominance as ModalityDominance
from .examples import (
    ExampleRows as ExampleRows,
    TopExamples as TopExamples,
    top_examples as top_examples,
)
from .gap import modality_gap_cosine as modality_gap_cosine
from .nulls import SwapNull as SwapNull, swap_null as swap_null
from .passes import Reading as Reading, run_pass as run_pass
from .reconstruction import (
    EvaluationSums as EvaluationSums,
    PerModalityEvaluation as PerModalityEvaluation,
)
from .truth import (
    TruthCheck as TruthCheck,
    TruthSums as TruthSums,
    check_sums as check_sums,
    truth_check as truth_check,
)
