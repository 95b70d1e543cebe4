"""``mm-sae evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mm_sae_plugin.applications.evaluation.config import LATENTS, RECORD, EvaluateConfig
from mm_sae_plugin.files import refuse_unwritable

_PAGE, _FIGURE = "report.html", "evaluation.svg"


@dataclass(frozen=True)
class EvaluateCommand(EvaluateConfig):
    """Ask whether the labels of an SAE can be believed: nulls, seeds, removals, rivals."""

    def run(self) -> None:
        """Measure, print what was found, and write it."""
        from rich import print as rich_print

        from mm_sae_plugin.applications.evaluation.run import run_evaluation
        from mm_sae_plugin.commands.engine import one_core_each
        from mm_sae_plugin.report.evaluated import evaluation_tables
        from mm_sae_plugin.report.evaluation_figure import write_evaluation_figure
        from mm_sae_plugin.report.write import write_report
        from mm_sae_plugin.study import Study

        refuse_unwritable(self.out / _PAGE, self.out / _FIGURE)
        study = Study.open(self.sae, self.acts)
        cfg = EvaluateConfig(**{f.name: getattr(self, f.name) for f in fields(EvaluateConfig)})
        engine = one_core_each(1)
        found = run_evaluation(study, cfg, lambda line: print(line, flush=True))
        for table in evaluation_tables(found.record):
            rich_print(table)
        findings = study.inspect(engine, progress=True)
        write_report(study, findings, self.out / _PAGE, evaluated=found.record)
        write_evaluation_figure(found.record, self.out / _FIGURE)
        print(f"Open {self.out / _PAGE}; all figures are in {self.out / RECORD},")
        print(f"a row for each latent is in {self.out / LATENTS}, the drawing is {_FIGURE}.")
