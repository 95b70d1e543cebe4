"""SAELens' trainer for one of several processes: it steps on its rows as if it had them all.

Every process has the whole of every batch before it and takes its own rows, so that what SAELens
measures on batches is the same everywhere. PyTorch's ``DistributedDataParallel`` averages the
gradients, before SAELens clips them; losses are means over rows, so that the average is the
gradient of the whole batch. Firings are counted over all rows, and so all processes take the same
latents for dead. Weights and Adam's moments are then the same in all processes, and what the first
one saves is the SAE.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from sae_lens import (
    BatchTopKTrainingSAE,
    GatedTrainingSAE,
    JumpReLUTrainingSAE,
    MatchingPursuitTrainingSAE,
    MatryoshkaBatchTopKTrainingSAE,
    StandardTrainingSAE,
    TopKTrainingSAE,
    TrainingSAE,
)
from sae_lens.saes.abstopk_sae import AbsTopKTrainingSAE
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mm_sae_plugin.activations.provider import ActivationBatches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.aligned import AlignedTopKTrainingSAE
from mm_sae_plugin.saes.global_batchtopk import GlobalBatchTopK, move_threshold
from mm_sae_plugin.saes.group_sparse import GroupTopKTrainingSAE
from mm_sae_plugin.saes.sparse.batchtopk import SparseBatchTopKTrainingSAE
from mm_sae_plugin.saes.sparse.topk import SparseTopKTrainingSAE
from mm_sae_plugin.training.distributed import Processes
from mm_sae_plugin.training.interruption import StoppableBatches, StoppedBetweenSteps
from mm_sae_plugin.training.lost_processes import lost_processes_named
from mm_sae_plugin.training.trainer import STEPS_PER_CHECK, WatchedTrainer

# Their losses are means over rows or pairs, and what else looks across a batch is seen to here.
_KNOWN = (
    *(StandardTrainingSAE, GatedTrainingSAE, JumpReLUTrainingSAE, MatchingPursuitTrainingSAE),
    *(TopKTrainingSAE, AbsTopKTrainingSAE, BatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAE),
    *(SparseTopKTrainingSAE, SparseBatchTopKTrainingSAE),
    *(AlignedTopKTrainingSAE, GroupTopKTrainingSAE),
)


def check_can_be_shared(
    sae: TrainingSAE[Any], batch_size: int, is_paired: bool, processes: Processes
) -> None:
    """Check that several processes can train an SAE and get what one would.

    Raises
    ------
    UserError
        If nothing is known of the architecture, or a batch has no equal parts.
    """
    if type(sae) not in _KNOWN:
        raise UserError(
            f"{sae.cfg.architecture()!r} cannot be trained by several processes, since its step "
            "may look across the rows of a batch: start one process, or choose an architecture of "
            "SAELens or of this plugin."
        )
    unit = processes.n * (2 if is_paired else 1)
    if batch_size % unit:
        rows = "pairs" if is_paired else "rows"
        raise UserError(
            f"A batch of {batch_size} rows cannot be shared equally by {processes.n} processes: "
            f"each takes its {rows}, so train_batch_size_samples must be a multiple of {unit}."
        )


class AgreedBatches(StoppableBatches):
    """Batches of a training that stops in all processes before the same step.

    Parameters
    ----------
    batches : ActivationBatches
        Whole batches, the same in every process.
    processes : Processes
        The processes of the training.
    """

    def __init__(self, batches: ActivationBatches, processes: Processes) -> None:
        super().__init__(batches)
        self._provider = batches
        self._processes = processes
        self._last_state = batches.state_dict()

    def __next__(self) -> Float[Tensor, "batch d_in"]:
        if self._processes.any(self._stop.is_set()):
            raise StoppedBetweenSteps
        self._last_state = self._provider.state_dict()
        return next(self._batches)

    def step_back(self) -> None:
        """Take the last batch back, so that it comes again."""
        self._provider.load_state_dict(self._last_state)


@dataclass(frozen=True)
class _Standing:
    """What a step changes before its gradients are there."""

    n_training_samples: int
    n_frac_active_samples: int
    act_freq_scores: Float[Tensor, "d_sae"]
    n_forward_passes_since_fired: Float[Tensor, "d_sae"]
    buffers: dict[str, Tensor]


class DistributedTrainer(WatchedTrainer):
    """A :class:`WatchedTrainer` that shares every step with those of other processes.

    Parameters
    ----------
    processes : Processes
        The processes of the training.
    is_paired : bool
        Whether batches are half images and half their captions.
    **parts
        As for SAELens' trainer.
    """

    data_provider: AgreedBatches

    def __init__(self, *, processes: Processes, is_paired: bool, **parts: Any) -> None:
        super().__init__(**parts)
        self._processes = processes
        self._is_paired = is_paired
        self._is_alone = False
        self._is_stepping = False
        self._shared = torch.empty(0)
        batch_size = self.cfg.train_batch_size_samples
        check_can_be_shared(self.sae, batch_size, is_paired, processes)
        self._look_across_processes()
        self._loss = _StepLoss(self.sae)
        with lost_processes_named():
            self._parallel = DistributedDataParallel(self._loss)

    def step(self, batch: Float[Tensor, "batch d_in"]) -> TrainStepOutput:
        """Take one step on this process' rows of a batch, and share it.

        Raises
        ------
        UserError
            If the training has diverged, or the batch is no whole one.
        LostProcess
            If another process is gone; everything is then as it was before the step.
        """
        rows = self._own_rows(batch)
        before = self._standing()
        # SAELens counts the rows that it is given, and divides what fires by a batch's.
        self.n_training_samples += len(batch) - len(rows)
        # Its own counts go where nobody looks.
        self.act_freq_scores = torch.zeros_like(before.act_freq_scores)
        self._is_stepping = True
        try:
            with lost_processes_named(), self._forward_through(self._shared_forward_pass):
                output = super().step(rows)
        except BaseException:
            self._go_back_to(before)
            raise
        finally:
            self._is_stepping = False
        output = self._counted(output, before)
        if (self.n_training_steps + 1) % STEPS_PER_CHECK == 0:
            self.check()
        return output

    def save_checkpoint(
        self,
        checkpoint_name: str,
        base_path: Path | str | None = None,
        wandb_aliases: list[str] | None = None,
    ) -> None:
        """Save a checkpoint in the first process, as ``WatchedTrainer`` does.

        Raises
        ------
        UserError
            If the training has diverged.
        """
        if self._processes.is_first:
            super().save_checkpoint(checkpoint_name, base_path, wandb_aliases)
        else:
            self.check()

    def go_on_alone(self) -> None:
        """Say nothing to the other processes from here on."""
        self._is_alone = True

    def _what_is_wrong(self) -> str | None:
        # Within a step the others are elsewhere; they are asked after it.
        if self._is_stepping:
            return None
        what = super()._what_is_wrong()
        if self._is_alone:
            return what
        return next(filter(None, self._processes.gather(what)), None)

    def _look_across_processes(self) -> None:
        """Let what looks across the rows of a batch look across all of them."""
        if isinstance(self.sae, BatchTopKTrainingSAE):
            plain: Any = self.sae.activation_fn
            self.sae.activation_fn = GlobalBatchTopK(plain.k)
        if isinstance(self.sae, GroupTopKTrainingSAE):
            n_pairs = self.cfg.train_batch_size_samples // 2
            self.sae.mask_as_part_of(n_pairs, self._processes.part(n_pairs))

    def _own_rows(self, batch: Float[Tensor, "batch d_in"]) -> Float[Tensor, "rows d_in"]:
        batch_size = self.cfg.train_batch_size_samples
        if len(batch) != batch_size:
            raise UserError(
                f"A batch has {len(batch)} rows instead of {batch_size}: the batches of several "
                "processes must all be whole ones."
            )
        if not self._is_paired:
            return batch[self._processes.part(batch_size)]
        own = self._processes.part(batch_size // 2)
        image, text = batch.chunk(2)
        return torch.cat([image[own], text[own]])

    def _standing(self) -> _Standing:
        return _Standing(
            self.n_training_samples,
            self.n_frac_active_samples,
            self.act_freq_scores,
            self.n_forward_passes_since_fired.clone(),
            {name: buffer.clone() for name, buffer in self.sae.named_buffers()},
        )

    def _go_back_to(self, before: _Standing) -> None:
        self.n_training_samples = before.n_training_samples
        self.n_frac_active_samples = before.n_frac_active_samples
        self.act_freq_scores = before.act_freq_scores
        self.n_forward_passes_since_fired = before.n_forward_passes_since_fired
        for name, buffer in before.buffers.items():
            setattr(self.sae, name, buffer)
        self.optimizer.zero_grad()
        self.data_provider.step_back()

    @contextmanager
    def _forward_through(
        self, shared: Callable[[TrainStepInput], TrainStepOutput]
    ) -> Iterator[None]:
        # SAELens' trainer calls this method of the SAE in the midst of its step; there is no
        # other way in.
        self.sae.training_forward_pass = shared
        try:
            yield
        finally:
            del self.sae.training_forward_pass

    def _shared_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
        """Return this process' losses and codes, after everybody's firings have been counted.

        That comes before the gradients are averaged: once they are, nothing can be lost.
        """
        sae = self.sae
        threshold = sae.topk_threshold if isinstance(sae, BatchTopKTrainingSAE) else None
        loss = self._parallel(step_input)
        output = self._loss.taken()
        if threshold is not None:
            move_threshold(sae, threshold, output.feature_acts)
        with torch.no_grad():
            fired = output.feature_acts.bool().float().sum(0)
            fired = fired.to_dense() if fired.is_sparse else fired
            losses = [loss, *output.losses.values()]
            means = torch.stack([value.detach().float() for value in losses]) / self._processes.n
            self._shared = self._processes.share(torch.cat([fired, means]))
        return replace(output, loss=loss)

    @torch.no_grad()
    def _counted(self, output: TrainStepOutput, before: _Standing) -> TrainStepOutput:
        """Take over everybody's counts, and return the step with everybody's losses."""
        n_fired, loss, means = self._shared.tensor_split(
            [self.sae.cfg.d_sae, self.sae.cfg.d_sae + 1]
        )
        since = before.n_forward_passes_since_fired
        self.act_freq_scores = before.act_freq_scores.add_(n_fired)
        self.n_forward_passes_since_fired = torch.where(n_fired > 0, 0.0, since + 1)
        losses = dict(zip(output.losses, means, strict=True))
        return replace(output, loss=loss[0], losses=losses)


class _StepLoss(nn.Module):
    """The loss of an SAE's step, for ``DistributedDataParallel`` to be put around."""

    def __init__(self, sae: TrainingSAE[Any]) -> None:
        super().__init__()
        self.sae = sae
        # The SAE's own, whatever stands in its place during a step.
        self._forward_pass = sae.training_forward_pass
        self._output: TrainStepOutput | None = None

    def forward(self, step_input: TrainStepInput) -> Float[Tensor, ""]:
        """Return the loss; the rest of the step is kept."""
        self._output = self._forward_pass(step_input)
        return self._output.loss

    def taken(self) -> TrainStepOutput:
        """Return what the last step gave, and keep it no longer."""
        output, self._output = self._output, None
        assert output is not None, "no step was taken"
        return output
