"""Does the other side carry a latent, or only something that goes with it?

The captions may tell of a latent that they never speak of, through a concept that both sides show
and that it goes with: of a person's gender through the occupation, where that is said and gender is
not. What gives it away is the own side, which then knows what the other side says *by itself*: the
image shows the occupation, whatever the gender.

So the other side's reading of the latent is read back from the own side. A latent that is carried
is what is found there: its own reading explains that knowledge, but for the small differences
between "shows another value" and "shows none". Where it explains less than `LEAST_DIRECT` of it,
where another latent of the own side explains it better, or where a few together explain all of it,
what the other side says belongs to something else, and the latent is carried *by association*. But
a latent that fires only where that other one does is a part of its concept.

All of it follows from the moments of the first pass. Each half of the images gives readers whose
errors are independent of those of the other half, so every product of two readings is taken between
the halves, and what is explained is free of their errors (correction for attenuation, Spearman
1904). Where the halves do not agree on what the own side knows, nothing is said.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality, other_modality
from mm_sae_plugin.stats.carried.groups import N_FOLDS
from mm_sae_plugin.stats.carried.moments import ProbeMoments
from mm_sae_plugin.stats.carried.probes import Probes, inverse_covariance

LEAST_DIRECT = 0.4
"""Share of what the own side knows of the other's reading that a carried latent explains at least.
Two-valued factors that both sides show now and then come down to about one half."""
LEAD = 0.1
"""How much more another latent, or a few together, must explain."""
N_TOGETHER = 8
"""Other latents that are taken together, those that explain most by themselves."""
ALL_OF_IT = 0.97
"""Share that they must explain: latents that overlap at random explain much of each other too."""
SAME_LATENT = 0.9
"""Squared correlation of readings from which two latents count as one: neither explains away the
other."""
PART_OF = 0.95
"""How far what is known rises where a latent fires, as a share of how far it rises where the other
one does, above which the latent is a part of that concept and not one that goes with it."""
LEAST_AGREEMENT = 0.7
"""Correlation of what the two halves say the own side knows, below which nothing is said."""
LEAST_FIRINGS = 30
"""Firings that a latent needs to explain anything."""
# Latents that are compared with all others at a time.
_BLOCK = 512
_TINY = 1e-15


@dataclass(frozen=True)
class Association:
    """What explains the other side's readings."""

    direct: Float[Tensor, "n_features"]
    """float64, 0 to 1: share of what the own side knows of the other side's reading that is
    explained by the latent's own reading; 1 where nothing is said."""
    by: Int[Tensor, "n_features"]
    """Latent of the own side that explains more; -1 where none does."""
    associated: Bool[Tensor, "n_features"]
    """Whether the other side speaks of something that only goes with the latent."""


def association(moments: ProbeMoments, probes: Probes, ridge: float) -> Association:
    """Ask what the other side's readings are about.

    Parameters
    ----------
    moments : ProbeMoments
        Of a whole store.
    probes : Probes
        Fitted from them.
    ridge : float
        Penalty, as in `fit_probes`.
    """
    n_features = moments.n_features
    found = Association(
        torch.ones(n_features, dtype=torch.float64),
        torch.full((n_features,), -1),
        torch.zeros(n_features, dtype=torch.bool),
    )
    for own in MODALITIES:
        mine = (probes.on_image == (own == "image")).nonzero()[:, 0]
        if len(mine):
            _one_side(found, moments, probes, ridge, own, mine)
    return found


