"""Everything that decides a training, in one frozen dataclass; imports nothing heavy."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Suppress, arg

from mm_sae_plugin.errors import UserError, check_numbers

DEFAULT_STEPS = 1500
CHECKPOINTS_FOLDER = "checkpoints"
# What SAELens can save an SAE in.
DTYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class MultimodalSAERunnerConfig:
    """Train an SAE on a store of activations with SAELens' own trainer.

    Names are those of SAELens' ``LanguageModelSAERunnerConfig`` and ``SAETrainerConfig`` where
    the thing is the same.
    """

    acts: Path | None = None
    """Folder of the activation store; left out when activations are given in memory."""
    out: Path | None = None
    """Folder to write the SAE into; without it nothing is written."""
    architecture: Annotated[str, arg(aliases=("--arch",))] = "topk"
    """topk, batchtopk, sparse_topk, sparse_batchtopk (the same SAEs, trained several times as fast
    where d_sae is large), aligned_topk and group_topk (topk with a loss on the codes of a pair, so
    that fewer concepts are split by side), matryoshka_batchtopk, jumprelu, standard, gated,
    abstopk, matching_pursuit, or another name in SAELens' registry of training classes."""
    d_sae: int = 256
    """Number of latents."""
    k: int = 16
    """Active latents per row, exact or on average; standard and gated SAEs use the coefficient."""
    sparsity_coefficient: float | None = None
    """L1 coefficient (standard, gated) or L0 coefficient (jumprelu) for activations of norm
    sqrt(d_in), rescaled to the activations at hand; None takes the default."""
    pair_coefficient: float | None = None
    """Weight of the loss on pairs (aligned_topk, group_topk) for activations of norm 1, rescaled to
    the activations at hand; None takes the default."""
    training_steps: int | None = None
    """Optimiser steps. None: 1,500, or as many as it takes to see every pair twice."""
    training_pairs: int | None = None
    """Pairs to show in all, repetitions counted (rows, for one tower); instead of steps."""
    train_batch_size_samples: int = 512
    """Rows of a batch; for pairs, half of them images and half their captions."""
    lr: float = 3e-3
    """Learning rate of Adam after the warm-up."""
    lr_end: float | None = None
    """Learning rate before the final decay for cosine schedules; None: a tenth of lr."""
    lr_scheduler_name: str = "constant"
    """constant, cosineannealing or cosineannealingwarmrestarts."""
    lr_warm_up_steps: int | None = None
    """Steps of linear warm-up; None: a twentieth of the training."""
    lr_decay_steps: int | None = None
    """Steps of linear decay to zero at the end; None: a third of the training."""
    adam_beta1: float = 0.9
    """Decay of Adam's first moment."""
    adam_beta2: float = 0.999
    """Decay of Adam's second moment."""
    dead_feature_window: int | None = None
    """Steps without firing after which the auxiliary loss revives a latent; None: a tenth of the
    training, from 10 to 1,000. Much shorter windows kill more latents than they revive."""
    max_memory_gb: float | None = None
    """Memory that the activations of a store may take, in 10^9 bytes, beside the SAE and the
    libraries. A store that fits is read whole; a larger one is streamed in shuffled chunks, each a
    sample of the whole store. None: half of the machine's memory for a store read whole, and 2
    where it does not fit. It decides the order of the batches of a store that is streamed. Several
    seeds trained together take it once each."""
    normalize: str = "none"
    """none, per_modality_scale, per_modality_center or per_modality_center_scale; measured once,
    saved beside the SAE and reused whenever it is loaded."""
    seed: int = 0
    """Seed of the weights, of the order of the pairs, and of the masks of group_topk."""
    device: str = "cpu"
    """Where the SAE is trained."""
    dtype: str = "float32"
    """Type of the SAE's weights: float32, float64, bfloat16 or float16. In float16 Adam diverges at
    common learning rates, which stops the training."""
    autocast: bool = False
    """Run the SAE in bfloat16 autocast."""
    n_checkpoints: int = 0
    """Checkpoints to keep, evenly spread; an interrupted training saves one whatever it says."""
    checkpoint_path: Path | None = None
    """Folder of the checkpoints; None: a folder `checkpoints` in `out`."""
    resume: bool = False
    """Continue from the newest checkpoint, with the same weights as if never interrupted."""
    overwrite: bool = False
    """Replace an SAE that `out` already holds, or give up checkpoints of an earlier training."""
    process_timeout: float = 600.0
    """Seconds that a training by several processes (torchrun) waits for one that is silent."""
    logger: Suppress[Any] = None
    """A sae_lens LoggingConfig; None logs nowhere."""
    sae: Suppress[Any] = None
    """A ready sae_lens training config; replaces architecture, d_sae, k and the coefficients."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.training_steps is not None and self.training_pairs is not None:
            raise UserError("Give training_steps or training_pairs, not both.")
        for name in ("d_sae", "k", "train_batch_size_samples", "training_steps", "training_pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1; got {value}.")
        if self.max_memory_gb is not None and not 0 < self.max_memory_gb < math.inf:
            raise UserError(f"max_memory_gb must be above 0; got {self.max_memory_gb}.")
        if self.dtype.removeprefix("torch.") not in DTYPES:
            raise UserError(f"Unknown dtype {self.dtype!r}: choose one of {', '.join(DTYPES)}.")
        if not self.lr > 0:
            raise UserError(f"lr must be above 0; got {self.lr}.")
        if not self.process_timeout > 0:
            raise UserError(f"process_timeout must be above 0; got {self.process_timeout}.")
        if self.n_checkpoints < 0:
            raise UserError(f"n_checkpoints must be 0 or more; got {self.n_checkpoints}.")
        if self.n_checkpoints and self.checkpoints is None:
            raise UserError("Checkpoints need a place: give out or checkpoint_path.")

    @property
    def checkpoints(self) -> Path | None:
        """Folder of the checkpoints, if there is one."""
        if self.checkpoint_path is not None:
            return Path(self.checkpoint_path)
        return None if self.out is None else Path(self.out) / CHECKPOINTS_FOLDER

    def n_steps(self, n_items: int, items_per_batch: int) -> int:
        """Optimiser steps for a data set of ``n_items`` pairs (or rows, for one tower)."""
        if self.training_steps is not None:
            return self.training_steps
        if self.training_pairs is not None:
            return -(-self.training_pairs // items_per_batch)
        return max(DEFAULT_STEPS, -(-2 * n_items // items_per_batch))
