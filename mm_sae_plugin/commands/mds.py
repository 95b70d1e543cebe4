"""``mm-sae mds``."""

from dataclasses import dataclass, field
from pathlib import Path

from mm_sae_plugin.stats.config import ModalityConfig


@dataclass(frozen=True)
class MdsCommand:
    """Score every latent's modality, write scores and classes into the SAE folder."""

    sae: Path
    """The SAE folder."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    n_workers: int = 1
    """Threads; the result has the same bits for any number."""
    settings: ModalityConfig = field(default_factory=ModalityConfig)

    def run(self) -> None:
        """Score, save and print the table."""
        from rich import print as rich_print

        from mm_sae_plugin.commands.engine import one_core_each
        from mm_sae_plugin.report import terminal_table
        from mm_sae_plugin.stats.stability_note import told_of_stability
        from mm_sae_plugin.study import Study

        study = Study.open(self.sae, self.acts)
        findings = study.label(self.settings, one_core_each(self.n_workers), progress=True)
        truth = findings.truth or (None, None)
        stability = told_of_stability(study.path, findings.dominance.classes)
        rich_print(terminal_table(findings.dominance, findings.evaluation, *truth, stability))
        print(f"Scores and classes are in {self.sae / 'modality.parquet'}.")
