"""The three answers for a flip, both models side by side: sizes, gaps, and the direction test."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mm_sae_plugin.applications.bias.twin_audit import TwinAudit
from mm_sae_plugin.applications.bias.twins import GENDER
from mm_sae_plugin.demos.bias.drawing import (
    details,
    level,
    part,
    side_by_side,
    signed,
    soft,
    table,
)
from mm_sae_plugin.demos.bias.gaps_figure import gaps_figure, reach_of
from mm_sae_plugin.demos.bias.subject import Flip, Subject, called, prompts_for

_LEVEL = 0.05
_LEGEND = (
    "Lines are 95% intervals of the mean over pairs. Filled dots: occupations stated for "
    "{first}; hollow: for {second}. {no_bias} Grey bars: where swapping the labels within pairs "
    "puts the gap, <b>no bias</b>. {meaningless} Wide band: how far the gaps of flips that <b>mean "
    "nothing</b> spread around their mean, at most. Compare the spread of all dots with it, not a "
    "single dot."
)


def audited(subjects: Sequence[Subject], flip: Flip) -> str:
    """All about a flip: who is compared, then what was found."""
    audits = [subject.audit(flip) for subject in subjects]
    return _sizes(audits[0], flip) + _gaps(subjects, audits, flip) + _questions(subjects, audits)


def _sizes(audit: TwinAudit, flip: Flip) -> str:
    _, first, second = flip
    prompts = prompts_for(flip)
    n = sum(audit.n_pairs.values())
    told = (
        f"<p>{n} pairs of twins, {n} pictures of either kind. Twins are the same drawn scene with "
        f"the same noise; only the {flip[0]} differs, {first} in one and {second} in the other.</p>"
        f"<p>The <b>gap</b> of an occupation is how much nearer the picture with {flip[0]} {first} "
        f"is to the occupation’s prompts than its twin with {second}, in logits.</p><p>Some gap is "
        "certain in any trained model. <b>Only the direction test speaks of a learned "
        "association</b>: do the gaps of many occupations go the way that was stated "
        "beforehand?</p>"
    )
    rows = [
        (target, f"{size:,}", f"{size:,}", f"{len(prompts.prompts[target])}", stated)
        for target, stated in prompts.direction.items()
        for size in (audit.n_pairs[target],)
    ]
    heads = ("occupation", f"pictures, {first}", f"pictures, {second}", "prompts", "stated for")
    return part("Who is compared", side_by_side([told, table(heads, rows)]))


def _gaps(subjects: Sequence[Subject], audits: Sequence[TwinAudit], flip: Flip) -> str:
    _, first, second = flip
    direction, reach = prompts_for(flip).signs(first), reach_of(audits)
    about = ""
    if flip != GENDER:
        about = (
            f"<p>{escape(called(flip)).capitalize()} means nothing here: no association was "
            f"planted for it. The direction is gender’s, with {first} in the place of "
            f"{GENDER[1]}, so that whatever is found is chance: at a level of {_LEVEL:g} about one "
            "flip in twenty follows it.</p>"
        )
    columns = [
        (
            f"<h4>{escape(subject.name)}</h4>",
            _verdict(audit),
            gaps_figure(subject.name, audit, direction, reach),
        )
        for subject, audit in zip(subjects, audits, strict=True)
    ]
    legend = _LEGEND.format(
        first=first,
        second=second,
        no_bias=_key("chance"),
        meaningless=_key("meaningless"),
    )
    numbers = "".join(
        f"<h4>{escape(subject.name)}</h4>{_numbers(audit, list(direction))}"
        for subject, audit in zip(subjects, audits, strict=True)
    )
    return part(
        "Gaps by occupation",
        about,
        level(columns),
        soft(legend),
        details("The same as numbers", numbers),
    )


def _verdict(audit: TwinAudit) -> str:
    told = escape(audit.verdict)
    if audit.flip != GENDER and audit.direction.p <= _LEVEL:
        told += " <b>By chance</b>: no association was planted, and none was stated, for this flip."
    return f'<div class="bd-verdict"><b>The direction test</b><p>{told}</p></div>'


def _numbers(audit: TwinAudit, targets: Sequence[str]) -> str:
    rows = []
    for target in targets:
        found = audit.targets[target]
        rows.append(
            (
                target,
                signed(found.gap),
                f"{signed(found.interval.low)} to {signed(found.interval.high)}",
                f"{signed(found.no_bias[0])} to {signed(found.no_bias[1])}",
                f"{found.p:.4f}",
            )
        )
    return table(("occupation", "gap", "95% interval", "no bias", "p (Holm)"), rows)


def _questions(subjects: Sequence[Subject], audits: Sequence[TwinAudit]) -> str:
    rows = [
        ("Is there a gap in this model? (labels swapped within pairs)", *map(_is_there, audits)),
        ("Is it larger than gaps that mean nothing?", *map(_is_larger, audits)),
        ("Does it follow a stated direction?", *map(_follows, audits)),
    ]
    heads = ("question", *(subject.name for subject in subjects))
    meaningless = "".join(
        f"<h4>{escape(subject.name)}</h4>"
        + table(
            ("flip", "spread of its gaps"),
            [(escape(name), f"{value:.2f}") for name, value in audit.nuisances.items()],
        )
        for subject, audit in zip(subjects, audits, strict=True)
    )
    return part(
        "Three questions, kept apart",
        table(heads, rows, wide=True),
        soft(
            "The first is answered yes in any trained model, and more pictures only make it surer; "
            "only the third is evidence of a learned association. Single occupations are not "
            "claimed."
        ),
        details("Flips that mean nothing, one by one", side_by_side([meaningless])),
    )


def _is_there(audit: TwinAudit) -> str:
    n = sum(found.p <= _LEVEL for found in audit.targets.values())
    return f"in {n} of {len(audit.targets)} occupations (p ≤ {_LEVEL:g} after Holm)"


def _is_larger(audit: TwinAudit) -> str:
    others = [value for name, value in audit.nuisances.items() if name != called(audit.flip)]
    n_larger = sum(value >= audit.spread for value in others)
    less = "larger than all" if not n_larger else f"{n_larger} of these spread as far or further"
    return (
        f"spread {audit.spread:.2f}; the {len(others)} flips that mean nothing "
        f"{min(others):.2f} to {max(others):.2f}: {less}"
    )


def _follows(audit: TwinAudit) -> str:
    test = audit.direction
    return (
        f"{_answer(audit)}: {test.n_following} of {test.n_targets} occupations, signed gap "
        f"{signed(test.signed)}, p {test.p:.3f} (the least possible is {test.floor:.3f})"
    )


def _answer(audit: TwinAudit) -> str:
    if audit.direction.p > _LEVEL:
        return "no"
    # Nothing was stated for it, nor planted.
    return "yes" if audit.flip == GENDER else "by chance"


def _key(kind: str) -> str:
    return (
        '<svg class="bd-figure bd-key" viewBox="0 0 22 12" aria-hidden="true">'
        f'<rect x="1" y="1" width="20" height="10" class="{kind}"/></svg>'
    )
