"""`MultimodalSAETrainingRunner`: SAELens' trainer on paired activations, start to saved folder."""

import dataclasses
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from sae_lens import SAE, LoggingConfig, TrainingSAE, TrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from mm_sae_plugin.devices import checked_device
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.architectures import training_sae_config
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.saes.sparse.step import SparseTrainingStep
from mm_sae_plugin.stats.reconstruction import PerModalityEvaluation
from mm_sae_plugin.training import checkpoints, logs
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig
from mm_sae_plugin.training.data import TrainingData
from mm_sae_plugin.training.evaluation import PerModalityEvaluator, evaluate_per_modality
from mm_sae_plugin.training.fused_adam import use_fused_adam
from mm_sae_plugin.training.interruption import StoppableBatches, run_interruptibly
from mm_sae_plugin.training.saving import finished_sae, save_evaluation, save_sae

_log = logging.getLogger(__name__)

# Rows of each modality that the evaluator sees while wandb is on.
_N_LOGGED_ROWS = 4096
# Not part of what a run is: they may change between an interruption and its resumption.
_INCIDENTAL = frozenset(
    (
        *("acts", "out", "checkpoint_path", "n_checkpoints", "resume", "overwrite", "logger"),
        *("sae", "device", "training_steps", "training_pairs"),
    )
)


@dataclass(frozen=True)
class TrainingResult:
    """A finished training."""

    sae: SAE[Any]
    """The inference SAE, exactly as it is on disk."""
    normalization: ModalityNormalization
    """What goes before it; the identity unless the config asked for more."""
    evaluation: PerModalityEvaluation
    """Explained variance, L0 and dead latents of each modality."""
    path: Path | None
    """The SAE folder, if one was written."""


