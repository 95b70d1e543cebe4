"""``mm-sae report``."""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import refuse_unwritable


@dataclass(frozen=True)
class ReportCommand:
    """Write one self-contained HTML page about a labelled SAE."""

    sae: Path
    """The SAE folder, labelled by `mm-sae mds`."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    out: Path = Path("report.html")
    """The page to write."""
    evaluation: Path | None = None
    """Folder that `mm-sae evaluate` wrote, to show whether the labels can be believed."""
    n_per_class: int = 8
    """Latents to show of each class."""
    latents: str | None = None
    """Show exactly these latents instead: their numbers, such as 12,77."""

    def run(self) -> None:
        """Write the page and say where it is."""
        from mm_sae_plugin.applications.evaluation.reading import evaluation_of
        from mm_sae_plugin.commands.engine import one_core_each
        from mm_sae_plugin.report.choice import latents_to_show, parse_latents
        from mm_sae_plugin.report.write import write_report
        from mm_sae_plugin.study import Study

        # What was asked for is checked before the pass, which may take long.
        if self.out.is_dir():
            raise UserError(f"{self.out} is a folder: give the name of a file for the page.")
        refuse_unwritable(self.out)
        study = Study.open(self.sae, self.acts)
        evaluated = None if self.evaluation is None else evaluation_of(study, self.evaluation)
        latents = None
        if self.latents is not None:
            latents = parse_latents(self.latents, study.labels.n_features)
        else:
            latents_to_show(study.labels, self.n_per_class)
        findings = study.inspect(one_core_each(1), progress=True)
        write_report(study, findings, self.out, self.n_per_class, latents, evaluated)
        print(f"The report is {self.out}.")
