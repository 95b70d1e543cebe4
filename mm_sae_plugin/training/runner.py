"""`MultimodalSAETrainingRunner`: SAELens' trainer on paired activations, start to saved folder."""

import dataclasses
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from sae_lens import SAE, LoggingConfig, TrainingSAE, TrainingSAEConfig
from sae_lens.config import SAETrainerConfig
from torch import Tensor

from mm_sae_plugin.activations.provider import ActivationBatches
from mm_sae_plugin.devices import checked_device
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import path_from
from mm_sae_plugin.saes.architectures import training_sae_config
from mm_sae_plugin.saes.folder import load_sae
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.saes.paired import promise_pairs
from mm_sae_plugin.saes.sparse.step import SparseTrainingStep
from mm_sae_plugin.stats.reconstruction import PerModalityEvaluation
from mm_sae_plugin.termination import termination_interrupts
from mm_sae_plugin.training import checkpoints, logs
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig
from mm_sae_plugin.training.data import TrainingData
from mm_sae_plugin.training.distributed import device_of_rank, open_processes
from mm_sae_plugin.training.distributed_trainer import (
    AgreedBatches,
    DistributedTrainer,
    check_can_be_shared,
)
from mm_sae_plugin.training.evaluation import PerModalityEvaluator, evaluate_per_modality
from mm_sae_plugin.training.fitting import fit_and_save
from mm_sae_plugin.training.fused_adam import use_fused_adam
from mm_sae_plugin.training.interruption import StoppableBatches
from mm_sae_plugin.training.place import ReservedSpace, refuse_foreign, sole_training_of
from mm_sae_plugin.training.rescue import Rescue
from mm_sae_plugin.training.saving import finished_sae, save_evaluation, save_sae
from mm_sae_plugin.training.trainer import WatchedTrainer

_log = logging.getLogger(__name__)