class MultimodalSAETrainingRunner:
    """Train one SAE on image and text activations together, or on one tower's alone.

    The trainer is SAELens' own; this class gives it the DataProvider and the Evaluator, and adds
    what it leaves out: per-modality normalisation and evaluation, exact resumption, an SAE folder.

    Parameters
    ----------
    cfg : MultimodalSAERunnerConfig
        Everything that decides the training.
    store : ActivationStore, optional
        An opened store; otherwise ``cfg.acts`` is opened.
    acts_image, acts_text : Float[Tensor, "n d_in"], optional
        Activations in memory instead of a store; one of them alone trains on one tower.
    image_index : Int[Tensor, "n_pairs"], optional
        Image row of each caption; without it row i of both is pair i.
    metadata : mapping, optional
        With activations in memory: ``model_name``, ``weights_id``, ``hook_name_image``,
        ``hook_name_text``, for the SAE's ``cfg.metadata``.
    """

    def __init__(
        self,
        cfg: MultimodalSAERunnerConfig,
        store: Any = None,
        *,
        acts_image: Float[Tensor, "n_images d_in"] | None = None,
        acts_text: Float[Tensor, "n_pairs d_in"] | None = None,
        image_index: Int[Tensor, "n_pairs"] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.cfg = cfg
        checked_device(cfg.device)
        # Settled first: reading a large store only to refuse the folder would waste minutes.
        self._finished = self._look_at_out()
        in_memory = acts_image is not None or acts_text is not None
        if store is None and not in_memory and cfg.acts is not None:
            from mm_sae_plugin.activations.store import ActivationStore

            store = ActivationStore.open(cfg.acts)
        if store is not None and not in_memory:
            data = TrainingData.from_store(store)
        else:
            data = TrainingData.from_tensors(acts_image, acts_text, image_index, metadata)
        self.normalization = ModalityNormalization.measure(
            cfg.normalize, data.acts_image, data.acts_text
        )
        self.data = data.normalized(self.normalization, cfg.device)
        self.logger: LoggingConfig = cfg.logger or LoggingConfig(log_to_wandb=False)
        batch_size = cfg.train_batch_size_samples
        items_per_batch = batch_size // 2 if self.data.is_paired else batch_size
        self.n_steps = cfg.n_steps(self.data.n_items, max(1, items_per_batch))
        self.sae = self._build_sae()

    def run(self) -> TrainingResult:
        """Train, save and evaluate.

        Raises
        ------
        KeyboardInterrupt
            After a checkpoint was saved; its message says how to resume.
        UserError
            If ``out`` already holds an SAE, a checkpoint belongs to another run, or the disk is
            full.
        """
        if self._finished:
            _log.warning("%s is trained already; it is evaluated again.", self.cfg.out)
            return self._result(SAE.load_from_disk(Path(str(self.cfg.out)), self.cfg.device))
        provider = self.data.provider(self.cfg.train_batch_size_samples, self.cfg.seed)
        batches = StoppableBatches(provider)
        trainer = SAETrainer(
            cfg=self.trainer_config(),
            sae=self.sae,
            data_provider=batches,
            evaluator=PerModalityEvaluator(*self.data.sampled(_N_LOGGED_ROWS)),
            save_checkpoint_fn=lambda checkpoint_path: self._complete(checkpoint_path, provider),
        )
        if isinstance(self.sae, SparseTrainingStep):
            use_fused_adam(trainer)
        if self.cfg.resume:
            self._resume(trainer, provider)
        with logs.wandb_run(self.logger, self._identity()):
            try:
                with checkpoints.full_disk_is_told(self.cfg.checkpoints or Path()):
                    run_interruptibly(trainer.fit, batches.stop)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._save_interrupted(trainer)) from None
            sae = save_sae(trainer, self.normalization, self.cfg.out, self._identity())
            self._drop_interrupted()
            result = self._result(sae)
            logs.log_final(self.logger, result.evaluation.metrics(), trainer.n_training_steps)
        return result

    def trainer_config(self) -> SAETrainerConfig:
        """Return SAELens' trainer config with this run's defaults filled in."""
        cfg, n_steps = self.cfg, self.n_steps
        warm_up = n_steps // 20 if cfg.lr_warm_up_steps is None else cfg.lr_warm_up_steps
        decay = n_steps // 3 if cfg.lr_decay_steps is None else cfg.lr_decay_steps
        if warm_up + decay > n_steps:
            raise UserError(
                f"lr_warm_up_steps + lr_decay_steps = {warm_up + decay} is more than the "
                f"{n_steps} steps of the training."
            )
        window = cfg.dead_feature_window
        return SAETrainerConfig(
            total_training_samples=n_steps * cfg.train_batch_size_samples,
            train_batch_size_samples=cfg.train_batch_size_samples,
            lr=cfg.lr,
            lr_end=cfg.lr / 10 if cfg.lr_end is None else cfg.lr_end,
            lr_scheduler_name=cfg.lr_scheduler_name,
            lr_warm_up_steps=warm_up,
            lr_decay_steps=decay,
            adam_beta1=cfg.adam_beta1,
            adam_beta2=cfg.adam_beta2,
            device=cfg.device,
            autocast=cfg.autocast,
            dead_feature_window=min(1000, max(10, n_steps // 10)) if window is None else window,
            n_checkpoints=cfg.n_checkpoints,
            checkpoint_path=None if cfg.checkpoints is None else str(cfg.checkpoints),
            logger=self.logger,
            # Only expected_average_only_in and covariance_whitening of SAELens use it.
            n_batches_for_norm_estimate=min(1000, max(10, n_steps // 10)),
        )

    def _build_sae(self) -> TrainingSAE[Any]:
        cfg, data = self.cfg, self.data
        sae_cfg: TrainingSAEConfig
        if cfg.sae is None:
            sae_cfg = training_sae_config(
                cfg.architecture,
                data.d_in,
                cfg.d_sae,
                cfg.k,
                input_norm=data.spread(),
                sparsity_coefficient=cfg.sparsity_coefficient,
                warm_up_steps=self.n_steps // 20,
                dtype=cfg.dtype,
                device=cfg.device,
            )
        else:
            sae_cfg = dataclasses.replace(cfg.sae, device=cfg.device)
        if sae_cfg.d_in != data.d_in:
            raise UserError(
                f"The SAE config takes vectors of width {sae_cfg.d_in}, but the activations are "
                f"{data.d_in} wide: set d_in = {data.d_in}."
            )
        with torch.random.fork_rng():
            torch.manual_seed(cfg.seed)
            sae = TrainingSAE.from_dict(sae_cfg.to_dict())
        if sae_cfg.normalize_activations == "none":
            # Latents then describe what differs between rows, and none has to carry the mean.
            with torch.no_grad():
                sae.b_dec.copy_(data.center())
        for name, value in data.metadata.items():
            sae.cfg.metadata[name] = value
        sae.cfg.metadata.normalization = self.normalization.method
        return sae

    def _identity(self) -> dict[str, Any]:
        """Return what must agree for a checkpoint to continue this very run."""
        sae_cfg = self.sae.cfg.to_dict()
        sae_cfg = {n: v for n, v in sae_cfg.items() if n not in ("metadata", "device")}
        own = {n: v for n, v in vars(self.cfg).items() if n not in _INCIDENTAL}
        return {**own, **sae_cfg, "n_steps": self.n_steps, "activations": self.data.key}

    def _look_at_out(self) -> bool:
        if self.cfg.out is None or not finished_sae(self.cfg.out):
            return False
        if self.cfg.resume:
            return True
        if not self.cfg.overwrite:
            raise UserError(
                f"{self.cfg.out} already holds a trained SAE: choose another folder, or overwrite "
                "it on purpose (overwrite=True, --overwrite)."
            )
        return False

    def _resume(self, trainer: SAETrainer[Any, Any], provider: Any) -> None:
        checkpoint = checkpoints.newest_checkpoint(self.cfg.checkpoints)
        if checkpoint is None:
            _log.warning("No checkpoint in %s; training from the start.", self.cfg.checkpoints)
            return
        checkpoints.restore(checkpoint, trainer, provider, self._identity())
        _log.info("Resuming from %s at step %d.", checkpoint, trainer.n_training_steps)

    def _complete(self, checkpoint_path: Path | None, provider: Any) -> None:
        if checkpoint_path is None:
            return
        self.normalization.save(checkpoint_path)
        checkpoints.write_state(checkpoint_path, provider, self._identity())

    def _save_interrupted(self, trainer: SAETrainer[Any, Any]) -> str:
        """Save what there is, and return the line that says so."""
        if trainer.n_training_samples >= trainer.cfg.total_training_samples:
            # Too late to stop anything: a checkpoint now would fold the weights twice.
            save_sae(trainer, self.normalization, self.cfg.out, self._identity())
            self._drop_interrupted()
            return f"Interrupted after the last step; the SAE is in {self.cfg.out}."
        step = f"step {trainer.n_training_steps} of {self.n_steps}"
        if trainer.n_training_steps == 0:
            return "Interrupted before the first step; run the same again."
        if self.cfg.checkpoints is None:
            return f"Interrupted at {step}; nothing is saved, since no out folder is set."
        name = f"interrupted_{trainer.n_training_samples}"
        with checkpoints.full_disk_is_told(self.cfg.checkpoints):
            trainer.save_checkpoint(name)
        return (
            f"Interrupted at {step}; saved {self.cfg.checkpoints / name}. Run the same again with "
            "resume=True (--resume) to continue."
        )

    def _drop_interrupted(self) -> None:
        folder = self.cfg.checkpoints
        if folder is None or not folder.is_dir():
            return
        for path in folder.glob("interrupted_*"):
            shutil.rmtree(path, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()

    def _result(self, sae: SAE[Any]) -> TrainingResult:
        sae.eval().requires_grad_(False)
        # The data are normalised already.
        evaluation = evaluate_per_modality(sae, self.data.acts_image, self.data.acts_text)
        save_evaluation(self.cfg.out, evaluation)
        path = None if self.cfg.out is None else Path(self.cfg.out)
        return TrainingResult(sae, self.normalization, evaluation, path)
