"""``mm-sae report``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportCommand:
    """Write one self-contained HTML page about a labelled SAE."""

    sae: Path
    """The SAE folder, labelled by `mm-sae mds`."""
    acts: Path
    """The activation store."""
    out: Path = Path("report.html")
    """The page to write."""
    n_per_class: int = 8
    """Latents to show of each class."""

    def run(self) -> None:
        """Write the page and say where it is."""
        from mm_sae_plugin.activations import ActivationStore
        from mm_sae_plugin.report.write import write_report
        from mm_sae_plugin.stats import ModalityDominance
        from mm_sae_plugin.study import check_truth, evaluate_sae, open_sae

        opened = open_sae(self.sae, ActivationStore.open(self.acts))
        dominance = ModalityDominance.load(self.sae)
        truth = check_truth(opened, dominance)
        write_report(opened, dominance, self.out, truth, evaluate_sae(opened), self.n_per_class)
        print(f"The report is {self.out}.")