# Rows of each modality that the evaluator sees while wandb is on.
_N_LOGGED_ROWS = 4096
# Not part of what a run is: they may change between an interruption and its resumption.
_INCIDENTAL = frozenset(
    (
        *("acts", "out", "checkpoint_path", "n_checkpoints", "resume", "overwrite", "logger"),
        *("sae", "device", "training_steps", "training_pairs", "process_timeout"),
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
    """Explained variance, L0 and latents that never fire, of each modality."""
    path: Path | None
    """The SAE folder, if one was written."""


class MultimodalSAETrainingRunner:
    """Train one SAE on image and text activations together, or on one tower's alone.

    The trainer is SAELens' own; this class gives it the DataProvider and the Evaluator, and adds
    what it leaves out: per-modality normalisation and evaluation, exact resumption, an SAE folder.
    Within a ``process_group`` of several processes, all of them run it and train one SAE.

    Parameters
    ----------
    cfg : MultimodalSAERunnerConfig
        Everything that decides the training.
    store : ActivationStore, str or Path, optional
        A store or its folder; otherwise ``cfg.acts`` is opened.
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
        self.processes = open_processes()
        cfg = dataclasses.replace(cfg, device=device_of_rank(cfg.device, self.processes))
        self.cfg = cfg
        checked_device(cfg.device)
        self.store_path: Path | None = None
        # Settled first: reading a large store only to refuse the folder would waste minutes.
        self._needs_training()
        in_memory = acts_image is not None or acts_text is not None
        folder = cfg.acts if store is None else store
        if isinstance(folder, str | Path) and not in_memory:
            from mm_sae_plugin.activations.store import ActivationStore

            store = ActivationStore.open(folder)
        if store is not None and not in_memory:
            data = TrainingData.from_store(
                *(store, cfg.max_memory_gb, cfg.train_batch_size_samples, cfg.normalize != "none")
            )
            self.store_path = getattr(store, "path", None)
        else:
            data = TrainingData.from_tensors(acts_image, acts_text, image_index, metadata)
        self.normalization = ModalityNormalization.measure(
            cfg.normalize, data.acts_image, data.acts_text
        )
        self.data = data.normalized(self.normalization, cfg.device)
        self.is_first = self.processes is None or self.processes.is_first
        silent = LoggingConfig(log_to_wandb=False)
        self.logger: LoggingConfig = (self.is_first and cfg.logger) or silent
        batch_size = cfg.train_batch_size_samples
        items_per_batch = batch_size // 2 if self.data.is_paired else batch_size
        self.n_steps = cfg.n_steps(self.data.n_items, max(1, items_per_batch))
        self.sae = self.build_sae(cfg.seed)
        if self.processes is not None:
            check_can_be_shared(self.sae, batch_size, self.data.is_paired, self.processes)
        # Before the training changes the config, as folding a normalisation does.
        self.identity = self._identity()

    def run(self) -> TrainingResult:
        """Train, save and evaluate.

        Raises
        ------
        KeyboardInterrupt
            After a checkpoint was saved; its message says how to resume. ``errors.Terminated`` if
            it was SIGTERM, which is only noticed in the main thread, or another of several
            processes was interrupted.
        UserError
            If ``out`` already holds an SAE or other things, another training is writing into it,
            a checkpoint (or, to be resumed, the SAE) belongs to another run or would be lost, the
            training diverges, the disk is full, or another of several processes is gone.
        """
        with termination_interrupts(), sole_training_of(self._folders()):
            # Again: another training may have finished meanwhile.
            needs_training = self._needs_training()
            self._agree(needs_training)
            if needs_training:
                return self._train()
            out = Path(str(self.cfg.out))
            checkpoints.check_finished(out, self.identity, self.data.older_key)
            _log.warning("%s is trained already; it is evaluated again.", out)
            return self._result(load_sae(out, self.cfg.device)[0])

    def _train(self) -> TrainingResult:
        provider = self.data.provider(self.cfg.train_batch_size_samples, self.cfg.seed)
        trainer, batches = self._trainer(provider)
        if isinstance(self.sae, SparseTrainingStep):
            use_fused_adam(trainer)
        if self.cfg.resume:
            self._resume(trainer, provider)
        # The first of several processes is the one that writes.
        out, kept_in = (self.cfg.out, self.cfg.checkpoints) if self.is_first else (None, None)
        with logs.wandb_run(self.logger, self.identity), ReservedSpace(self._needs()) as reserve:
            with closing(provider):
                sae = fit_and_save(
                    trainer,
                    batches,
                    lambda: save_sae(trainer, self.normalization, out, self.identity),
                    Rescue(kept_in),
                    reserve,
                    place=str(self.cfg.out),
                    processes=self.processes,
                )
            try:
                result = self._result(sae)
            except KeyboardInterrupt as interruption:
                ended = f"Interrupted after the last step; the SAE is in {self.cfg.out}."
                raise type(interruption)(ended) from None
            logs.log_final(self.logger, result.evaluation.metrics(), trainer.n_training_steps)
        return result

    def _trainer(self, provider: ActivationBatches) -> tuple[WatchedTrainer, StoppableBatches]:
        parts: dict[str, Any] = {
            "cfg": self.trainer_config(),
            "sae": self.sae,
            "evaluator": PerModalityEvaluator(*self.data.sampled(_N_LOGGED_ROWS)),
            "save_checkpoint_fn": lambda checkpoint_path: self._complete(checkpoint_path, provider),
        }
        if self.processes is None:
            batches = StoppableBatches(provider)
            return WatchedTrainer(data_provider=batches, **parts), batches
        batches = AgreedBatches(provider, self.processes)
        shared = {"processes": self.processes, "is_paired": self.data.is_paired}
        return DistributedTrainer(data_provider=batches, **shared, **parts), batches

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

    def build_sae(self, seed: int) -> TrainingSAE[Any]:
        """Return an SAE that has not been trained, as a run of that seed starts with it."""
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
                pair_coefficient=cfg.pair_coefficient,
                warm_up_steps=self.n_steps // 20,
                seed=seed,
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
            torch.manual_seed(seed)
            sae = TrainingSAE.from_dict(sae_cfg.to_dict())
        # The provider pairs the rows of every batch, and no buffer mixes them.
        promise_pairs(sae, data.is_paired)
        if sae_cfg.normalize_activations == "none":
            # Latents then describe what differs between rows, and none has to carry the mean.
            with torch.no_grad():
                sae.b_dec.copy_(data.center())
        for name, value in data.metadata.items():
            sae.cfg.metadata[name] = value
        sae.cfg.metadata.normalization = self.normalization.method
        if self.store_path is not None and cfg.out is not None:
            sae.cfg.metadata.store_path = path_from(cfg.out, self.store_path)
        return sae

    def _identity(self) -> dict[str, Any]:
        """Return what must agree for a checkpoint to continue this very run."""
        sae_cfg = self.sae.cfg.to_dict()
        sae_cfg = {n: v for n, v in sae_cfg.items() if n not in ("metadata", "device")}
        own = {n: v for n, v in vars(self.cfg).items() if n not in _INCIDENTAL}
        data = {"activations": self.data.key, **self.data.order}
        return {**own, **sae_cfg, "n_steps": self.n_steps, **data}

    def _needs_training(self) -> bool:
        """Whether there is no SAE to resume; raises where anything else would be lost."""
        cfg = self.cfg
        if cfg.out is not None:
            refuse_foreign(Path(cfg.out))
        is_finished = cfg.out is not None and finished_sae(cfg.out)
        if cfg.resume:
            return not is_finished
        if is_finished and not cfg.overwrite:
            raise UserError(
                f"{cfg.out} already holds a trained SAE: choose another folder, or overwrite "
                "it on purpose (overwrite=True, --overwrite)."
            )
        checkpoint = None if cfg.overwrite else checkpoints.newest_checkpoint(cfg.checkpoints)
        if checkpoint is not None:
            raise UserError(
                f"There is a checkpoint of an earlier training, {checkpoint}: continue from there "
                "(resume=True, --resume), or give it up and start anew (overwrite=True, "
                "--overwrite)."
            )
        return True

    def _agree(self, needs_training: bool) -> None:
        """Check that all processes, if there are several, are about to do the same."""
        if self.processes is None:
            return
        found = checkpoints.newest_checkpoint(self.cfg.checkpoints) if self.cfg.resume else None
        facts = {"training still to do": needs_training, "checkpoint to resume": found}
        self.processes.agree({**self.identity, **facts})

    def _folders(self) -> list[Path]:
        """Return where this training writes."""
        if not self.is_first:
            return []
        folders = (self.cfg.out, self.cfg.checkpoint_path)
        return [Path(folder) for folder in folders if folder is not None]

    def _needs(self) -> dict[Path, int]:
        """Return the bytes that are written when the training ends or is interrupted."""
        weights = sum(p.numel() * p.element_size() for p in self.sae.parameters())
        needs = dict.fromkeys(self._folders(), 2**20)
        if not needs:
            return needs
        if self.cfg.out is not None:
            needs[Path(self.cfg.out)] += weights
        # A checkpoint holds Adam's two moments beside the weights.
        needs[Path(self.cfg.checkpoint_path or str(self.cfg.out))] += 3 * weights
        return needs

    def _resume(self, trainer: WatchedTrainer, provider: Any) -> None:
        checkpoint = checkpoints.newest_checkpoint(self.cfg.checkpoints)
        if checkpoint is None:
            _log.warning("No checkpoint in %s; training from the start.", self.cfg.checkpoints)
            return
        older_key = self.data.older_key
        checkpoints.restore(checkpoint, trainer, provider, self.identity, older_key)
        _log.info("Resuming from %s at step %d.", checkpoint, trainer.n_training_steps)

    def _complete(self, checkpoint_path: Path | None, provider: Any) -> None:
        if checkpoint_path is not None:
            checkpoints.complete(
                checkpoint_path, self.normalization, provider, self.identity, self.store_path
            )

    def _result(self, sae: SAE[Any]) -> TrainingResult:
        sae.eval().requires_grad_(False)
        # The data are normalised already.
        evaluation = evaluate_per_modality(
            sae, self.data.acts_image, self.data.acts_text, processes=self.processes
        )
        if self.is_first:
            save_evaluation(self.cfg.out, evaluation)
        path = None if self.cfg.out is None else Path(self.cfg.out)
        return TrainingResult(sae, self.normalization, evaluation, path)
