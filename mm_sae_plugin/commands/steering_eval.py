"""``mm-sae steering-eval``."""

from dataclasses import dataclass, fields
from pathlib import Path

from mm_sae_plugin.applications.steering.config import SteeringConfig
from mm_sae_plugin.files import refuse_unwritable


@dataclass(frozen=True)
class SteeringEvalCommand(SteeringConfig):
    """Draw pictures of prompts moved towards references, and judge what each modality carries."""

    sae: Path = Path("runs/quickstart/sae")
    """Folder of a labelled SAE of the embedded encoder."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    generator: Path | None = None
    """Folder of a generator; by default the embedded one."""

    def run(self) -> None:
        """Measure, print the table, and write `steering.json` and the figure."""
        import torch
        from rich import print as rich_print

        from mm_sae_plugin.applications.steering.run import run_evaluation
        from mm_sae_plugin.report.steering import steering_table, write_steering_figure
        from mm_sae_plugin.study import Study

        drawing = self.out / "steering.svg"
        refuse_unwritable(drawing)
        torch.set_num_threads(1)
        study = Study.open(self.sae, self.acts)
        cfg = SteeringConfig(**{f.name: getattr(self, f.name) for f in fields(SteeringConfig)})
        result = run_evaluation(study, cfg, self.generator)
        rich_print(steering_table(result.record))
        for labels in ("claim_c6", "claim_c6_paper_labels"):
            claim = result.record[labels]
            print(f"{labels}: {claim['verdict']}. {claim['reason']}")
        figure = write_steering_figure(result.record, drawing)
        print(f"All figures are in {self.out / 'steering.json'}, the drawing is {figure}.")
