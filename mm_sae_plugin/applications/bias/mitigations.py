"""Ways to make a gap smaller, side by side, each with what it costs.

All are fitted on the choosing half of a bench and judged on its testing half. Removing, clamping
and modulating latents goes through `interventions`; the projections and the balanced prompts need
no SAE.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.attributed import Attributed
from mm_sae_plugin.applications.bias.bench import Bench, Change, Measured, unchanged
from mm_sae_plugin.applications.bias.mitigation import Balancing, Projection, leading
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.edit import EditStep
from mm_sae_plugin.modality import Modality

LEAST_TAKEN = 0.05
"""Share of the whole that a latent takes with it, to be one of those that are removed."""
MOST_LATENTS = 10
"""At most so many are removed."""
CLAMPED_TO = 0.5
"""Of its typical activation, where a latent is clamped."""
LEAST_LEANING = 0.5
"""How far a latent's mean codes on the groups' sentences differ, over their sum, where it is
modulated: 1 is a latent of one group's sentences only."""


@dataclass(frozen=True)
class Mitigated:
    """One way, and the model after it."""

    name: str
    """What was done."""
    side: str
    """`image`, `text` or `both`."""
    latents: tuple[int, ...]
    """Which latents it changes; empty where it needs no SAE."""
    measured: Measured
    """On images that nothing was chosen by."""


def compare_mitigations(bench: Bench, attributed: Attributed) -> list[Mitigated]:
    """Measure every way; the first row is of the model as it is."""
    latents = chosen_latents(attributed)
    ways = [("nothing", "both", (), unchanged), *_by_latents(bench, latents), *_rivals(bench)]
    return [
        Mitigated(name, side, taken, bench.measure_change(change, side))
        for name, side, taken, change in ways
    ]


def chosen_latents(attributed: Attributed) -> tuple[int, ...]:
    """Return the latents that take most of the gap with them, on the choosing half.

    Strongest first, until what they take one by one adds up to the whole.
    """
    whole = abs(attributed.whole_choosing)
    chosen, taken = [], 0.0
    for row in attributed.latents[:MOST_LATENTS]:
        share = abs(row.taken_choosing)
        if taken >= whole or share < LEAST_TAKEN * whole:
            break
        chosen.append(row.latent)
        taken += share
    return tuple(chosen)


_Way = tuple[str, str, tuple[int, ...], Change]


def _by_latents(bench: Bench, latents: tuple[int, ...]) -> Iterator[_Way]:
    study = bench.study
    if latents:
        removing = bench.change_of(FeatureEdit.ablate(study, latents=list(latents)))
        clamping = FeatureEdit.clamp(study, 0.0, CLAMPED_TO, latents=list(latents))
        yield "latents removed", "both", latents, removing
        yield "latents removed", "image", latents, removing
        yield "latents removed", "text", latents, removing
        yield "latents clamped", "both", latents, bench.change_of(clamping)
        yield "their directions projected out", "both", latents, _projecting(bench, latents)
    leaning, edit = modulation(bench)
    if leaning:
        yield "text latents modulated (SEM)", "text", leaning, bench.change_of(edit)


def modulation(bench: Bench) -> tuple[tuple[int, ...], FeatureEdit]:
    """Return the edit that sets text latents which lean to a group to their mean over all prompts.

    In the manner of sparse embedding modulation (arXiv 2603.19028), which finds the neurons of a
    text SAE that answer to one group's words and neutralises them.
    """
    study, evidence = bench.study, bench.choosing
    with torch.no_grad():
        first, second = (
            study.feature_map.encode(evidence.words[name], "text").mean(0)
            for name in (evidence.first, evidence.second)
        )
        usual = study.feature_map.encode(evidence.rows, "text").mean(0)
    leaning = (first - second).abs() > LEAST_LEANING * (first + second)
    latents = tuple(leaning.nonzero()[:, 0].tolist())
    reference = tuple(usual[list(latents)].tolist())
    step = EditStep("replace", latents, 1.0, unit="code", reference=reference)
    return latents, FeatureEdit((step,), study.sae_id, study.weights_id)


def _projecting(bench: Bench, latents: Sequence[int]) -> Change:
    """Take the span of the latents' decoder directions out of vectors."""
    spanning = bench.study.feature_map.directions[list(latents)].detach().float().T
    basis, _ = torch.linalg.qr(spanning)

    def change(rows: Tensor, modality: Modality) -> Tensor:
        return normalize(rows - rows @ basis @ basis.T, dim=1)

    return change


def _rivals(bench: Bench) -> Iterator[_Way]:
    evidence = bench.choosing
    is_first = torch.from_numpy(evidence.is_first)
    images = leading(evidence.images[is_first], evidence.images[~is_first])
    words = [evidence.words[name] for name in (evidence.first, evidence.second)]
    said = leading(*words)
    for name, side, way in (
        ("direction between the groups' images projected out", "both", Projection(images)),
        ("direction between the groups' words projected out", "both", Projection(said)),
        ("prompts balanced between the groups' words", "text", Balancing(said)),
    ):
        yield name, side, (), _of_rows(way)


def _of_rows(way: Projection | Balancing) -> Change:
    return lambda rows, modality: way(rows)
