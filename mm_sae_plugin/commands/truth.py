"""``mm-sae truth``."""

from dataclasses import dataclass

from mm_sae_plugin.applications.label_truth.config import SweepConfig
from mm_sae_plugin.files import refuse_unwritable


@dataclass(frozen=True)
class TruthCommand(SweepConfig):
    """Train dictionaries on the embedded world and check every score against its truth."""

    def run(self) -> None:
        """Run the sweep, print the table and write the figure."""
        import torch
        from rich import print as rich_print

        from mm_sae_plugin.applications.label_truth import run_sweep
        from mm_sae_plugin.report.truth_table import sweep_table
        from mm_sae_plugin.report.write_truth import write_truth_figure

        drawing = self.out / "truth.svg"
        refuse_unwritable(drawing)
        # The process is ours: a dictionary must not depend on how many cores there are.
        torch.set_num_threads(1)
        sweep = run_sweep(self, tell=print)
        rich_print(sweep_table(sweep.rows))
        figure = write_truth_figure(sweep, drawing)
        print(f"All scores are in {sweep.path}, the figure is {figure}.")