def _one_side(
    found: Association,
    moments: ProbeMoments,
    probes: Probes,
    ridge: float,
    own: Modality,
    mine: Int[Tensor, "n_mine"],
) -> None:
    """Fill in the latents of one side."""
    other = other_modality(own)
    covariance = sum(moments.covariance(own, own, half) for half in range(N_FOLDS)) / N_FOLDS
    firing, said = [], []
    for half in range(N_FOLDS):
        # The readers of a half were fitted on the other one, and so must be what reads them back.
        taught_on = N_FOLDS - 1 - half
        firing.append(probes.weights[own][half][:-1, mine].double())
        reads_other = probes.weights[other][half][:-1, mine].double()
        together = moments.covariance(own, other, taught_on)
        inverse = inverse_covariance(moments.second[own][taught_on], ridge)
        said.append(inverse @ (together @ reads_other))
    seen = [covariance @ weights for weights in firing]
    firing_variance = (firing[0] * seen[1]).sum(0).clamp_min(_TINY)
    known = (said[0] * (covariance @ said[1])).sum(0)
    alone = [(weights * (covariance @ weights)).sum(0).clamp_min(_TINY) for weights in said]
    agreement = known / (alone[0] * alone[1]).sqrt()
    known = known.clamp_min(_TINY)
    activity = moments.activity[own][mine].clamp_min(_TINY)
    # As many firings as would tell as much if all were equally strong.
    n_firings = moments.activity[own][mine] ** 2 / moments.energy[own][mine].clamp_min(1e-300)
    for block in torch.arange(len(mine)).split(_BLOCK):
        column = torch.arange(len(block))
        covaries = (seen[0].T @ said[1][:, block] + seen[1].T @ said[0][:, block]) / 2
        explained = covaries.clamp_min(0) ** 2 / firing_variance[:, None] / known[block]
        direct = explained[block, column]
        alike = (seen[0].T @ firing[1][:, block]) ** 2
        alike = alike / firing_variance[:, None] / firing_variance[block]
        rivals = (alike < SAME_LATENT) & (n_firings[:, None] >= LEAST_FIRINGS)
        rivals[block, column] = False
        alone, by = torch.where(rivals, explained, 0.0).topk(min(N_TOGETHER, len(mine)), dim=0)
        shared = torch.einsum("dmk,dnk->kmn", seen[0][:, by], firing[1][:, by])
        together = _explained(shared, covaries.gather(0, by).T, (alone > 0).T) / known[block]
        # How far what is known rises where a latent fires, above its mean.
        lift = covaries / activity[:, None]
        is_part = lift[block, column] > PART_OF * lift[by[0], column]
        surpassed = (alone[0] > direct + LEAD) & ~is_part
        outnumbered = (together > ALL_OF_IT) & (together > direct + LEAD) & ~is_part
        told = agreement[block] >= LEAST_AGREEMENT
        # Where the halves do not agree, the ratio is one of two errors.
        found.direct[mine[block]] = torch.where(told, direct.clamp(max=1), 1.0)
        elsewhere = (direct < LEAST_DIRECT) | surpassed | outnumbered
        found.associated[mine[block]] = told & elsewhere
        found.by[mine[block]] = torch.where(surpassed, mine[by[0]], -1)


def _explained(
    shared: Float[Tensor, "n_block n_together n_together"],
    covaries: Float[Tensor, "n_block n_together"],
    used: Bool[Tensor, "n_block n_together"],
) -> Float[Tensor, "n_block"]:
    """Variance that a few readings explain together, none of them with a negative weight.

    One that would get a negative weight is left out: it says what is *not* there, as every other
    value of a factor does.
    """
    shared = (shared + shared.mT) / 2
    weights = torch.zeros_like(covaries)
    for _ in range(shared.shape[1]):
        both = used[:, :, None] & used[:, None, :]
        # The diagonal of what is left out is one, so that it can be solved and gives nothing.
        system = torch.where(both, shared, 0.0) + torch.diag_embed((~used).double())
        system = system + torch.diag_embed(torch.where(used, shared.diagonal(0, 1, 2), 0.0)) * 1e-3
        weights = torch.linalg.solve(system, torch.where(used, covaries, 0.0))
        negative = used & (weights < 0)
        if not bool(negative.any()):
            break
        used = used & ~negative
    return (torch.where(used, weights, 0.0) * covaries).sum(1)
