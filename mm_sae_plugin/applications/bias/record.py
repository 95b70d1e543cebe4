"""The record of an audit: all that it asked, counted and found, as plain JSON values.

The audit card is made from it alone, and so can be made again by anybody who has the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.accuracy import subgroup_accuracy
from mm_sae_plugin.applications.bias.attributed import Attributed, attribute
from mm_sae_plugin.applications.bias.bench import Bench
from mm_sae_plugin.applications.bias.effect_size import effect_size
from mm_sae_plugin.applications.bias.embedding import embed_texts
from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.group_audit import GroupAudit, audit_groups
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.mitigations import Mitigated, compare_mitigations
from mm_sae_plugin.applications.bias.nearest import nearest_names
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.twin_audit import (
    TargetGap,
    audit_twins,
    gaps_of_targets,
)
from mm_sae_plugin.applications.bias.twin_vectors import TwinVectors
from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.versions import versions

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP
    from mm_sae_plugin.study import Study

FORMAT = "mm_sae_plugin bias audit"
LIMITS = (
    "Groups are as the data set labels them: perceived, of few values, and not what people say of "
    "themselves.",
    "Some gap in every prompt is certain in any trained model, and more images only make it surer: "
    "no claim is made of a single prompt.",
    "Only the test of a direction that was stated beforehand speaks of a learned association; it "
    "does not say where the model learnt it.",
    "Latents are one dictionary's way to take vectors apart; another dictionary finds others.",
    "A gap that is smaller after an edit may be so because the group, or all else, can no longer "
    "be read: see what stands beside it.",
)
_INVENTED = (
    "FactorWorld is drawn by a program: its association of gender with occupation is invented, and "
    "says nothing of people."
)
_GROUPS_DIFFER = (
    "Groups of different people differ in much besides the group: background, dress, light. A gap "
    "between them is not of the group alone, as one between twins is."
)


def record_of_twins(
    model: HookedCLIP,
    study: Study | None = None,
    prompts: PromptSet | None = None,
    n_per_target: int = 25,
    n_random: int = 20,
    seed: int = 0,
    sensitivity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Audit a model on twins of FactorWorld.

    Parameters
    ----------
    model : HookedCLIP
        One that knows FactorWorld.
    study : Study, optional
        A labelled SAE of the model, which the gap is attributed to.
    prompts : PromptSet, optional
        By default ``factorworld_prompts()``.
    n_per_target, n_random, seed : int
        Pairs for each occupation, random sets beside each class, and of all that is drawn.
    sensitivity : mapping, optional
        What else was found of prompts and backgrounds; goes into the record as it is.
    """
    prompts = prompts or factorworld_prompts()
    audit = audit_twins(model, prompts, GENDER, n_per_target, seed, TwinVectors(model))
    twins = draw_twins(GENDER, n_per_target)
    evidence = Evidence.of_twins(model, twins, prompts)
    bench = None if study is None else partial(Bench.of_twins, study, n_per_target, prompts)
    return {
        **_head(model, study, prompts, evidence, seed),
        "source": {
            "kind": "twins",
            "name": "twins of FactorWorld",
            "flip": list(audit.flip),
            "n_per_target": n_per_target,
            "left_out": {},
        },
        "targets": {name: _gap(found) for name, found in audit.targets.items()},
        "spread": audit.spread,
        "nuisances": audit.nuisances,
        "direction": asdict(audit.direction),
        "verdict": audit.verdict,
        "effect_size": _effect_size(evidence, seed),
        "accuracy": _accuracy(evidence),
        "sensitivity": sensitivity,
        **_attributed(bench, n_random, seed),
        "limits": [_INVENTED, *LIMITS],
    }


