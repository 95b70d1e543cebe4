from .activations import (
    ActivationStore as ActivationStore,
    ExtractConfig as ExtractConfig,
    extract as extract,
    extract_several as extract_several,
)
from .errors import UserError as UserError
from .factorworld import FACTORS as FACTORS, FactorWorld as FactorWorld
from .features import SAEFeatureMap as SAEFeatureMap
from .interventions import FeatureEdit as FeatureEdit, edited as edited, steer as steer
from .models import HookedCLIP as HookedCLIP, load_model as load_model
from .pairs import load_pairs as load_pairs
from .saes import load_sae as load_sae
from .stats import (
    ModalityDominance as ModalityDominance,
    ModalityStatistics as ModalityStatistics,
    compute_modality as compute_modality,
)
from .study import Study as Study
from .training import (
    MultimodalSAERunnerConfig as MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner as MultimodalSAETrainingRunner,
)
