"""Claims of one or two evaluations, out of the folders that `mm-sae evaluate` wrote: C1 to C4."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mm_sae_plugin.applications.claims.claim import CLAIMS, Finding, Labels
from mm_sae_plugin.applications.claims.distribution import Scored, claim_c2
from mm_sae_plugin.applications.evaluation.reading import read_evaluation, read_latents
from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS: dict[Labels, str] = {"carried": CARRIED, "paper": PAPER_SCORE}
_FIELDS = tuple(field.name for field in fields(Finding))


@dataclass(frozen=True)
class Evaluated:
    """A folder of `mm-sae evaluate`, read."""

    path: Path
    model: str
    d_sae: int
    findings: list[Finding]
    """Claims that one model can be asked about."""
    latents: pd.DataFrame
    """A row for each latent."""

    @classmethod
    def read(cls, folder: Path) -> Evaluated:
        """Read a folder.

        Raises
        ------
        UserError
            If a file is missing, or is not as it was written.
        """
        record, latents = read_evaluation(folder), read_latents(folder)
        try:
            given = [{name: found[name] for name in _FIELDS} for found in record["claims"]]
            _ = latents[["class", "concept", *_COLUMNS.values()]]
            model = record["model"]["name"]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"The evaluation in {folder} is none that this version reads ({one_line(error)}): "
                "run `mm-sae evaluate` again."
            ) from error
        findings = [Finding(**found) for found in given]
        return cls(folder, model, len(latents), findings, latents)

    def scored(self, labels: Labels) -> Scored:
        """Scores of the latents alive."""
        scores = self.latents[_COLUMNS[labels]].to_numpy(float)
        counted = (self.latents["class"] != "Dead").to_numpy() & ~np.isnan(scores)
        concept = self.latents["concept"].to_numpy(np.int64)
        return Scored(self.model, scores[counted], concept[counted])


def separation(plain: Evaluated, supervised: Evaluated) -> list[Finding]:
    """Judge C2 by both kinds of labels.

    Raises
    ------
    UserError
        If both are of one model, or their dictionaries are of different sizes.
    """
    if plain.model == supervised.model:
        raise UserError(
            f"{plain.path} and {supervised.path} are both of {plain.model}: give an evaluation of "
            "a model that was trained with self-supervision within the modalities, such as "
            "factorworld-declip."
        )
    if plain.d_sae != supervised.d_sae:
        raise UserError(
            f"The SAE of {plain.path} has {plain.d_sae:,} latents and that of {supervised.path} "
            f"{supervised.d_sae:,}: how far latents lie apart depends on it, so compare SAEs of "
            "one size."
        )
    return [claim_c2(plain.scored(name), supervised.scored(name), name) for name in _COLUMNS]


def missing_claims(findings: list[Finding]) -> list[Finding]:
    """Say of claims C1 to C4 that nothing was found on what would test them."""
    how = {"C2": "mm-sae claims EVALUATION --self-supervised EVALUATION"}
    named = {finding.claim for finding in findings}
    return [
        Finding(
            claim, None, "", "not tested", f"Measure it with `{how.get(claim, 'mm-sae evaluate')}`."
        )
        for claim in list(CLAIMS)[:4]
        if claim not in named
    ]