def record_of_groups(
    model: HookedCLIP,
    images: Float[Tensor, "n d"],
    groups: Groups,
    prompts: PromptSet,
    first: str,
    source: Mapping[str, Any],
    study: Study | None = None,
    n_random: int = 20,
    seed: int = 0,
    sensitivity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Audit images of one's own.

    Parameters
    ----------
    model : HookedCLIP
    images : float
        Their unit-length joint vectors.
    groups : Groups
        Who is in them.
    prompts : PromptSet
        For all of their targets, if they have any.
    first : str
        The group whose images count with a plus.
    source : mapping
        Where they come from: plain JSON values, with ``name`` and ``left_out``.
    study, n_random, seed, sensitivity
        See :func:`record_of_twins`.

    Raises
    ------
    UserError
        If there is no such group, a target has no prompts, or none has images of both groups.
    """
    texts = {name: embed_texts(model, asked) for name, asked in prompts.prompts.items()}
    scale = float(model.logit_scale.detach().exp())
    audit = audit_groups(images, texts, scale, groups, prompts, first, seed=seed)
    two = len(groups.names) == 2
    evidence = Evidence.of_groups(model, images, groups, prompts, first) if two else None
    # More groups than two are told of where the attribution would stand.
    given = (study, images, groups, prompts, first)
    bench = None if study is None else partial(Bench.of_groups, *given)
    return {
        **_head(model, study, prompts, evidence, seed),
        "groups": {"first": first, "names": list(groups.names), "counts": _counts(groups)},
        "source": {"kind": "images", **source},
        "targets": _targets(audit, images, texts, scale, groups, first, seed),
        "not_compared": list(audit.left_out),
        "metrics": {name: _metrics(found) for name, found in audit.prompts.items()},
        "spread": None,
        "nuisances": None,
        "direction": None if audit.direction is None else asdict(audit.direction),
        "verdict": None if audit.direction is None else audit.direction.verdict,
        "effect_size": None if evidence is None else _effect_size(evidence, seed),
        "accuracy": _accuracy_of_groups(images, texts, groups),
        "sensitivity": sensitivity,
        **_attributed(bench, n_random, seed),
        "limits": [*(() if groups.twin else (_GROUPS_DIFFER,)), *LIMITS],
    }


def _head(
    model: HookedCLIP,
    study: Study | None,
    prompts: PromptSet,
    evidence: Evidence | None,
    seed: int,
) -> dict[str, Any]:
    head: dict[str, Any] = {
        "format": FORMAT,
        "model": {"name": model.cfg.model_name, "weights_id": model.weights_id},
        "sae": None if study is None else _sae(study),
        "prompts": prompts.to_dict(),
        "seed": seed,
        "versions": versions(),
    }
    if evidence is not None:
        names = sorted({evidence.first, evidence.second})
        head["groups"] = {
            "first": evidence.first,
            "names": names,
            "counts": _counts(Groups(evidence.group, evidence.target, least=1)),
        }
        head["words"] = prompts.of_groups(names)
        gaps = evidence.gaps()
        is_signed = set(evidence.direction.values()) == {1, -1}
        head["summary"] = {
            "name": "signed gap" if is_signed else "mean size of the gaps",
            "value": evidence.summary(gaps),
        }
    return head


def _sae(study: Study) -> dict[str, Any]:
    return {
        "name": study.path.resolve().name,
        "sae_id": study.sae_id,
        "hooks": dict(study.hook_names),
        "d_sae": study.feature_map.n_features,
        "class_counts": study.labels.class_counts,
        "score": study.labels.cfg.score,
        "store_key": study.labels.store_key,
    }


def _counts(groups: Groups) -> dict[str, dict[str, int]]:
    """Images by target, then by group; without targets all stand under one name."""
    targets = groups.target or ("all images",) * len(groups)
    counts = {name: dict.fromkeys(groups.names, 0) for name in sorted(set(targets))}
    for target, group in zip(targets, groups.group, strict=True):
        counts[target][group] += 1
    return counts


def _gap(found: TargetGap) -> dict[str, Any]:
    return {
        "gap": found.gap,
        "low": found.interval.low,
        "high": found.interval.high,
        "n": found.interval.n_clusters,
        "p": found.p,
        "no_bias": list(found.no_bias),
    }


def _targets(
    audit: GroupAudit,
    images: Tensor,
    texts: Mapping[str, Tensor],
    scale: float,
    groups: Groups,
    first: str,
    seed: int,
) -> dict[str, Any]:
    """The gap of every prompt; between twins where there are any, else between groups."""
    if groups.twin is not None:
        one, other = (torch.from_numpy(rows) for rows in groups.pairs(first))
        apart = images[one] - images[other]
        target = None if groups.target is None else np.array(groups.target)[one.numpy()]
        pairs = {}
        for name, rows in texts.items():
            chosen = np.ones(len(one), dtype=bool) if target is None else target == name
            if chosen.sum() >= 2:
                own = apart[torch.from_numpy(chosen)] @ rows.mean(0)
                pairs[name] = scale * own.double().numpy()
        return {name: _gap(found) for name, found in gaps_of_targets(pairs, seed).items()}
    return {
        name: {
            "gap": found.gap.value,
            "low": found.interval.low,
            "high": found.interval.high,
            "n": found.interval.n_clusters,
            "p": found.p_adjusted,
            "no_bias": list(found.gap.band),
        }
        for name, found in audit.prompts.items()
    }


def _metrics(found: Any) -> dict[str, Any]:
    by_depth = {"share gap": found.share_gaps, "MaxSkew": found.max_skews}
    rows = [
        {"metric": f"{name}@{k}", **asdict(metric)}
        for name, metrics in by_depth.items()
        for k, metric in metrics.items()
    ]
    rows.append({"metric": "NDKL", **asdict(found.ndkl)})
    return {"rows": rows, "gap_by_template": found.gap_by_template}


def _effect_size(evidence: Evidence, seed: int) -> dict[str, Any] | None:
    """Do the prompts stated for the first group lie nearer to its images than the others do?"""
    contrast = evidence.contrast
    stated = [name for name in contrast.targets if name in evidence.direction]
    if {evidence.direction[name] for name in stated} != {1, -1}:
        return None
    # Within targets, as the gaps are: else prompts lean to whoever is more often of their target.
    rows = torch.stack([evidence.texts[name].mean(0) for name in contrast.targets])
    leaning = contrast.gaps(evidence.images, normalize(rows, dim=1))
    towards, away = (
        np.array([leaning[name] for name in stated if evidence.direction[name] == sign])
        for sign in (1, -1)
    )
    return asdict(effect_size(towards, away, seed))


def _accuracy(evidence: Evidence) -> dict[str, Any] | None:
    groups = Groups(evidence.group, evidence.target, least=1)
    return _accuracy_of_groups(evidence.images, evidence.texts, groups)


def _accuracy_of_groups(
    images: Tensor, texts: Mapping[str, Tensor], groups: Groups
) -> dict[str, Any] | None:
    """How often the target is found, by group and by target within groups."""
    if groups.target is None or len(texts) < 2:
        return None
    columns = {"group": groups.group, "target": groups.target}
    found = subgroup_accuracy(groups.target, nearest_names(images, texts), columns)
    return {
        "overall": found.overall,
        "by_group": found.by_group["group"],
        "by_group_and_target": [
            {"group": group, "target": target, "n": found.intersectional_counts[group, target]}
            | {"accuracy": found.intersectional[group, target]}
            for group, target in found.intersectional
        ],
        "worst": {"groups": list(found.worst), "accuracy": found.worst_accuracy},
    }


def _attributed(bench: Callable[[], Bench] | None, n_random: int, seed: int) -> dict[str, Any]:
    """What the gap comes from, and what makes it smaller; or why that is not said."""
    if bench is None:
        return _none("No SAE was given.")
    try:
        opened = bench()
    except UserError as error:
        return _none(str(error))
    found = attribute(opened, n_random, seed=seed)
    return attribution_record(found, compare_mitigations(opened, found))


def attribution_record(found: Attributed, mitigated: list[Mitigated]) -> dict[str, Any]:
    """What stands in a record of an attribution and of ways to make a gap smaller."""
    return {
        "attribution": asdict(found),
        "mitigations": [asdict(row) for row in mitigated],
        "attribution_left_out": None,
    }


def _none(why: str) -> dict[str, Any]:
    return {"attribution": None, "mitigations": [], "attribution_left_out": why}
