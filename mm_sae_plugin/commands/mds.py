"""``mm-sae mds``."""

from dataclasses import dataclass, field
from pathlib import Path

from mm_sae_plugin.stats.config import ModalityConfig


@dataclass(frozen=True)
class MdsCommand:
    """Score every latent's modality, write scores and classes into the SAE folder."""

    sae: Path
    """The SAE folder."""
    acts: Path
    """The activation store."""
    n_workers: int = 1
    """Threads; the result has the same bits for any number."""
    settings: ModalityConfig = field(default_factory=ModalityConfig)

    def run(self) -> None:
        """Score, save and print the table."""
        from rich import print as rich_print

        from mm_sae_plugin.activations import ActivationStore
        from mm_sae_plugin.report import terminal_table
        from mm_sae_plugin.study import (
            check_truth,
            evaluate_sae,
            label_sae,
            open_sae,
        )

        opened = open_sae(self.sae, ActivationStore.open(self.acts))
        dominance = label_sae(opened, self.settings, self.n_workers)
        truth = check_truth(opened, dominance) or (None, None)
        rich_print(terminal_table(dominance, evaluate_sae(opened), *truth))
        print(f"Scores and classes are in {self.sae / 'modality.parquet'}.")
