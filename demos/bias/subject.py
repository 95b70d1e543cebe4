"""What is audited: models, each opened from its own labelled SAE, and measured at the start."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mm_sae_plugin.applications.bias.attributed import Attributed, attribute
from mm_sae_plugin.applications.bias.bench import Bench
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.record import record_of_twins
from mm_sae_plugin.applications.bias.twin_audit import TwinAudit, audit_twins
from mm_sae_plugin.applications.bias.twin_vectors import TwinVectors
from mm_sae_plugin.applications.bias.twins import GENDER, NUISANCES, TwinPictures, draw_twins
from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer
from mm_sae_plugin.study import Study

Flip = tuple[str, str, str]
"""A factor, its first and its second value."""
FLIPS: dict[str, Flip] = {
    f"{factor}:{first}/{second}": (factor, first, second)
    for factor, first, second in (GENDER, *NUISANCES)
}
"""How an address calls a flip, to the flip."""
N_PER_TARGET = 25
"""Pairs of twins for each occupation."""
SEED = 0
"""Of permutations, resamples and random sets."""


def called(flip: Flip) -> str:
    """A flip as the page calls it, and as an audit calls those that mean nothing."""
    return "{} {}/{}".format(*flip)


def prompts_for(flip: Flip) -> PromptSet:
    """Return the prompts with the direction stated for a flip.

    For one that means nothing it is gender's, with the first value in the place of women: what is
    found then is chance.
    """
    prompts = factorworld_prompts()
    values = {GENDER[1]: flip[1], GENDER[2]: flip[2]}
    return replace(
        prompts, direction={name: values[group] for name, group in prompts.direction.items()}
    )


@dataclass(frozen=True)
class Subject:
    """A model that is audited, with its SAE."""

    name: str
    """What the page calls it."""
    study: Study
    explorer: Explorer
    bench: Bench
    """What the gap of gender, and what it costs to remove it, is measured on."""
    attributed: Attributed
    """What the gap of gender comes from."""
    vectors: TwinVectors
    n_per_target: int
    _audits: dict[Flip, TwinAudit] = field(default_factory=dict)
    _record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, acts: Path | None = None) -> Subject:
        """Open a model by its SAE, audit it, and attribute its gap; it takes some ten seconds.

        Raises
        ------
        UserError
            If the folder holds no labelled SAE of the joint space, its store or encoder cannot be
            opened, or the model does not know FactorWorld.
        """
        study = Study.open(path, acts)
        name = str(study.sae.cfg.metadata.model_name)
        model = study.model
        if not isinstance(model.tokenizer, WordTokenizer):
            raise UserError(
                f"The bias demo audits models that know FactorWorld, and {name} does not: "
                "audit it on pictures of your own with mm-sae bias."
            )
        explorer = Explorer.open(study, progress=True)
        print(f"{name}: measuring the gaps between twins takes a quarter of a minute …", flush=True)
        bench = Bench.of_twins(study, N_PER_TARGET)
        attributed = attribute(bench, seed=SEED)
        subject = cls(name, study, explorer, bench, attributed, TwinVectors(model), N_PER_TARGET)
        subject.audit(GENDER)
        return subject

    def audit(self, flip: Flip) -> TwinAudit:
        """Return the three answers for a flip; each is computed once."""
        with alone_with(self.study.model):
            if flip not in self._audits:
                self._audits[flip] = audit_twins(
                    self.study.model,
                    prompts_for(flip),
                    flip,
                    self.n_per_target,
                    SEED,
                    self.vectors,
                )
            return self._audits[flip]

    def record(self) -> dict[str, Any]:
        """Return the record of the audit of gender, which its card is made from; made once."""
        with alone_with(self.study.model):
            if not self._record:
                found = record_of_twins(
                    self.study.model, self.study, None, self.n_per_target, seed=SEED
                )
                self._record.update(found)
            return self._record

    def gap_of_pair(self, twins: TwinPictures, pair: int) -> float:
        """Return the gap of one pair of twins for the prompts of its own occupation, in logits."""
        with alone_with(self.study.model):
            first, second = self.vectors.of(twins).chunk(2)
        evidence = self.bench.testing
        asked = evidence.texts[twins.targets[pair]].mean(0)
        return float(evidence.scale * torch.dot(first[pair] - second[pair], asked))

    def twins(self, flip: Flip) -> TwinPictures:
        """The pictures that the audit of a flip looked at."""
        return draw_twins(flip, self.n_per_target)


def open_subjects(sae: Path, acts: Path | None, beside: Path | None) -> list[Subject]:
    """Open one model or two; their names differ."""
    subjects = [Subject.open(sae, acts)]
    if beside is not None:
        subjects.append(Subject.open(beside))
    if len({subject.name for subject in subjects}) < len(subjects):
        subjects = [
            replace(subject, name=f"{subject.name} ({path})")
            for subject, path in zip(subjects, (sae, beside), strict=True)
        ]
    return subjects
