"""The same SAE from several seeds, trained side by side by SAELens' ``MultiSAETrainer``.

The activations are read, normalised and held once. A seed decides the weights and the order of the
pairs, as it does in a training by itself; so every SAE has the weights, bit for bit, that
:class:`MultimodalSAETrainingRunner` gives it, however many are trained beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from sae_lens import SAE
from sae_lens.training.multi_sae_trainer import MultiSAETrainer
from torch import Tensor

from mm_sae_plugin.activations.provider import ActivationBatches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import path_from
from mm_sae_plugin.saes.sparse.step import SparseTrainingStep
from mm_sae_plugin.training import logs
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig
from mm_sae_plugin.training.evaluation import evaluate_per_modality
from mm_sae_plugin.training.fused_adam import use_fused_adam
from mm_sae_plugin.training.place import is_full_disk, refuse_foreign, sole_training_of
from mm_sae_plugin.training.runner import MultimodalSAETrainingRunner, TrainingResult
from mm_sae_plugin.training.saving import finished_sae, save_evaluation, save_sae
from mm_sae_plugin.training.trainer import WatchedTrainer, plain_dtype_errors


def train_seeds(
    cfg: MultimodalSAERunnerConfig,
    seeds: Sequence[int],
    store: Any = None,
    *,
    acts_image: Float[Tensor, "n_images d_in"] | None = None,
    acts_text: Float[Tensor, "n_pairs d_in"] | None = None,
    image_index: Int[Tensor, "n_pairs"] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[int, TrainingResult]:
    """Train one SAE for each seed, all in one go over the activations.

    Parameters
    ----------
    cfg : MultimodalSAERunnerConfig
        Everything but the seed, which is not looked at. With ``out``, each SAE is written into its
        folder ``seed_N`` there; without it, all stay in memory.
    seeds : sequence of int
        At least one, each once.
    store, acts_image, acts_text, image_index, metadata
        As for :class:`MultimodalSAETrainingRunner`.

    Returns
    -------
    dict of int to TrainingResult
        By seed, in the order given.

    Raises
    ------
    UserError
        If a seed comes twice, the config asks for checkpoints, which there are none of, a folder
        holds an SAE or other things, a training diverges, or the disk is full.
    """
    folders = _checked_folders(cfg, seeds)
    runner = MultimodalSAETrainingRunner(
        # Each has a folder of its own.
        replace(cfg, seed=seeds[0], out=None, resume=False, overwrite=False),
        store,
        acts_image=acts_image,
        acts_text=acts_text,
        image_index=image_index,
        metadata=metadata,
    )
    names = {seed: f"seed_{seed}" for seed in seeds}
    providers = {
        names[seed]: runner.data.provider(cfg.train_batch_size_samples, seed) for seed in seeds
    }
    trainer = WatchedMultiSAETrainer(
        cfg=runner.trainer_config(),
        saes={names[seed]: runner.build_sae(seed) for seed in seeds},
        # One batch for each, so that each has its own order.
        hook_names={name: name for name in providers},
        data_provider=_batches(providers),
    )
    config = {**runner.identity, "seed": list(seeds)}
    with sole_training_of(folders.values()), logs.wandb_run(runner.logger, config):
        with plain_dtype_errors(runner.sae.cfg), ExitStack() as open_providers:
            for provider in providers.values():
                open_providers.callback(provider.close)
            trainer.fit()
        trainer.check()
        return {
            seed: _result(runner, trainer.trainers[names[seed]], seed, folders.get(seed))
            for seed in seeds
        }


class WatchedMultiSAETrainer(MultiSAETrainer):
    """SAELens' ``MultiSAETrainer``, with a :class:`WatchedTrainer` for each SAE."""

    trainers: dict[str, WatchedTrainer]

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        # SAELens makes plain trainers and drives them by their public methods; ours have the same.
        self.trainers = {name: _watched(trainer) for name, trainer in self.trainers.items()}

    def check(self) -> None:
        """Look at losses and weights of all SAEs so far.

        Raises
        ------
        UserError
            If one of the trainings has diverged.
        """
        for trainer in self.trainers.values():
            trainer.check()


def _watched(plain: Any) -> WatchedTrainer:
    trainer = WatchedTrainer(cfg=plain.cfg, sae=plain.sae, data_provider=iter(()))
    if isinstance(trainer.sae, SparseTrainingStep):
        use_fused_adam(trainer)
    return trainer


def _batches(providers: Mapping[str, ActivationBatches]) -> Iterator[dict[str, Tensor]]:
    while True:
        yield {name: next(provider) for name, provider in providers.items()}


def _checked_folders(cfg: MultimodalSAERunnerConfig, seeds: Sequence[int]) -> dict[int, Path]:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"Give at least one seed, and each once: not {list(seeds)}.")
    if cfg.n_checkpoints or cfg.resume or cfg.checkpoint_path is not None:
        raise UserError(
            "Seeds that are trained together keep no checkpoints and cannot be resumed: leave "
            "n_checkpoints, checkpoint_path and resume out, or train each seed by itself."
        )
    if cfg.out is None:
        return {}
    folders = {seed: Path(cfg.out) / f"seed_{seed}" for seed in seeds}
    for folder in folders.values():
        refuse_foreign(folder)
        if finished_sae(folder) and not cfg.overwrite:
            raise UserError(
                f"{folder} already holds a trained SAE: choose another folder, or overwrite it on "
                "purpose (overwrite=True)."
            )
    return folders


def _result(
    runner: MultimodalSAETrainingRunner, trainer: WatchedTrainer, seed: int, folder: Path | None
) -> TrainingResult:
    if folder is not None and runner.store_path is not None:
        trainer.sae.cfg.metadata.store_path = path_from(folder, runner.store_path)
    identity = {**runner.identity, "seed": seed}
    try:
        sae: SAE[Any] = save_sae(trainer, runner.normalization, folder, identity)
    except Exception as error:
        if is_full_disk(error):
            raise UserError(
                f"The disk is full: {folder or 'the temporary folder'} was not written; free some "
                "space and train again."
            ) from error
        raise
    sae.eval().requires_grad_(False)
    # The data are normalised already.
    evaluation = evaluate_per_modality(sae, runner.data.acts_image, runner.data.acts_text)
    save_evaluation(folder, evaluation)
    return TrainingResult(sae, runner.normalization, evaluation, folder)
