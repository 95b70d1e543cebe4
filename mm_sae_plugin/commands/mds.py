"""``mm-sae mds``."""

from dataclasses import dataclass, field
from pathlib import Path

from mm_sae_plugin.commands.engine import EngineName
from mm_sae_plugin.stats.config import ModalityConfig


@dataclass(frozen=True)
class MdsCommand:
    """Score every latent's modality, write scores and classes into the SAE folder."""

    sae: Path
    """The SAE folder."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    n_workers: int = 1
    """Threads, or workers of Ray; the result has the same bits for any number."""
    engine: EngineName = "local"
    """`local` computes in this process; `ray` on the cluster at the environment variable
    RAY_ADDRESS, all machines of which see the store under the same path, or without it in
    processes of this machine. The result is the same."""
    settings: ModalityConfig = field(default_factory=ModalityConfig)

    def run(self) -> None:
        """Score, save and print the table."""
        from rich import print as rich_print

        from mm_sae_plugin.commands.engine import one_core_each_of
        from mm_sae_plugin.report import terminal_table
        from mm_sae_plugin.stats.stability_note import told_of_stability
        from mm_sae_plugin.study import Study

        study = Study.open(self.sae, self.acts)
        engine = one_core_each_of(self.engine, self.n_workers)
        findings = study.label(self.settings, engine, progress=True)
        truth = findings.truth or (None, None)
        stability = told_of_stability(study.path, findings.dominance.classes)
        rich_print(terminal_table(findings.dominance, findings.evaluation, *truth, stability))
        print(f"Scores and classes are in {self.sae / 'modality.parquet'}.")
