"""The main job from start to end on the embedded world: ``mm-sae quickstart``."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_sae_plugin.commands.engine import sleep_while_waiting
from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.files import refuse_unwritable, write_json_atomically


@dataclass(frozen=True)
class QuickstartConfig:
    """Train and label an SAE on the embedded model and world, and compare with the truth."""

    out: Path = Path("runs/quickstart")
    """Folder for the pair store, the SAE, summary.json and report.html."""
    pairs: int = 16_000
    """Image–caption pairs to draw, at least 500."""
    seed: int = 0
    """Seed of the world and of the SAE."""
    model: str = "factorworld"
    """`factorworld`; `factorworld-declip`, trained with self-supervision; `factorworld-biased`,
    with an invented association of gender with occupation; or `factorworld-robust`, fine-tuned
    against adversarial images."""
    d_sae: int = 512
    """Latents: four times the width of the joint embedding. Concepts split into one latent for
    images and one for captions, as they do in dictionaries that people use."""
    k: int = 16
    """Active latents per row: an image shows about 12 values, a caption names about as many."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.pairs < 500:
            raise UserError(
                f"The quickstart needs at least 500 pairs to tell latents apart, not {self.pairs}."
            )


@dataclass(frozen=True)
class QuickstartCommand(QuickstartConfig):
    """Train and label an SAE on the embedded model and world, and compare with the truth."""

    def run(self) -> None:
        """Run every step and say where the results are."""
        sleep_while_waiting()
        summary = run_quickstart(self)
        print(f"It took {summary['seconds']['total']:.0f} s. Open {self.out / 'report.html'};")
        print(f"the figures are in {self.out / 'summary.json'}, the SAE is in {self.out / 'sae'}.")


def run_quickstart(cfg: QuickstartConfig, progress: bool = True) -> dict[str, Any]:
    """Run every step and return what ``summary.json`` holds.

    An interrupted run goes on where it stopped: the pair store is reused, and so is a training
    checkpoint. Only a finished SAE is trained anew, so that the same command repeats the job.

    Raises
    ------
    UserError
        If the folder holds the pairs of another run or cannot be written, or the disk is full.
    """
    summary_path, page = cfg.out / "summary.json", cfg.out / "report.html"
    refuse_unwritable(summary_path, page)
    seconds: dict[str, float] = {}
    with _timed(seconds, "import"):
        from mm_sae_plugin.activations import ExtractConfig, extract
        from mm_sae_plugin.commands.engine import one_core_each
        from mm_sae_plugin.devices import available_cores
        from mm_sae_plugin.models import load_model
        from mm_sae_plugin.pairs import load_pairs
        from mm_sae_plugin.report import terminal_table
        from mm_sae_plugin.report.write import write_report
        from mm_sae_plugin.stats.scores import PAPER_SCORE
        from mm_sae_plugin.stats.stability_note import told_of_stability
        from mm_sae_plugin.study import Study
        from mm_sae_plugin.training import (
            MultimodalSAERunnerConfig,
            MultimodalSAETrainingRunner,
        )
    with _timed(seconds, "load"):
        model = load_model(cfg.model)
        pairs = load_pairs(f"factorworld:{cfg.pairs}:{cfg.seed}")
    with _timed(seconds, "extract"):
        store = extract(model, pairs, cfg.out / "acts", ExtractConfig(), progress=progress)
    with _timed(seconds, "train"):
        # Steps are too small to gain from a second thread, and lose by waiting for it: from here on
        # torch has one, and the labels one for each worker.
        engine = one_core_each(available_cores())
        sae_dir = cfg.out / "sae"
        training = MultimodalSAERunnerConfig(
            out=sae_dir,
            # The same SAE as topk, trained faster.
            architecture="sparse_topk",
            d_sae=cfg.d_sae,
            k=cfg.k,
            seed=cfg.seed,
            # Larger batches, gentler steps and a shorter memory of Adam's leave fewer dead latents.
            train_batch_size_samples=1024,
            lr=2e-3,
            adam_beta2=0.98,
            overwrite=True,
            # Checkpoints stay behind only where a training was interrupted.
            resume=(sae_dir / "checkpoints").is_dir(),
        )
        try:
            MultimodalSAETrainingRunner(training, store).run()
        except KeyboardInterrupt as interruption:
            told = "Interrupted; run the same command again to go on."
            raise type(interruption)(told) from None
    with _timed(seconds, "label"):
        study = Study.open(sae_dir, store, model)
        findings = study.label(engine=engine, progress=progress)
        dominance, evaluation, truth = findings.dominance, findings.evaluation, findings.truth
        assert truth is not None, "FactorWorld pairs carry their labels"
    with _timed(seconds, "report"):
        write_report(study, findings, page)
    trained, untrained = (check.to_dict() for check in truth)
    seconds["total"] = sum(seconds.values())
    summary = {
        "model": cfg.model,
        "weights_id": model.weights_id,
        "n_pairs": store.manifest.n_pairs,
        "seed": cfg.seed,
        "d_sae": cfg.d_sae,
        "k": cfg.k,
        "explained_variance": evaluation.explained_variance,
        "l0": evaluation.l0,
        # Too rare to be labelled; those that never fire are among them.
        "n_dead": dominance.class_counts["Dead"],
        "n_never_firing_by_modality": evaluation.n_never_firing_by_modality,
        "score": dominance.cfg.score,
        "class_counts": dominance.class_counts,
        "class_counts_paper_score": dominance.by_paper_score.class_counts,
        "kappa_with_paper_score": dominance.kappa,
        "n_concepts_split": len(dominance.concepts),
        "n_latents_split": dominance.n_split,
        "n_by_association": dominance.n_by_association,
        "truth": trained["contrasts"][trained["score"]],
        "truth_paper_score": trained["contrasts"][PAPER_SCORE],
        "truth_untrained": untrained["contrasts"][untrained["score"]],
        "calibration": trained["calibration"][trained["calibration_score"]]
        | {"score": trained["calibration_score"]},
        "calibration_by_score": trained["calibration"],
        "n_following": trained["n_following"],
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    write_json_atomically(summary_path, summary)
    if progress:
        from rich import print as rich_print

        stability = told_of_stability(sae_dir, dominance.classes)
        rich_print(terminal_table(dominance, evaluation, *truth, stability))
    return summary


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started
