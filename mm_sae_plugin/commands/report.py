"""``mm-sae report``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportCommand:
    """Write one self-contained HTML page about a labelled SAE."""

    sae: Path
    """The SAE folder, labelled by `mm-sae mds`."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    out: Path = Path("report.html")
    """The page to write."""
    n_per_class: int = 8
    """Latents to show of each class."""

    def run(self) -> None:
        """Write the page and say where it is."""
        from mm_sae_plugin.commands.engine import one_core_each
        from mm_sae_plugin.report.write import write_report
        from mm_sae_plugin.study import Study

        study = Study.open(self.sae, self.acts)
        findings = study.inspect(one_core_each(1), progress=True)
        write_report(study, findings, self.out, self.n_per_class)
        print(f"The report is {self.out}.")
