"""``mm-sae train``."""

from dataclasses import dataclass

from mm_sae_plugin.activations.manifest import refuse_no_store
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig


@dataclass(frozen=True)
class TrainCommand(MultimodalSAERunnerConfig):
    """Train an SAE on an activation store with SAELens' own trainer."""

    def run(self) -> None:
        """Train, and print the quality for each modality."""
        if self.acts is None or self.out is None:
            raise UserError("Training needs an activation store, --acts, and an SAE folder, --out.")
        refuse_no_store(self.acts)

        from mm_sae_plugin.training import MultimodalSAETrainingRunner, process_group

        with process_group(self.device, self.process_timeout, only_first_speaks=True) as processes:
            result = MultimodalSAETrainingRunner(self).run()
        if processes is not None and not processes.is_first:
            return
        evaluation = result.evaluation
        for side in evaluation.explained_variance:
            print(
                f"{side}: explained variance {evaluation.explained_variance[side]:.3f}, "
                f"L0 {evaluation.l0[side]:.1f}, "
                f"{evaluation.n_never_firing_by_modality[side]} latents never fire"
            )
        print(f"The SAE is in {result.path}.")
