from .activations import (
    ActivationStore as ActivationStore,
)
from .activations import (
    ExtractConfig as ExtractConfig,
)
from .activations import (
    extract as extract,
)
from .errors import UserError as UserError
from .factorworld import FACTORS as FACTORS
from .factorworld import FactorWorld as FactorWorld
from .features import SAEFeatureMap as SAEFeatureMap
from .models import HookedCLIP as HookedCLIP
from .models import load_model as load_model
from .pairs import load_pairs as load_pairs
from .saes import load_sae as load_sae
from .stats import (
    ModalityDominance as ModalityDominance,
)
from .stats import (
    ModalityStatistics as ModalityStatistics,
)
from .stats import (
    compute_modality as compute_modality,
)
from .training import (
    MultimodalSAERunnerConfig as MultimodalSAERunnerConfig,
)
from .training import (
    MultimodalSAETrainingRunner as MultimodalSAETrainingRunner,
)
