"""How much of an evaluation is asked. Standard library only, so that the CLI is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError, check_numbers

RECORD, LATENTS = "evaluation.json", "latents.parquet"
"""Files with all figures, and with a row for each latent."""
PARTS = ("nulls", "stability", "causal", "monosemanticity")
"""What is measured, each part by itself."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What is evaluated, on how much, and where the results go."""

    sae: Path
    """Folder of a labelled SAE."""
    out: Path = Path("runs/evaluation")
    """Folder for evaluation.json, latents.parquet, evaluation.svg and report.html."""
    acts: Path | None = None
    """Its activation store; by default the one that it was trained on."""
    against: tuple[str, ...] = ()
    """Comparators to stand beside the SAE: names such as raw, pca, nmf, ncl_shared, matched_saes,
    sae_batchtopk. By default raw and pca; with --full, all of them."""
    beside: str | None = None
    """Another model whose own dimensions are measured on the same pairs, such as
    factorworld-declip."""
    image_encoder: str | None = None
    """An encoder of images other than the one interpreted, which judges what is alike:
    factorworld-classifier, an open_clip name, hf:FOLDER or timm:NAME, weights in a file behind an
    @ (ViT-B-32@FILE). FactorWorld has its own."""
    parts: tuple[str, ...] = PARTS
    """What to measure, of nulls, stability, causal and monosemanticity."""
    full: bool = False
    """More seeds, other sizes, all comparators, all images: half an hour instead of minutes."""
    seed: int = 0
    """Of all that is drawn."""
    n_workers: int = 2
    """Parts that are measured at a time, each in one process of one thread."""

    def __post_init__(self) -> None:
        """Refuse settings that have no meaning."""
        check_numbers(self)
        for part in self.parts:
            if part not in PARTS:
                raise UserError(f"There is no part {part!r:.40}: choose from {', '.join(PARTS)}.")
        if not self.parts:
            raise UserError(f"No part is to be measured: choose from {', '.join(PARTS)}.")
        if self.n_workers < 1:
            raise UserError(f"--n-workers must be at least 1, not {self.n_workers}.")
