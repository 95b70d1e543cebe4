"""SAELens' trainer, watched: a training that diverges stops, and nothing of it is saved."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainingSAEConfig, TrainStepOutput
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.errors import UserError, one_line

# Reading a value makes the host wait for an accelerator; once in so many steps costs nothing.
STEPS_PER_CHECK = 100
# Times the activations' own square: no reconstruction that is being learnt is so far off.
_ABSURD_ERROR = 1e6
_NEVER = torch.iinfo(torch.int64).max


@contextmanager
def plain_dtype_errors(sae_cfg: TrainingSAEConfig) -> Iterator[None]:
    """Turn what PyTorch says of an architecture that does not know its own dtype into a sentence.

    Raises
    ------
    UserError
        If the block fails for that.
    """
    try:
        yield
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        raise UserError(
            f"SAELens' {sae_cfg.architecture()} cannot be trained in {sae_cfg.dtype} "
            f"({one_line(error)}): train in float32."
        ) from error


class WatchedTrainer(SAETrainer[Any, Any]):
    """A ``SAETrainer`` that takes the same steps and refuses to go on when they lead nowhere.

    It looks every ``STEPS_PER_CHECK`` steps, before every checkpoint, and whenever it is asked to
    by :meth:`check`.
    """

    cfg: SAETrainerConfig

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._first_not_finite = torch.tensor(_NEVER, device=self.cfg.device)
        self._last: TrainStepOutput | None = None

    def step(self, batch: Tensor) -> TrainStepOutput:
        """Take one step; every so often look at where it led.

        Raises
        ------
        UserError
            If the training has diverged.
        """
        output = self._last = super().step(batch)
        step = self.n_training_steps + 1
        is_finite = output.loss.detach().isfinite().to(self._first_not_finite.device)
        at = torch.where(is_finite, _NEVER, step)
        self._first_not_finite = torch.minimum(self._first_not_finite, at)
        if step % STEPS_PER_CHECK == 0:
            self.check()
        return output

    def save_checkpoint(
        self,
        checkpoint_name: str,
        base_path: Path | str | None = None,
        wandb_aliases: list[str] | None = None,
    ) -> None:
        """Save a checkpoint as SAELens does, in the place of an older one of that name.

        Raises
        ------
        UserError
            If the training has diverged.
        """
        self.check()
        base = self.cfg.checkpoint_path if base_path is None else base_path
        if base is not None:
            # Cut off between old and new files, it must not pass for a whole one.
            shutil.rmtree(Path(base) / checkpoint_name, ignore_errors=True)
        super().save_checkpoint(checkpoint_name, base_path, wandb_aliases)

    def go_on_alone(self) -> None:
        """Say nothing to other processes from here on; here there are none."""

    @torch.no_grad()
    def check(self) -> None:
        """Look at losses and weights so far.

        Raises
        ------
        UserError
            If a loss or a weight was not finite, or the reconstruction is out of all proportion.
        """
        what = self._what_is_wrong()
        if what is None:
            return
        dtype = self.sae.cfg.dtype
        half = "float16" in dtype and "bfloat16" not in dtype
        remedy = (
            "train in float32 or bfloat16 (dtype=…, --dtype)"
            if half
            else f"lower the learning rate (lr=…, --lr), which is {self.cfg.lr:g}"
        )
        raise UserError(
            f"The training has diverged: {what} of {self.cfg.total_training_steps}. No SAE is "
            f"saved of it: {remedy}, and train again."
        )

    def _what_is_wrong(self) -> str | None:
        first = int(self._first_not_finite)
        if first < _NEVER:
            return f"the loss is NaN or infinite from step {first}"
        now = self.n_training_samples // self.cfg.train_batch_size_samples
        for name, weights in self.sae.named_parameters():
            if not bool(weights.isfinite().all()):
                return f"{name} holds NaN or infinite values at step {now}"
        if self._last is None:
            return None
        # Half precision would overflow. In single precision only errors do that are wrong anyway,
        # and some accelerators have no double.
        acts = self._last.sae_in.float()
        error = (self._last.sae_out.float() - acts).square().mean()
        if bool(error > _ABSURD_ERROR * acts.square().mean()):
            return f"the reconstruction's error is {float(error):.0e} at step {now}"
        return None
